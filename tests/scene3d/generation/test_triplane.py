"""Planes are read where they say; each answers to its own two axes; a shift by whole pixels meets the same pixels."""

import numpy as np
import pytest
import torch

from scene3d.generation.block_frame import (
    block_from_world,
    plan_from_world,
    points_from_world,
    points_to_world,
    world_from_block,
)
from scene3d.generation.triplane import grid_points, sample_grid, sample_planes, slice_voxels
from tests.scene3d.generation.small import generator

SIDE = 8


def inner_points(count: int = 200) -> torch.Tensor:
    """Points no nearer to the cube's faces than half a pixel."""
    return (torch.rand(1, count, 3, generator=generator(1)) * 2 - 1) * (1 - 1 / SIDE)


def linear_planes() -> torch.Tensor:
    """The field 0.3 x - 0.2 y + 0.5 z, written by hand into xy and xz."""
    axis = (torch.arange(SIDE) + 0.5) * (2 / SIDE) - 1
    planes = torch.zeros(1, 3, 1, SIDE, SIDE)
    planes[0, 0, 0] = 0.3 * axis[:, None] - 0.2 * axis[None, :]
    planes[0, 1, 0] = 0.5 * axis[None, :]
    return planes


def test_a_field_written_by_hand_is_read_back():
    points = inner_points()
    wanted = (points * torch.tensor([0.3, -0.2, 0.5])).sum(-1)
    assert float((sample_planes(linear_planes(), points)[..., 0] - wanted).abs().max()) < 1e-5


def test_the_grid_reads_what_points_read():
    planes = torch.randn(2, 3, 4, SIDE, SIDE, generator=generator(2))
    for side in (SIDE, 2 * SIDE):
        points = grid_points(side).expand(2, -1, 3)
        flat = sample_planes(planes, points).transpose(1, 2).reshape(2, 4, side, side, side)
        assert torch.allclose(sample_grid(planes, side), flat, atol=1e-5)


@pytest.mark.parametrize(("plane", "silent"), [(0, 2), (1, 1), (2, 0)])
def test_each_plane_answers_to_its_own_two_axes(plane, silent):
    planes = torch.zeros(1, 3, 1, SIDE, SIDE)
    planes[0, plane] = torch.randn(1, SIDE, SIDE, generator=generator(3))
    points = inner_points().requires_grad_()
    (slope,) = torch.autograd.grad(sample_planes(planes, points).sum(), points)
    assert float(slope[..., silent].abs().max()) == 0.0
    assert min(float(slope[..., axis].abs().mean()) for axis in range(3) if axis != silent) > 0.01


@pytest.mark.parametrize("shift", [1, 3, 6])
def test_a_block_shifted_by_whole_pixels_reads_the_same_strip(shift):
    # In double: single precision rounds the points themselves by as much as the limit.
    wide = torch.randn(3, SIDE + shift, SIDE, generator=generator(4), dtype=torch.float64)
    points = inner_points().double()
    points = points[:, points[0, :, 0] > -1 + 2 * shift / SIDE + 1 / SIDE]
    one, other = torch.zeros(2, 1, 3, 3, SIDE, SIDE, dtype=torch.float64)
    one[0, 0], other[0, 0] = wide[:, :SIDE], wide[:, shift:]
    moved = points - torch.tensor([2 * shift / SIDE, 0.0, 0.0])
    assert float((sample_planes(one, points) - sample_planes(other, moved)).abs().max()) <= 1e-6


def test_slices_of_voxels_lie_in_their_planes():
    voxels = torch.zeros(1, 1, SIDE, SIDE, SIDE)
    voxels[0, 0, 1, 2, 5] = 1.0
    xy, xz, zy = slice_voxels(voxels).reshape(3, SIDE, SIDE, SIDE)
    assert [tuple(part.nonzero()[0].tolist()) for part in (xy, xz, zy)] == [(5, 1, 2), (2, 1, 5), (1, 5, 2)]


def test_world_and_block_are_a_turn_of_each_other():
    voxels = np.random.default_rng(0).random((2, 3, 4, 5))
    block = block_from_world(voxels)
    assert block.shape == (2, 4, 5, 3)
    assert block[1, 3, 4, 2] == voxels[1, 2, 3, 4]  # block (x, y, z) = world (y, z, x)
    assert np.array_equal(world_from_block(block), voxels)
    points = np.random.default_rng(1).random((6, 3))
    assert np.array_equal(points_to_world(points_from_world(points)), points)
    axes = points_from_world(np.eye(3))
    assert np.isclose(np.linalg.det(axes), 1.0)  # handedness stays
    assert np.array_equal(points_from_world(np.array([[0.0, 0.0, 1.0]])), [[0.0, 1.0, 0.0]])  # up stays up
    plan = np.arange(6).reshape(2, 3)
    assert plan_from_world(plan)[2, 1] == plan[1, 2]
