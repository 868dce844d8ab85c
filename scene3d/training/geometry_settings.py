"""Owns the settings of the terms that keep a scene's geometry honest; their docstrings are the command line's help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scene3d.errors import SettingsError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoViewSettings:
    """Comparison of each photograph with the scene seen from a little beside its camera."""

    every: int | None = None
    """Iterations between two comparisons, each of which renders a second image; 0 for none. Without it 4 in blocks,
    and none in one piece."""

    start_share: float = 5 / 60
    """Share of the iterations after which it begins; from twice that on it moves the depth too, not only colours."""

    weight: float = 0.01
    """Weight at the first iteration; rises log-linearly."""

    final_weight: float = 0.5
    """Weight at the last iteration."""

    min_shift_share: float = 0.02
    """Reach of the smallest shifts, as a share of the image width by which the median depth then moves."""

    max_shift_share: float = 0.05
    """Reach of the largest shifts."""

    def __post_init__(self) -> None:
        _require((self.every or 0) >= 0, f"pseudo_view.every is {self.every}; it must be zero or more")
        _require(0 <= self.start_share <= 1, f"pseudo_view.start_share is {self.start_share}; it lies between 0 and 1")
        _require_weights("pseudo_view", self.weight, self.final_weight, "every at 0")
        low, high = self.min_shift_share, self.max_shift_share
        _require(
            0 < low <= high < 1,
            f"pseudo_view shifts by {low} to {high} of the width; both lie between 0 and 1, the smaller first",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthPriorSettings:
    """Comparison of the rendered depth with depth maps that another program made, one per photograph."""

    folder: Path | None = None
    """Folder of depth maps: `.png` (grey, 8 or 16 bits) or `.npy`, named like the photographs and made from them as
    undistorted; 0 is unknown. None uses no depth."""

    kind: Literal["inverse", "depth"] = "inverse"
    """What the maps hold, up to scale and offset: inverse depth, as most monocular networks give, or depth."""

    weight: float = 1.0
    """Weight at the first iteration; falls log-linearly."""

    final_weight: float = 0.1
    """Weight at the last iteration."""

    min_matches: int = 10
    """A map with fewer sparse points than this to align it by is left out."""

    def __post_init__(self) -> None:
        _require_weights("depth_prior", self.weight, self.final_weight, "folder away")
        _require(self.min_matches >= 3, f"depth_prior.min_matches is {self.min_matches}; it must be at least 3")


def _require_weights(group: str, weight: float, final_weight: float, off: str) -> None:
    # Zero has no logarithm to go through.
    _require(
        weight > 0 and final_weight > 0,
        f"{group} weighs {weight} at first and {final_weight} at last; both must be positive (leave {off} for none)",
    )
