"""Owns the field between voxels: planes are read at finer places near the surface, and added to the merged field."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from scene3d.errors import LimitExceeded
from scene3d.generation.autoencoder import AutoEncoder
from scene3d.generation.strips import continue_known
from scene3d.generation.triplane import grid_points
from scene3d.geometry.voxels import VoxelField
from scene3d.limits import MAX_VOXELS

NEAR = 0.4
"""Places are read anew where the coarse distance is below this, in units of the truncation."""

_TAPER = 0.15
"""Over so much below it, what was read anew begins to count: the field does not jump where reading begins."""

KNOWN_FADE_VOXELS = 2.0
"""Beside known voxels nothing is added; so many coarse voxels off, all of it."""


def refine_field(field: VoxelField, detail: int) -> VoxelField:
    """The same field on voxels finer by a whole number: values in between are trilinear.

    Args:
        field: Known voxels next to unknown ones go on flat.
        detail: Finer voxels along an edge of each voxel.

    Raises:
        LimitExceeded: The finer voxels are too many.
    """
    if detail == 1:
        return field
    check_fine_shape(field.shape, detail)
    values = continue_known(np.concatenate([field.sdf[..., None], field.rgb], axis=-1), field.known)
    fine = _between(torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -1, 0), np.float32))[None], detail)[0]
    known = field.known
    for axis in range(3):
        known = known.repeat(detail, axis=axis)
    return VoxelField(
        sdf=np.where(known, fine[0].numpy(), field.truncation).astype(field.sdf.dtype),
        rgb=np.where(known[..., None], fine[1:].movedim(0, -1).numpy(), 0.0).astype(field.rgb.dtype),
        known=known,
        origin=field.origin,
        voxel_size=field.voxel_size / detail,
        truncation=field.truncation,
    )


def check_fine_shape(shape: tuple[int, int, int], detail: int) -> None:
    """Refuse more voxels than memory may hold.

    Raises:
        LimitExceeded: The finer voxels are too many.
    """
    x, y, z = (count * detail for count in shape)
    if x * y * z > MAX_VOXELS:
        raise LimitExceeded(
            f"{x} x {y} x {z} voxels are more than {MAX_VOXELS:,}", remedy="ask for less detail, or for fewer cells"
        )


def read_residuals(
    network: AutoEncoder, triplanes: Float[Tensor, "b 3 f r r"], detail: int
) -> tuple[Float[Tensor, "b 4 s s s"], int]:
    """What the field says between the voxels' centres, less what lies there trilinearly between them.

    Args:
        network: Whose heads read.
        triplanes: Decoded planes.
        detail: Finer voxels along an edge of each of a block's voxels.

    Returns:
        Distance over the truncation, and colour, in the block's axes, 0 away from the surface; and how many places
        were read.
    """
    side = triplanes.shape[-1]
    found = network.query_grid(triplanes, side)
    coarse = torch.cat([found.tsdf[:, None], found.rgb.movedim(-1, 1)], dim=1)
    points = grid_points(side * detail)
    residuals, num_read = [], 0
    for planes, block in zip(triplanes, _between(coarse, detail), strict=True):
        flat = block.flatten(1)
        near = flat[0].abs() < NEAR
        read = network.query(planes[None], points[near][None])
        fine = torch.cat([read.tsdf.clamp(-1.0, 1.0)[0][None], read.rgb[0].T])
        weight = ((NEAR - flat[0, near].abs()) / _TAPER).clamp(0.0, 1.0)
        residual = torch.zeros_like(flat)
        residual[:, near] = weight * (fine - flat[:, near])
        residuals.append(residual.reshape(block.shape))
        num_read += int(near.sum())
    return torch.stack(residuals), num_read


class DetailLayer:
    """Sums of what blocks say between the voxels of a canvas, with the weights that the blocks themselves have."""

    def __init__(self, shape: tuple[int, int, int], detail: int, window_weights: Float32[np.ndarray, "s s"]) -> None:
        self.detail, self._weights = detail, window_weights
        x, y, z = (count * detail for count in shape)
        self._sums = np.zeros((x, y, z, 4), np.float32)
        self._total = np.zeros((x, y), np.float32)

    def add(self, x: int, y: int, residual: Float32[np.ndarray, "s s s 4"]) -> None:
        """Put a block in whose first column is coarse column (x, y)."""
        side = len(self._weights)
        part = slice(x * self.detail, x * self.detail + side), slice(y * self.detail, y * self.detail + side)
        self._sums[part] += residual * self._weights[:, :, None, None]
        self._total[part] += self._weights

    def added_to(self, field: VoxelField, known: Bool[np.ndarray, "x y z"], *, unit: float) -> VoxelField:
        """A merged field on finer voxels; what was known before stays as it is.

        Args:
            field: The merged field.
            known: What of it was known before.
            unit: World units of a distance of 1 in the blocks.
        """
        fine = refine_field(field, self.detail)
        fade = np.minimum(ndimage.distance_transform_edt(~known) / KNOWN_FADE_VOXELS, 1.0).astype(np.float32)
        fade = np.where(known, 0.0, fade).astype(np.float32)
        for axis in range(3):
            fade = fade.repeat(self.detail, axis=axis)
        fade *= fine.known
        share = np.divide(fade, self._total[:, :, None], out=np.zeros_like(fade), where=self._total[:, :, None] > 0)
        sdf = fine.sdf + unit * share * self._sums[..., 0]
        rgb = fine.rgb + share[..., None] * self._sums[..., 1:]
        return VoxelField(
            sdf=np.clip(sdf, -field.truncation, field.truncation).astype(field.sdf.dtype),
            rgb=np.clip(rgb, 0.0, 1.0).astype(field.rgb.dtype),
            known=fine.known,
            origin=fine.origin,
            voxel_size=fine.voxel_size,
            truncation=fine.truncation,
        )


def _between(values: Float[Tensor, "b c _x _y _z"], detail: int) -> Float[Tensor, "b c _u _v _w"]:
    return functional.interpolate(values, scale_factor=detail, mode="trilinear", align_corners=False)
