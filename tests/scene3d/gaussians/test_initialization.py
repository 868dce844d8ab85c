"""The first guess has sensible sizes whatever the points are like."""

import numpy as np
import pytest
import torch

from scene3d.cameras.camera import Camera
from scene3d.errors import InputError
from scene3d.gaussians.gaussians import SH_C0
from scene3d.gaussians.initialization import (
    gaussians_from_points,
    guess_depth_range,
    neighbour_scales,
    random_points_in_frustums,
)
from scene3d.seeding import make_generator, make_numpy_generator


def make_camera(center: tuple[float, float, float], target: tuple[float, float, float]) -> Camera:
    forward = np.subtract(target, center) / np.linalg.norm(np.subtract(target, center))
    helper = np.array([1.0, 0, 0]) if abs(forward[2]) > 0.9 else np.array([0, 0, 1.0])
    right = np.cross(forward, helper)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3], cam_from_world[:3, 3] = rotation, -rotation @ center
    K = np.array([[50.0, 0, 40], [0, 50, 25], [0, 0, 1]])
    return Camera(width=80, height=60, K=K, cam_from_world=cam_from_world)


def grey(count: int) -> np.ndarray:
    return np.full((count, 3), 128, np.uint8)


def test_sizes_on_a_grid_are_its_spacing():
    positions = np.stack(np.meshgrid(*[np.arange(4.0) * 0.25] * 3), axis=-1).reshape(-1, 3)
    gaussians = gaussians_from_points(positions, grey(64), generator=make_generator(0))
    assert torch.allclose(gaussians.scales, torch.tensor(0.25), rtol=1e-6)


def test_sizes_match_a_brute_force_search():
    positions = make_numpy_generator(0).normal(size=(200, 3))
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    expected = np.sqrt((np.sort(distances, axis=1)[:, 1:4] ** 2).mean(axis=1))
    assert neighbour_scales(positions) == pytest.approx(expected)


def test_colour_opacity_and_rotation_are_what_was_asked():
    positions = make_numpy_generator(0).normal(size=(50, 3))
    colors = make_numpy_generator(1).integers(0, 256, (50, 3)).astype(np.uint8)
    gaussians = gaussians_from_points(positions, colors, sh_degree=2, opacity=0.3, generator=make_generator(0))
    assert gaussians.sh.shape == (50, 9, 3)
    assert torch.allclose(gaussians.sh[:, 0] * SH_C0 + 0.5, torch.from_numpy(colors).float() / 255, atol=1e-6)
    assert not gaussians.sh[:, 1:].any()
    assert torch.allclose(gaussians.opacities, torch.tensor(0.3))
    assert torch.equal(gaussians.quats, torch.tensor([1.0, 0, 0, 0]).repeat(50, 1))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_points_is_enough(count):
    gaussians = gaussians_from_points(np.eye(3)[:count], grey(count), generator=make_generator(0))
    assert torch.allclose(gaussians.scales, torch.tensor(1.0 if count == 1 else 2**0.5))


def test_duplicates_keep_their_neighbourhoods_size_and_are_moved_apart():
    places = make_numpy_generator(0).normal(size=(40, 3))
    positions = np.concatenate([places, places[:5]])
    gaussians = gaussians_from_points(positions, grey(45), generator=make_generator(0))
    assert gaussians.scales[40:].numpy() == pytest.approx(gaussians.scales[:5].numpy())
    moved = (gaussians.means[40:] - gaussians.means[:5]).norm(dim=1)
    assert (moved > 0).all()
    assert (moved < gaussians.scales[:5, 0]).all()
    assert np.array_equal(gaussians.means[:40].numpy(), places.astype(np.float32))


def test_all_points_in_one_place_give_unit_sizes():
    gaussians = gaussians_from_points(np.ones((7, 3)), grey(7), generator=make_generator(0))
    assert torch.allclose(gaussians.scales, torch.tensor(1.0))
    assert len(gaussians.means.unique(dim=0)) == 7


def test_a_lone_far_point_does_not_cover_the_scene():
    positions = np.concatenate([make_numpy_generator(0).normal(size=(100, 3)), [[1e6, 0, 0]]])
    gaussians = gaussians_from_points(positions, grey(101), generator=make_generator(0))
    assert gaussians.scales.max() < 40 * gaussians.scales.median()


def test_the_same_seed_gives_the_same_bytes():
    positions = np.ones((5, 3))
    first, second = (gaussians_from_points(positions, grey(5), generator=make_generator(4)) for _ in range(2))
    assert torch.equal(first.means, second.means)


def test_bad_points_are_refused():
    with pytest.raises(InputError, match="no points"):
        gaussians_from_points(np.zeros((0, 3)), grey(0), generator=make_generator(0))
    with pytest.raises(InputError, match="not finite"):
        gaussians_from_points(np.array([[0, np.nan, 0]]), grey(1), generator=make_generator(0))


def test_random_points_lie_in_some_camera_within_the_depths():
    cameras = [make_camera((3, 0, 1), (0, 0, 0)), make_camera((0, -4, 2), (0, 0, 0.5))]
    positions, colors = random_points_in_frustums(cameras, 300, depth_range=(1.0, 4.0), generator=make_generator(0))
    assert colors.shape == (300, 3)
    seen = np.zeros(300, bool)
    for camera in cameras:
        in_camera = positions @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
        pixels = in_camera @ camera.K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        depth_is_right = (in_camera[:, 2] >= 1 - 1e-9) & (in_camera[:, 2] <= 4 + 1e-9)
        seen |= depth_is_right & (pixels >= 0).all(axis=1) & (pixels <= [80, 60]).all(axis=1)
    assert seen.all()


def test_depths_are_guessed_from_where_the_axes_meet():
    ring = [make_camera((5 * np.cos(a), 5 * np.sin(a), 0.1), (0, 0, 0)) for a in np.linspace(0, 5, 7)]
    near, far = guess_depth_range(ring)
    assert near < 5 < far
    assert far == pytest.approx(10, rel=0.01)


def test_parallel_axes_fall_back_to_the_spread_of_the_cameras():
    grid = [make_camera((x, y, 9), (x, y, 0)) for x in (0.0, 3.0) for y in (0.0, 4.0)]
    assert guess_depth_range(grid) == pytest.approx((0.25 * 2.5, 2 * 2.5))
    assert guess_depth_range(grid[:1]) == (0.25, 2.0)


def test_no_cameras_are_refused():
    with pytest.raises(InputError, match="no cameras"):
        random_points_in_frustums([], 10, generator=make_generator(0))
