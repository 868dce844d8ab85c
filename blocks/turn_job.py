"""Owns what training blocks in turns is given, and what must stay the same for such a run to go on."""

import hashlib
import json
from dataclasses import asdict, dataclass

from blocks.block_folder import BlockFolder, read_block_record
from blocks.block_training import BlockJob
from blocks.global_stage import Shared
from blocks.plan import BlockPlan
from blocks.settings import RunSettings
from scene3d.training.preparation import Prepared
from scene3d.training.run import settings_identity
from scene3d.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TurnsJob:
    """Everything that training blocks in turns needs."""

    run: RunFolder
    prepared: Prepared
    plan: BlockPlan
    shared: Shared
    settings: RunSettings
    """With `turns.accumulate` resolved."""

    @property
    def num_lanes(self) -> int:
        """Blocks at work at the same time."""
        return min(self.settings.turns.accumulate or 1, len(self.plan.blocks))

    @property
    def identity(self) -> str:
        """Hash of everything that must be the same for a snapshot to be continued."""
        turns = asdict(self.settings.turns) | {"offload": None, "accumulate": self.num_lanes}
        text = json.dumps([settings_identity(self.settings, self.prepared), self.plan.sha256, turns])
        shared = b"".join(each.means.numpy().tobytes() for each in (self.shared.far, self.shared.coarse))
        return hashlib.sha256(text.encode() + shared).hexdigest()

    def block(self, index: int) -> BlockJob:
        """The job of one block."""
        folder = BlockFolder(self.run.blocks / self.plan.blocks[index].block_id)
        return BlockJob(
            folder=folder,
            prepared=self.prepared,
            plan=self.plan,
            index=index,
            shared=self.shared,
            settings=self.settings,
        )

    def block_id(self, index: int) -> str:
        """What a person calls a block."""
        return self.plan.blocks[index].block_id

    def is_finished(self, index: int) -> bool:
        """Whether a block has been kept.

        Raises:
            InputError: It was trained under another plan.
        """
        return read_block_record(BlockFolder(self.run.blocks / self.block_id(index)), self.plan.sha256) is not None
