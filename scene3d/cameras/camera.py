"""Owns the pinhole camera that everything inside the program works with."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from scene3d.cameras.models import CameraModel, pinhole_of
from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """One pinhole camera: OpenCV axes (+x right, +y down, +z forward), pixel centres at half-integers."""

    width: int
    """Image width, pixels."""

    height: int
    """Image height, pixels."""

    K: Float[np.ndarray, "3 3"]
    """Intrinsics in pixels, double."""

    cam_from_world: Float[np.ndarray, "4 4"]
    """Rigid world-to-camera transform, double."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InputError(f"a camera's image is {self.width} x {self.height} pixels")
        if not (np.isfinite(self.K).all() and np.isfinite(self.cam_from_world).all()):
            raise InputError("a camera holds numbers that are not finite")
        if self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise InputError(f"a camera's focal lengths are {self.K[0, 0]} and {self.K[1, 1]}; they must be positive")
        rotation = self.cam_from_world[:3, :3]
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-4 or np.linalg.det(rotation) < 0:
            raise InputError("a camera's rotation is not a rotation matrix")

    @classmethod
    def behind(cls, lens: CameraModel, cam_from_world: Float[np.ndarray, "4 4"]) -> "Camera":
        """The pinhole camera that replaces a lens; see `pinhole_of` for its size and field."""
        pinhole = pinhole_of(lens)
        return cls(width=pinhole.width, height=pinhole.height, K=pinhole.K, cam_from_world=cam_from_world)

    @property
    def world_from_cam(self) -> Float[np.ndarray, "4 4"]:
        """Camera-to-world transform."""
        rotation, translation = self.cam_from_world[:3, :3], self.cam_from_world[:3, 3]
        inverse = np.eye(4)
        inverse[:3, :3] = rotation.T
        inverse[:3, 3] = -rotation.T @ translation
        return inverse

    @property
    def center(self) -> Float[np.ndarray, "3"]:
        """Position in the world."""
        return self.world_from_cam[:3, 3]

    def scaled(self, scale: float) -> "Camera":
        """The same view in an image `scale` times as large; sides are rounded, at least one pixel."""
        return self.resized(max(1, round(self.width * scale)), max(1, round(self.height * scale)))

    def resized(self, width: int, height: int) -> "Camera":
        """The same view in an image of another size; the rows of K scale by the true ratios."""
        K = self.K.copy()
        K[0] *= width / self.width
        K[1] *= height / self.height
        return replace(self, width=width, height=height, K=K)

    def transformed(self, target_from_source: Similarity) -> "Camera":
        """The same camera after its world was moved, turned and scaled."""
        return replace(self, cam_from_world=target_from_source.apply_camera(self.cam_from_world))
