"""Owns reading a field out of three planes, at points and on a grid, and slicing voxels into planes.

Everywhere align_corners is False: pixel i of r covers [-1 + 2 i / r, -1 + 2 (i + 1) / r], so that a block shifted by a
whole number of pixels meets the same pixels (with True the two would be three quarters of a pixel apart).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scene3d.generation.spec import NUM_PLANES


def slice_voxels(voxels: Float[Tensor, "b f k k k"]) -> Float[Tensor, "b c k k"]:
    """Voxels [x, y, z] of a block as three planes whose channels are the slices along the axis that a plane lacks.

    Returns:
        Channels 3 f k: f features times k slices for xy (slices along z), xz (along y) and zy (along x).
    """
    side = voxels.shape[-1]
    along_z = voxels.permute(0, 1, 4, 2, 3).reshape(len(voxels), -1, side, side)
    along_y = voxels.permute(0, 1, 3, 2, 4).reshape(len(voxels), -1, side, side)
    along_x = voxels.permute(0, 1, 2, 4, 3).reshape(len(voxels), -1, side, side)
    return torch.cat([along_z, along_y, along_x], dim=1)


def sample_planes(triplane: Float[Tensor, "b 3 f r r"], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n f"]:
    """Sum of the three planes' bilinear values at points of the cube [-1, 1]^3; beyond it the border goes on.

    Differentiable in both.
    """
    x, y, z = points.unbind(-1)
    total = None
    for plane, (row, column) in enumerate(((x, y), (x, z), (z, y))):
        # grid_sample takes (column, row).
        where = torch.stack([column, row], dim=-1)[:, None]  # [b, 1, n, 2]
        values = functional.grid_sample(
            triplane[:, plane], where, mode="bilinear", padding_mode="border", align_corners=False
        )
        total = values if total is None else total + values
    assert total is not None
    return total[:, :, 0].transpose(1, 2)


def sample_grid(triplane: Float[Tensor, "b 3 f r r"], side: int) -> Float[Tensor, "b f s s s"]:
    """The sum of the planes at the centres of side^3 voxels: what `sample_planes` gives there, without its cost."""
    if side != triplane.shape[-1]:
        flat = triplane.flatten(0, 1)
        flat = functional.interpolate(flat, size=(side, side), mode="bilinear", align_corners=False)
        triplane = flat.reshape(len(triplane), NUM_PLANES, -1, side, side)
    xy, xz, zy = triplane.unbind(1)
    return xy[..., :, :, None] + xz[..., :, None, :] + zy.transpose(-1, -2)[..., None, :, :]


def grid_points(side: int) -> Float[Tensor, "n 3"]:
    """Centres of the side^3 voxels of the cube [-1, 1]^3, z fastest."""
    axis = (torch.arange(side) + 0.5) * (2.0 / side) - 1.0
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
