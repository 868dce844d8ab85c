"""Owns the shape of an anchor decoder as plain numbers, without torch: settings and files speak of it."""

from dataclasses import dataclass
from typing import Literal

from scene3d.errors import SettingsError
from scene3d.limits import MAX_SH_DEGREE

DecoderMode = Literal["static", "view"]

MAX_WIDTH = 1024
"""Most features, hidden units or offsets; beyond it a file is damaged and a setting a slip of the hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderShape:
    """How many numbers go into an anchor decoder and come out of it."""

    num_features: int = 32
    """Numbers that describe an anchor."""

    num_offsets: int = 5
    """Gaussians per anchor."""

    num_hidden: int = 32
    """Hidden units of each head."""

    sh_degree: int = 3
    """Degree of view-dependent colour that the static mode can emit."""

    mode: DecoderMode = "static"
    """`static`: heads see features only; `view`: also the direction from camera to anchor."""

    def __post_init__(self) -> None:
        for name in ("num_features", "num_offsets", "num_hidden"):
            value = getattr(self, name)
            if not 1 <= value <= MAX_WIDTH:
                raise SettingsError(f"{name} is {value}; it lies from 1 to {MAX_WIDTH}")
        if self.num_features < 3:
            raise SettingsError(f"num_features is {self.num_features}; the first 3 are a colour, so at least 3")
        if not 0 <= self.sh_degree <= MAX_SH_DEGREE:
            raise SettingsError(f"sh_degree is {self.sh_degree}; it lies from 0 to {MAX_SH_DEGREE}")
        if self.mode not in ("static", "view"):
            raise SettingsError(f"mode is {self.mode!r}; it is static or view")

    @property
    def num_inputs(self) -> int:
        """Numbers that every head sees."""
        return self.num_features + (3 if self.mode == "view" else 0)

    @property
    def num_coefficients(self) -> int:
        """Colour coefficients per Gaussian and channel: spherical harmonics, or one colour for the given direction."""
        return (self.sh_degree + 1) ** 2 if self.mode == "static" else 1
