"""Owns the settings of a partition; their docstrings are the command line's help."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scene3d.errors import SettingsError

MAX_BLOCKS = 4096
"""More cells than anybody trains; a mistyped number is an error, not an endless run."""

MAX_CANDIDATES = 32
"""Cut positions tried in one pass: one bit per position and side has to fit a machine word."""

FEWEST_VIEWS = 3
FEWEST_POINTS = 30
"""Small captures lower the minima of a cell to no less than these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSettings:
    """How a scene is divided into blocks."""

    blocks: int | None = None
    """Exactly this many blocks; without it as many as the point budget asks for."""

    max_blocks: int = 16
    """Never more blocks than this where their number is not given."""

    point_budget: int = 300_000
    """Load (distinct sparse points its photographs see) above which a cell is cut, where the number is not given."""

    expand_ratio: float = 0.05
    """How far a block looks past each of its faces, as a share of its side."""

    cover_view: float = 0.3
    """A photograph with more than this share of its points in a block belongs to it."""

    cover_block: float = 0.1
    """So does one that sees more than this share of the block's points."""

    min_views: int = 20
    """Cells with fewer photographs are not made but stay with their neighbour. In small captures less is asked: a
    quarter of all training photographs (or one part in N, for more than four blocks), at least 3."""

    min_points: int = 2000
    """Cells with fewer sparse points are not made but stay with their neighbour. In small captures less is asked: a
    quarter of what each of N equal cells would have, at least 30."""

    max_aspect: float = 3.0
    """No cell is made longer than this many times its width, unless every other cut leaves a much larger load."""

    num_candidates: int = 15
    """Positions tried for each cut; the one that leaves the smaller largest load is taken."""

    min_gain: float = 0.10
    """A cut that lowers the load by a smaller share is not made; where the number of blocks is given, the cell is
    halved by points instead."""

    method: Literal["load", "midpoint", "grid"] = "load"
    """How cells are cut: so that their loads are equal, at the middle of the longer side, or as a regular grid."""

    region_file: Path | None = None
    """Corners of the region of interest, in the capture's own coordinates: a JSON list of [x, y, z] or [x, y], or one
    corner per line. Without it the region is found from the sparse points."""

    def __post_init__(self) -> None:
        for name in ("max_blocks", "point_budget", "min_views", "min_points"):
            _require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("cover_view", "cover_block", "min_gain"):
            _require(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}; it lies from 0 to below 1")
        _require(self.blocks is None or self.blocks >= 1, f"blocks is {self.blocks}; it must be at least 1")
        most = max(self.blocks or 1, self.max_blocks)
        _require(most <= MAX_BLOCKS, f"{most} blocks are asked for; at most {MAX_BLOCKS} are made")
        _require(0 <= self.expand_ratio <= 1, f"expand_ratio is {self.expand_ratio}; it lies between 0 and 1")
        _require(self.max_aspect >= 1, f"max_aspect is {self.max_aspect}; it must be at least 1")
        fits = 1 <= self.num_candidates <= MAX_CANDIDATES
        _require(fits, f"num_candidates is {self.num_candidates}; it lies between 1 and {MAX_CANDIDATES}")

    def for_capture(self, num_views: int, num_points: int, thinning: int = 1) -> "PartitionSettings":
        """The same with the minima that a capture of this size can meet.

        Args:
            num_views: Training views.
            num_points: Points that are divided.
            thinning: How many points of the capture each of them stands for.
        """
        parts = max(4, self.blocks or 4)
        min_points = max(1, self.min_points // thinning)
        return replace(
            self,
            min_views=min(self.min_views, max(FEWEST_VIEWS, num_views // parts)),
            min_points=min(min_points, max(FEWEST_POINTS, num_points // (4 * parts))),
            point_budget=max(1, self.point_budget // thinning),
        )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)
