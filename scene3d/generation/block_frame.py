"""Owns the one place where the world (z up) and a block (y up) meet.

Block (x, y, z) = world (y, z, x): a turn, so that neither handedness nor any axis' direction changes. The three
planes are xy (rows x, columns y), xz (the floor plan) and zy.
"""

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor

_WORLD_AXIS_OF_BLOCK = (1, 2, 0)
_BLOCK_AXIS_OF_WORLD = (2, 0, 1)


def block_from_world(voxels: Shaped[np.ndarray, "*n n0 n1 n2"]) -> Shaped[np.ndarray, "*n n1 n2 n0"]:
    """Voxels [..., x, y, z] of the world as [..., x, y, z] of the block; a view."""
    return np.moveaxis(voxels, (-3, -2, -1), [_BLOCK_AXIS_OF_WORLD[a] - 3 for a in range(3)])


def world_from_block(voxels: Shaped[np.ndarray, "*n n0 n1 n2"]) -> Shaped[np.ndarray, "*n n2 n0 n1"]:
    """Voxels [..., x, y, z] of the block as [..., x, y, z] of the world; a view."""
    return np.moveaxis(voxels, (-3, -2, -1), [_WORLD_AXIS_OF_BLOCK[a] - 3 for a in range(3)])


def plan_from_world(plan: Shaped[np.ndarray, "*n n0 n1"]) -> Shaped[np.ndarray, "*n n1 n0"]:
    """A map [..., x, y] of the world as [..., x, z] of the block; a view."""
    return np.swapaxes(plan, -1, -2)


def points_from_world(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """World coordinates as block coordinates; only the axes change."""
    return points[:, _WORLD_AXIS_OF_BLOCK]


def points_to_world(points: Float[np.ndarray, "n 3"] | Float[Tensor, "n 3"]) -> np.ndarray | Tensor:
    """Block coordinates as world coordinates; only the axes change."""
    return points[:, _BLOCK_AXIS_OF_WORLD]


def cell_offset(cell: tuple[int, int], stride: int) -> Int[np.ndarray, "2"]:
    """First voxel (x, y) of the window of a cell of the grid, in the world's axes."""
    return np.array([cell[0] * stride, cell[1] * stride])
