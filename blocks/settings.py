"""Owns the settings of a whole reconstruction, blocks included; their docstrings are the command line's help."""

from dataclasses import dataclass, replace
from dataclasses import field as part
from typing import Literal

from blocks.merge_settings import MergeSettings
from blocks.partition_settings import PartitionSettings
from blocks.turn_settings import TurnSettings
from scene3d.errors import SettingsError
from scene3d.training.settings import ReconstructSettings

PSEUDO_VIEW_EVERY = 4
"""Iterations between two pseudo views in blocks, where the settings do not say: on Caliterra held-out views gain 0.2 dB
for a quarter more time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalSettings:
    """The short stage before the blocks, which fits what they share: far surroundings, sky, exposures."""

    iterations: int = 400
    """Iterations, at a quarter of the image size and without growth; no more than a block has."""

    max_points: int = 100_000
    """At most this many sparse points stand in for the scene."""

    max_sky: int = 1500
    """Gaussians of the sky, where photographs show any."""

    def __post_init__(self) -> None:
        if min(self.iterations, self.max_points) < 1 or self.max_sky < 0:
            raise SettingsError(
                "global_stage needs at least one iteration and one point, and no fewer than 0 of the sky"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSettings:
    """How one block is trained."""

    auxiliary: bool = True
    """Train a block amid what its photographs show outside of it, and add Gaussians inside only. Without, it starts
    from its own points, and what it adds to explain the rest is thrown away at the merge."""

    surroundings: Literal["points", "coarse"] = "points"
    """What a block begins with outside of its own ground: sparse points as on it, or the coarse scene's Gaussians."""

    visibility_crop: bool = True
    """Around a block, only what its photographs show of the coarse scene (LoBE-GS crops by visibility as well).
    Without, every block is trained amid the whole coarse scene, which takes memory and time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings(ReconstructSettings):
    """How a scene is reconstructed, in one piece or in blocks."""

    blocks: int | Literal["auto"] = "auto"
    """Number of blocks; auto makes one scene where the memory given allows it, else as many blocks as it asks for."""

    partition: PartitionSettings = part(default_factory=PartitionSettings)
    block: BlockSettings = part(default_factory=BlockSettings)
    global_stage: GlobalSettings = part(default_factory=GlobalSettings)
    merge: MergeSettings = part(default_factory=MergeSettings)
    turns: TurnSettings = part(default_factory=TurnSettings)

    workers: int = 1
    """Processes that train at the same time, by Ray; the scene does not depend on it."""

    ray: str | None = None
    """Address of a running Ray cluster to train on (`auto` for the one of this machine); by default one is started
    here for the run, reachable from this machine only."""

    def __post_init__(self) -> None:
        # `super()` without arguments does not find the class that slots=True makes anew.
        super(RunSettings, self).__post_init__()
        if self.blocks != "auto" and self.blocks < 1:
            raise SettingsError(f"blocks is {self.blocks}; it is auto or at least 1")
        if self.partition.blocks is not None:
            raise SettingsError("partition.blocks is for `scene3d partition`", remedy="give blocks (--blocks) instead")

        if self.workers < 1:
            raise SettingsError(f"workers is {self.workers}; it must be at least 1")
        lanes = self.turns.accumulate
        if self.field == "anchors" and lanes is not None and lanes < self.workers:
            raise SettingsError(
                f"{self.workers} workers cannot share steps of {lanes} blocks",
                remedy="use fewer workers (--workers), or raise turns.accumulate (--turns.accumulate) in a new run",
            )

    @property
    def needs_ray(self) -> bool:
        """Whether more than this process trains."""
        return self.workers > 1 or self.ray is not None

    def in_blocks(self, num_blocks: int) -> "RunSettings":
        """These settings as a run in blocks goes by them.

        A number that was asked for is an order; one that follows from memory is a wish, which small captures fall
        short of.
        """
        if self.blocks == "auto":
            partition = replace(self.partition, max_blocks=num_blocks, point_budget=1)
        else:
            partition = replace(self.partition, max_blocks=num_blocks)
        if self.field == "anchors" and self.anchors.mode == "view":
            raise SettingsError(
                "anchors whose opacity depends on the view cannot be trained in blocks",
                remedy="use --anchors.mode static, or --blocks 1",
            )
        every = PSEUDO_VIEW_EVERY if self.pseudo_view.every is None else self.pseudo_view.every
        # Resolved, so that a run that goes on with more or fewer workers is still the same run.
        lanes = min(self.turns.accumulate or self.workers, num_blocks)
        turns, workers = self.turns, self.workers
        if self.field == "anchors":
            turns, workers = replace(turns, accumulate=lanes), min(workers, lanes)
        pseudo_view = replace(self.pseudo_view, every=every)
        return replace(self, partition=partition, pseudo_view=pseudo_view, turns=turns, workers=workers)
