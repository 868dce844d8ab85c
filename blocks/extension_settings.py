"""Owns what a person says about growing a scene; importable without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scene3d.errors import SettingsError

MAX_RINGS = 8

Direction = Literal["north", "east", "south", "west"]
Kept = Literal["surfaces", "views"]
GridCell = tuple[int, int]
"""Number of a cell along the grid's two axes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendSettings:
    """Where a scene grows, and how."""

    cells: tuple[GridCell, ...] | None = None
    """Exactly these cells of the grid."""

    rings: int = 0
    """All cells up to this many away from what is there; with `toward`, how many rows."""

    toward: Direction | None = None
    """Only what lies on this side: north is the y axis of a capture that is levelled, seen from above."""

    layout: Path | None = None
    """A picture, array or list of boxes that says what stands where."""

    seed: int = 0
    """Another seed, another place."""

    steps: int = 10
    """Evaluations of the generator's denoiser for each cell."""

    detail: int = 1
    """1 or 2: near the surface the generator is read at so many places along each edge of a voxel."""

    edge_m: float | None = None
    """Edge of a cell in the capture's units (metres where it is georeferenced); a quarter of the short side of what
    was photographed if not given."""

    keep: Kept = "surfaces"
    """What of the photographs nothing new may change. surfaces: every surface that they show well; fog at the border of
    the scene may be grown over. views: every pixel of them, so that gaps stay where they show fog."""

    generator: Path | None = None
    """Folder of a generator that was trained by oneself; the packaged one if not given."""

    def __post_init__(self) -> None:
        if self.rings < 0 or self.rings > MAX_RINGS:
            raise SettingsError(f"--rings is {self.rings}; it must be 0 to {MAX_RINGS}")
        if self.steps < 1:
            raise SettingsError(f"--steps is {self.steps}; it must be at least 1")
        if self.detail not in (1, 2):
            raise SettingsError(f"--detail is {self.detail}; it must be 1 or 2")
        if self.edge_m is not None and not self.edge_m > 0:
            raise SettingsError(f"--edge is {self.edge_m}; it must be positive")
        if self.cells is not None and (self.rings or self.toward):
            raise SettingsError("--cells says already where to grow", remedy="leave out --rings and --toward")
        if self.cells is None and not self.rings and self.toward is None:
            raise SettingsError("nothing says where to grow", remedy="give --rings, --toward or --cells")
