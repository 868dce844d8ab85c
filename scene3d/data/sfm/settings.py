"""Owns the settings of structure from motion; their docstrings are the command line's help."""

from dataclasses import dataclass
from typing import Literal

from scene3d.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSettings:
    """How poses are found for photographs."""

    feature_image_size: int = 1600
    """Features are found in photographs shrunk to this long side, pixels."""

    output_image_size: int = 0
    """Longest side of the undistorted photographs, pixels; 0 keeps the size."""

    num_features: int = 6000
    """At most this many features per photograph."""

    matcher: Literal["auto", "exhaustive", "spatial", "sequential"] = "auto"
    """Which pairs are compared: all (up to 150 photographs), neighbours by GPS, or neighbours by name."""

    camera_model: Literal["SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"] = "OPENCV"
    """Lens model that is calibrated; OPENCV_FISHEYE for very wide lenses."""

    share_camera: Literal["auto", "yes", "no"] = "auto"
    """Whether all photographs share one lens; auto looks at size and EXIF."""

    use_gps: bool = True
    """Bring the capture into metres, x east, y north, z up, when the photographs carry usable GPS positions."""

    num_threads: int = 0
    """Threads of structure from motion; 0 takes all cores."""

    seed: int = 0
    """Seed of the random choices."""

    def __post_init__(self) -> None:
        if self.feature_image_size < 100:
            raise SettingsError(f"feature_image_size is {self.feature_image_size}; it must be at least 100 pixels")
        if self.num_features < 100:
            raise SettingsError(f"num_features is {self.num_features}; it must be at least 100")
        if self.output_image_size < 0:
            raise SettingsError(f"output_image_size is {self.output_image_size}; it must be zero or more")
