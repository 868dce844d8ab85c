"""Camera paths: where they pass, how evenly, and that nothing tips over."""

from itertools import pairwise

import numpy as np
import pytest

from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import flythrough_path, interpolate_path, look_at, orbit_path, smooth_path
from scene3d.errors import InputError, SettingsError
from scene3d.geometry.rotations import angle_between_rad
from scene3d.seeding import make_numpy_generator

K = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])


def make_camera(position, target=(0.0, 0.0, 0.0)) -> Camera:
    pose = look_at(np.array(position, float), np.array(target, float))
    return Camera(width=64, height=48, K=K, cam_from_world=pose)


def centers_of(path) -> np.ndarray:
    return np.stack([camera.center for camera in path])


def turns_rad(path) -> np.ndarray:
    rotations = [camera.cam_from_world[:3, :3] for camera in path]
    return np.array([angle_between_rad(a, b) for a, b in pairwise(rotations)])


def test_a_camera_that_looks_at_a_place_has_it_in_its_centre():
    camera = make_camera((3.0, -2.0, 5.0), (1.0, 1.0, 0.5))
    target_in_camera = camera.cam_from_world @ np.array([1.0, 1.0, 0.5, 1.0])
    np.testing.assert_allclose(target_in_camera[:2], 0, atol=1e-12)
    assert target_in_camera[2] == pytest.approx(np.linalg.norm([2, 3, 4.5]))


def test_up_in_the_world_is_up_in_the_image():
    camera = make_camera((5.0, 0.0, 0.0))
    above = camera.cam_from_world @ np.array([0.0, 0.0, 1.0, 1.0])
    assert above[1] < 0
    assert above[0] == pytest.approx(0)


@pytest.mark.parametrize("height", [4.0, -4.0])
def test_looking_straight_down_or_up_is_still_a_camera(height):
    camera = make_camera((0.0, 0.0, height))
    np.testing.assert_allclose(camera.center, [0, 0, height], atol=1e-12)


def test_a_camera_cannot_look_at_where_it_stands():
    with pytest.raises(InputError, match="no direction"):
        look_at(np.ones(3), np.ones(3))


def test_an_orbit_keeps_its_distance_and_height_and_looks_at_the_target():
    target = np.array([1.0, 2.0, 0.5])
    path = orbit_path(make_camera((9, 0, 0)), target=target, radius=4.0, elevation_deg=30.0, num_frames=40)
    assert len(path) == 40
    np.testing.assert_allclose(np.linalg.norm(centers_of(path) - target, axis=1), 4.0)
    np.testing.assert_allclose(centers_of(path)[:, 2], 0.5 + 4.0 * np.sin(np.radians(30)))
    for camera in path:
        np.testing.assert_allclose((camera.cam_from_world @ [*target, 1.0])[:2], 0, atol=1e-12)


def test_an_orbit_closes_with_even_steps():
    path = orbit_path(make_camera((9, 0, 0)), target=np.zeros(3), radius=4.0, num_frames=24)
    steps = np.linalg.norm(centers_of(path) - np.roll(centers_of(path), 1, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0])


def test_an_interpolated_path_begins_and_ends_at_its_cameras():
    stops = [make_camera((4, 0, 1)), make_camera((0, 4, 2)), make_camera((-4, 0, 3))]
    path = interpolate_path(stops, 31)
    assert len(path) == 31
    np.testing.assert_allclose(path[0].cam_from_world, stops[0].cam_from_world, atol=1e-12)
    np.testing.assert_allclose(path[-1].cam_from_world, stops[-1].cam_from_world, atol=1e-12)


def test_an_interpolated_path_passes_every_stop():
    stops = [make_camera((4, 0, 1)), make_camera((0, 4, 2)), make_camera((-4, 0, 3)), make_camera((0, -4, 1))]
    path = centers_of(interpolate_path(stops, 2001))
    for stop in stops:
        assert np.linalg.norm(path - stop.center, axis=1).min() < 0.01


def test_the_pace_of_a_path_is_even():
    stops = [make_camera((0, -3, 1), (0, 9, 1)), make_camera((1, -3, 1), (1, 9, 1)), make_camera((7, -3, 1), (7, 9, 1))]
    steps = np.linalg.norm(np.diff(centers_of(interpolate_path(stops, 71)), axis=0), axis=1)
    np.testing.assert_allclose(steps, 0.1, rtol=1e-9)


def test_duplicated_stops_do_not_stop_the_flight():
    stops = [make_camera((4, 0, 1)), make_camera((4, 0, 1)), make_camera((0, 4, 2)), make_camera((0, 4, 2))]
    steps = np.linalg.norm(np.diff(centers_of(interpolate_path(stops, 20)), axis=0), axis=1)
    assert steps.min() > 0.5 * steps.max()


def test_turning_on_the_spot_takes_time():
    path = interpolate_path([make_camera((0, 0, 0), (1, 0, 0)), make_camera((0, 0, 0), (0, 1, 0))], 10)
    np.testing.assert_allclose(turns_rad(path), np.pi / 2 / 9)


def test_one_camera_makes_a_still_path():
    path = interpolate_path([make_camera((4, 0, 1))], 5)
    assert len(path) == 5
    np.testing.assert_array_equal(centers_of(path), np.tile(path[0].center, (5, 1)))


def test_a_path_of_no_cameras_or_no_frames_is_refused():
    with pytest.raises(InputError, match="no camera"):
        interpolate_path([], 5)
    with pytest.raises(InputError, match="no camera"):
        flythrough_path([])
    with pytest.raises(SettingsError, match="0 frames"):
        interpolate_path([make_camera((4, 0, 1))], 0)


def test_smoothing_rounds_corners_and_keeps_the_ends():
    stops = [make_camera((4, 0, 1)), make_camera((0, 4, 2)), make_camera((-4, 0, 3)), make_camera((0, -4, 1))]
    rough = interpolate_path(stops, 90)
    smooth = smooth_path(rough, 6.0)
    np.testing.assert_allclose(smooth[0].cam_from_world, rough[0].cam_from_world, atol=1e-12)
    np.testing.assert_allclose(smooth[-1].cam_from_world, rough[-1].cam_from_world, atol=1e-12)

    def sharpest(path) -> float:
        return float(np.linalg.norm(np.diff(centers_of(path), n=2, axis=0), axis=1).max())

    assert sharpest(smooth) < 0.3 * sharpest(rough)


def test_a_straight_path_is_already_smooth():
    ends = [make_camera((0, -3, 1), (0, 9, 1)), make_camera((7, -3, 1), (7, 9, 1))]
    path = interpolate_path(ends, 30)
    np.testing.assert_allclose(centers_of(smooth_path(path, 4.0)), centers_of(path), atol=1e-12)


def test_a_flight_stays_among_the_cameras_and_never_jumps():
    rng = make_numpy_generator(0, "rig")
    rig = [make_camera((x, y, 10.0), (x + 0.1, y + 0.2, 0.0)) for x, y in rng.uniform(-20, 20, (60, 2))]
    path = flythrough_path(rig, num_frames=200)
    assert len(path) == 200
    corners = centers_of(rig)
    assert (centers_of(path) >= corners.min(0) - 1e-9).all()
    assert (centers_of(path) <= corners.max(0) + 1e-9).all()
    steps = np.linalg.norm(np.diff(centers_of(path), axis=0), axis=1)
    assert steps.max() < 4 * np.median(steps)


def test_a_flight_takes_a_short_way():
    rng = make_numpy_generator(1, "rig")
    rig = [make_camera((x, 0.0, 10.0), (x, 5.0, 0.0)) for x in rng.permutation(np.arange(12.0))]
    path = centers_of(flythrough_path(rig, num_frames=100, smoothness=0.0))
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(11, rel=1e-6)


def test_a_flight_over_a_serpentine_does_not_spin():
    ups = [np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0])]
    rig = []
    for i, (x, y) in enumerate(np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2)):
        place = np.array([x, y, 5.0])
        pose = look_at(place, place - [0.0, 0.0, 5.0], ups[i // 6 % 2])
        rig.append(Camera(width=64, height=48, K=K, cam_from_world=pose))
    path = flythrough_path(rig, num_frames=60)
    for camera in path:
        assert angle_between_rad(path[0].cam_from_world[:3, :3], camera.cam_from_world[:3, :3]) < 1e-6
