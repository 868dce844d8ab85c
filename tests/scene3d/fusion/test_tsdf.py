"""Fusing rendered depth: signs, distances and colours against a scene whose signed distance is known exactly."""

import numpy as np
import pytest

from scene3d.errors import InputError, LimitExceeded
from scene3d.fusion.tsdf import VoxelBox, fuse_depth_views, view_points
from scene3d.geometry.isosurface import extract_mesh
from scene3d.geometry.voxels import VoxelField
from tests.scene3d.fusion.splat_scene import DOME_CENTER, HOUSE_CENTER, VOXEL, make_views, true_colors, true_sdf

BOX = VoxelBox(origin=np.array([-1.0, -1.0, -0.3]), shape=(40, 40, 20), voxel_size=VOXEL, truncation=4 * VOXEL)


@pytest.fixture(scope="module")
def fused() -> VoxelField:
    return fuse_depth_views(make_views(), BOX)


def test_the_sign_is_right_in_ninety_nine_of_a_hundred_known_voxels(fused: VoxelField) -> None:
    truth = true_sdf(fused.centers())
    # Within a tenth of a voxel of the surface the sign is the splats' own thickness, not the fusion's.
    clear = fused.known & (np.abs(truth) > 0.1 * VOXEL)
    right = np.sign(fused.sdf[clear]) == np.sign(truth[clear])
    assert clear.sum() > 15_000
    assert right.mean() >= 0.99


def test_distances_near_the_surface_are_right_to_half_a_voxel(fused: VoxelField) -> None:
    truth = true_sdf(fused.centers())
    near = fused.known & (np.abs(truth) < 2 * VOXEL) & (truth > 0)
    error = np.abs(fused.sdf[near] - truth[near]) / VOXEL
    assert error.mean() < 0.3
    assert np.quantile(error, 0.9) <= 0.5  # at inner and outer edges voxels round more off


def test_what_nobody_sees_is_unknown_and_never_free(fused: VoxelField) -> None:
    truth = true_sdf(fused.centers())
    buried = truth < -1.2 * BOX.truncation
    assert buried.sum() > 100
    assert fused.known[buried].mean() < 0.1
    assert (fused.sdf[buried & fused.known] < 0).all()
    called_free = fused.known & (fused.sdf > 0.5 * VOXEL) & (truth < -0.5 * VOXEL)
    assert called_free.sum() <= 0.002 * fused.known.sum()


def test_free_and_unknown_are_told_apart(fused: VoxelField) -> None:
    assert fused.sdf[~fused.known] == pytest.approx(BOX.truncation)
    above = fused.centers()[..., 2] > 0.6
    assert fused.known[above].mean() > 0.95


def test_colours_near_the_surface_are_those_of_the_surface(fused: VoxelField) -> None:
    mesh = extract_mesh(fused)
    assert mesh.colors is not None
    inner = np.abs(mesh.vertices[:, :2]).max(axis=1) < 0.9
    error = np.abs(mesh.colors - true_colors(mesh.vertices)).mean(axis=1)[inner]
    assert np.median(error) < 0.05


def test_the_box_may_stand_on_a_frame_of_its_own(fused: VoxelField) -> None:
    shift = np.array([100.0, -50.0, 7.0])
    moved = VoxelBox(origin=BOX.origin + shift, shape=BOX.shape, voxel_size=BOX.voxel_size, truncation=BOX.truncation)
    lifted = fuse_depth_views(make_views(), moved, lift=lambda points: points - shift)
    assert (lifted.known == fused.known).mean() > 0.9999
    assert np.abs(lifted.sdf - fused.sdf)[lifted.known & fused.known].max() < 0.05 * VOXEL


def test_bricks_away_from_surfaces_can_be_left_out_without_changing_the_mesh(fused: VoxelField) -> None:
    tall = VoxelBox(origin=BOX.origin, shape=(40, 40, 72), voxel_size=VOXEL, truncation=BOX.truncation)
    sparse = fuse_depth_views(make_views(), tall, near_surfaces=True)
    assert not sparse.known[:, :, 64:].any()
    assert len(extract_mesh(sparse).faces) >= len(extract_mesh(fused).faces)


def test_one_view_alone_knows_nothing() -> None:
    assert not fuse_depth_views(make_views()[:1], BOX).known.any()


def test_no_view_gives_an_unknown_box() -> None:
    assert not fuse_depth_views([], BOX).known.any()


def test_points_of_a_view_lie_on_the_surface() -> None:
    points = view_points(make_views()[0])
    inner = np.abs(points[:, :2]).max(axis=1) < 1.2
    assert np.quantile(np.abs(true_sdf(points[inner])), 0.95) < 0.5 * VOXEL
    for center in (HOUSE_CENTER, DOME_CENTER):
        assert np.linalg.norm(points - center, axis=1).min() < 0.45


def test_a_box_may_be_neither_flat_nor_endless() -> None:
    with pytest.raises(InputError, match="holds no surface"):
        VoxelBox(origin=np.zeros(3), shape=(10, 10, 1), voxel_size=1.0, truncation=4.0)
    with pytest.raises(LimitExceeded, match="larger voxels"):
        VoxelBox(origin=np.zeros(3), shape=(1000, 1000, 1000), voxel_size=1.0, truncation=4.0)


def test_what_is_only_seen_from_one_side_is_unknown_where_two_sides_are_asked_for() -> None:
    first, second = make_views()[0], make_views()[12]
    twice = fuse_depth_views([first, first], BOX)
    assert twice.known.mean() > 0.1
    assert not fuse_depth_views([first, first], BOX, min_parallax_deg=5.0).known.any()
    apart = fuse_depth_views([first, second], BOX, min_parallax_deg=5.0)
    plain = fuse_depth_views([first, second], BOX)
    assert apart.known.sum() == plain.known.sum() > 1000
