"""Owns the settings of a synthetic capture."""

from dataclasses import dataclass
from typing import Literal

from scene3d.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSettings:
    """A capture of the procedural world."""

    kind: Literal["aerial", "orbit", "street"] = "aerial"
    """A grid flown over a town, a turn around a block, or a walk along a street."""

    num_views: int = 40
    """Photographs."""

    width: int = 320
    """Image width, pixels."""

    height: int = 240
    """Image height, pixels."""

    seed: int = 0
    """Of the world and of everything random in the capture."""

    extent_m: float = 100.0
    """Side of the square that is flown over, diameter of the turn, or length of the walk."""

    field_of_view_deg: float = 62.0
    """Horizontal field of view."""

    num_points: int = 4000
    """Sparse points at most."""

    pixel_noise_px: float = 0.4
    """Standard deviation of the keypoints; the points' positions get the error that goes with it."""

    exposure_spread_stops: float = 0.0
    """Standard deviation of the exposure from view to view."""

    image_noise: float = 0.0
    """Standard deviation of sensor noise, in the 0..1 of the image."""

    distorted: bool = False
    """Photograph through a lens with OPENCV distortion instead of a pinhole."""

    moved: bool = False
    """Put the capture into a random frame: turned, scaled and shifted."""

    image_format: Literal["png", "jpg"] = "png"
    """Kind of image file."""

    write_depth: bool = True
    """Keep the exact depth maps."""

    def __post_init__(self) -> None:
        if self.num_views < 2:
            raise SettingsError(f"num_views is {self.num_views}; a capture needs at least two")
        if min(self.width, self.height) < 16:
            raise SettingsError(f"images of {self.width} x {self.height} pixels are too small; use at least 16 x 16")
        if not 10.0 <= self.extent_m <= 2000.0:
            raise SettingsError(f"extent_m is {self.extent_m}; it must lie between 10 and 2000")
        if not 10.0 <= self.field_of_view_deg <= 110.0:
            raise SettingsError(f"field_of_view_deg is {self.field_of_view_deg}; it must lie between 10 and 110")
        if min(self.num_points, self.pixel_noise_px, self.exposure_spread_stops, self.image_noise, self.seed) < 0:
            raise SettingsError(
                "num_points, pixel_noise_px, exposure_spread_stops, image_noise and seed are not negative"
            )
