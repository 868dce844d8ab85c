"""Owns a box of voxels that says where matter is: signed distance, colour, and what of it is known."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from scene3d.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VoxelField:
    """A regular box of cubic voxels in a right-handed world with z up, values at the voxels' centres.

    Where nothing is known, `sdf` is the truncation and `rgb` is 0; neither means free space there.

    Raises:
        InputError: Shapes differ, or the voxel size is not positive.
    """

    sdf: Float[np.ndarray, "x y z"]
    """Signed distance in world units, negative inside matter, cut off at plus and minus `truncation`."""

    rgb: Float[np.ndarray, "x y z 3"]
    """Colour of the nearest surface, 0 to 1; it means something near surfaces only."""

    known: Bool[np.ndarray, "_ _ _"]
    """Where `sdf` was observed or made."""

    origin: Float[np.ndarray, "3"]
    """Outer corner of voxel (0, 0, 0) in the world, float64."""

    voxel_size: float
    """Edge of a voxel, world units."""

    truncation: float
    """Largest distance stored, world units."""

    def __post_init__(self) -> None:
        if self.rgb.shape[:3] != self.sdf.shape or self.known.shape != self.sdf.shape:
            raise InputError(f"voxels of shapes {self.sdf.shape}, {self.rgb.shape} and {self.known.shape} do not agree")
        if not self.voxel_size > 0 or not self.truncation > 0:
            raise InputError(f"voxel size {self.voxel_size} and truncation {self.truncation} must be positive")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        x, y, z = self.sdf.shape
        return x, y, z

    def centers(self) -> Float[np.ndarray, "x y z 3"]:
        """World coordinates of the voxels' centres, float64."""
        axes = [
            self.origin[axis] + (np.arange(count) + 0.5) * self.voxel_size for axis, count in enumerate(self.sdf.shape)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def to_voxels(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """World points in units of voxels; the centre of voxel (i, j, k) is (i + 0.5, j + 0.5, k + 0.5)."""
        return (points - self.origin) / self.voxel_size
