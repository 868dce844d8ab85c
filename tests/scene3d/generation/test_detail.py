"""Reading the field between voxels: it gets nearer to the truth, only near the surface, and leaves the known alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scene3d.errors import LimitExceeded, SettingsError
from scene3d.generation.autoencoder import AutoEncoder, FieldValues
from scene3d.generation.detail import DetailLayer, read_residuals, refine_field
from scene3d.generation.generator import make_canvas
from scene3d.generation.grow_settings import GrowSettings
from scene3d.generation.merging import make_window_weights
from scene3d.generation.triplane import grid_points
from scene3d.generation.voxel_tensors import values_from_tensor
from scene3d.geometry.isosurface import extract_mesh
from scene3d.geometry.voxels import VoxelField
from tests.scene3d.generation.small import nano, nano_spec, untrained
from tests.scene3d.generation.test_generator import strip, town_canvas

RADIUS = 0.55
SIDE = 16
TRUNCATION = 0.5
"""Four voxels of the block [-1, 1]^3."""


class Ball(AutoEncoder):
    """A ball, whatever its planes are."""

    def query(self, triplane, points):
        distance = (points.norm(dim=-1) - RADIUS) / TRUNCATION
        return FieldValues(distance, torch.full((*distance.shape, 3), 0.5))

    def query_grid(self, triplane, side, *, cut=True):
        found = self.query(triplane, grid_points(side)[None].expand(len(triplane), -1, -1))
        cube = (len(triplane), side, side, side)
        return FieldValues(found.tsdf.reshape(cube).clamp(-1, 1), found.rgb.reshape(*cube, 3))


def coarse_ball() -> VoxelField:
    found = Ball(nano().config).query_grid(torch.zeros(1, 3, 4, SIDE, SIDE), SIDE)
    return VoxelField(
        sdf=found.tsdf[0].numpy() * TRUNCATION,
        rgb=found.rgb[0].numpy(),
        known=np.ones((SIDE,) * 3, bool),
        origin=np.full(3, -1.0),
        voxel_size=2.0 / SIDE,
        truncation=TRUNCATION,
    )


def fine_ball(detail: int) -> tuple[VoxelField, float]:
    """The ball read at some detail, and the share of the finer voxels that were read."""
    field = coarse_ball()
    residuals, num_read = read_residuals(Ball(nano().config), torch.zeros(1, 3, 4, SIDE, SIDE), detail)
    layer = DetailLayer(field.shape, detail, make_window_weights(SIDE * detail, detail))
    layer.add(0, 0, values_from_tensor(residuals)[0])
    return layer.added_to(field, np.zeros(field.shape, bool), unit=TRUNCATION), num_read / residuals[0, 0].numel()


def surface_error(field: VoxelField) -> float:
    return float(np.abs(np.linalg.norm(extract_mesh(field).vertices, axis=1) - RADIUS).mean())


def test_the_more_detail_the_nearer_a_ball_comes_to_the_truth_and_the_less_of_it_is_read():
    errors, shares = {1: surface_error(coarse_ball())}, {}
    for detail in (2, 4):
        field, shares[detail] = fine_ball(detail)
        errors[detail] = surface_error(field)
    assert surface_error(refine_field(coarse_ball(), 2)) > 0.8 * errors[1]  # finer voxels alone bring nothing
    assert errors[2] < 0.5 * errors[1]
    assert errors[4] < 0.5 * errors[2]
    assert max(shares.values()) < 0.35


def test_finer_voxels_of_a_plane_lie_on_the_plane():
    canvas = make_canvas(nano_spec(), (1, 1))
    height = canvas.centers() @ np.array([0.1, -0.2, 0.9])
    known = np.ones(canvas.shape, bool)
    plane = replace(canvas, sdf=height.astype(np.float32), known=known, truncation=1e3)
    fine = refine_field(plane, 2)
    assert fine.shape == tuple(2 * count for count in plane.shape)
    inner = (slice(1, -1),) * 3
    assert fine.sdf[inner] == pytest.approx((fine.centers() @ np.array([0.1, -0.2, 0.9]))[inner], abs=1e-4)
    assert refine_field(plane, 1) is plane


def test_what_is_unknown_does_not_leak_into_finer_known_voxels():
    canvas = make_canvas(nano_spec(), (1, 1))
    known = np.zeros(canvas.shape, bool)
    known[:5] = True
    field = replace(canvas, sdf=np.where(known, 0.25, canvas.truncation).astype(np.float32), known=known)
    fine = refine_field(field, 2)
    assert (fine.known[:10]).all()
    assert not fine.known[10:].any()
    assert fine.sdf[:10] == pytest.approx(0.25)
    assert fine.sdf[10:] == pytest.approx(canvas.truncation)


def test_a_generator_adds_detail_near_the_surface_and_keeps_what_is_known():
    canvas = town_canvas(strip(6))
    generator = untrained()
    before = generator.num_detail_read, generator.num_detail_voxels
    settings = GrowSettings(seed=4, steps=2)
    plain = refine_field(generator.grow(canvas, [(0, 0)], settings), 2)
    grown = generator.grow(canvas, [(0, 0)], replace(settings, detail=2))
    num_read, num_voxels = generator.num_detail_read - before[0], generator.num_detail_voxels - before[1]
    assert num_voxels == (2 * nano_spec().block_voxels) ** 3
    assert 0 < num_read <= num_voxels
    assert (grown.known == plain.known).all()
    assert np.array_equal(grown.sdf[:11], plain.sdf[:11])  # all of whose neighbours were known
    assert grown.voxel_size == canvas.voxel_size / 2
    assert np.abs(grown.sdf).max() <= canvas.truncation


def test_too_much_detail_is_refused():
    with pytest.raises(SettingsError, match="1, 2 or 4"):
        GrowSettings(detail=3)
    canvas = make_canvas(nano_spec(), (30, 30))
    with pytest.raises(LimitExceeded, match="less detail"):
        untrained().grow(canvas, [(0, 0)], GrowSettings(detail=4))
