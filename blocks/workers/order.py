"""Owns what a worker is told: plain values from which it reads everything else in the run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.block_folder import BlockFolder
from blocks.block_training import BlockJob
from blocks.global_stage import Shared, load_shared
from blocks.plan import BlockPlan, read_plan
from blocks.settings import RunSettings
from blocks.turn_job import TurnsJob
from scene3d.config import settings_from_record, settings_to_record
from scene3d.errors import InputError
from scene3d.training.memory import keep_one_heap
from scene3d.training.preparation import Prepared, prepare_training
from scene3d.training.run_folder import RunFolder


def make_order(run: RunFolder, prepared: Prepared, settings: RunSettings) -> dict[str, Any]:
    """What a worker needs to know; run folder and capture lie where every machine sees them."""
    return {
        "run": str(run.root.resolve()),
        "capture": str(prepared.capture.root.resolve()),
        "settings": settings_to_record(settings),
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Orders:
    """An order as a worker carries it out."""

    run: RunFolder
    prepared: Prepared
    plan: BlockPlan
    shared: Shared
    settings: RunSettings

    @classmethod
    def read(cls, order: dict[str, Any]) -> "Orders":
        """Reads capture, plan and what the blocks share.

        Raises:
            InputError: They are not where the order says.
        """
        keep_one_heap()
        run = RunFolder(Path(order["run"]))
        settings = settings_from_record(RunSettings, order["settings"])
        prepared = prepare_training(Path(order["capture"]), settings)
        plan = read_plan(run.plan)
        shared = load_shared(run, plan)
        if shared is None:
            raise InputError("what the blocks share is not there", where=run.shared)
        return cls(run=run, prepared=prepared, plan=plan, shared=shared, settings=settings)

    def block_job(self, index: int) -> BlockJob:
        """The job of one independent block."""
        return BlockJob(
            folder=BlockFolder(self.run.blocks / self.plan.blocks[index].block_id),
            prepared=self.prepared,
            plan=self.plan,
            index=index,
            shared=self.shared,
            settings=self.settings,
        )

    def turns_job(self) -> TurnsJob:
        """The job of blocks that train in turns."""
        return TurnsJob(
            run=self.run, prepared=self.prepared, plan=self.plan, shared=self.shared, settings=self.settings
        )
