"""Owns how a generator grows blocks: plain settings, importable without torch."""

from dataclasses import dataclass
from typing import Literal

from scene3d.errors import SettingsError

DETAILS = (1, 2, 4)

GrowMode = Literal["geometry+strips", "published", "independent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowSettings:
    """How new blocks are drawn."""

    seed: int = 0
    """Another seed, another place."""

    steps: int = 10
    """Evaluations of the denoiser for each block."""

    guidance: float = 1.0
    """How far the layout is exaggerated; 1 takes it as it is. Other values cost a second evaluation for each step."""

    mode: GrowMode = "geometry+strips"
    """geometry+strips: the known geometry enters the denoiser, and codes of what is known are kept; published: only
    shared strips of codes are kept, with resampling (RePaint); independent: neighbours know nothing of each other."""

    detail: int = 1
    """1, 2 or 4: near the surface the field is read at so many places along each edge of a voxel."""

    jump_length: int = 5
    """Published mode: so many steps are undone at a time."""

    jump_samples: int = 5
    """Published mode: so often each stretch of steps is run."""

    batch: int = 16
    """At most so many blocks are drawn at once."""

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise SettingsError(f"--steps is {self.steps}; it must be 1 to 1000")
        if self.detail not in DETAILS:
            raise SettingsError(f"--detail is {self.detail}; it must be 1, 2 or 4")
        if self.guidance < 0:
            raise SettingsError(f"--guidance is {self.guidance}; it must be zero or more")
        if min(self.jump_length, self.jump_samples, self.batch) < 1:
            raise SettingsError("jump length, jump samples and batch must be at least 1")
