"""The world frame: up is found whatever the rig and the frame of the files, and lengths become comparable."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scene3d.data.capture import SparsePoints
from scene3d.data.frame import estimate_frame, estimate_up, well_seen
from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity
from scene3d.seeding import make_numpy_generator
from tests.scene3d.data import rigs

RIGS = {
    "nadir, there and back": rigs.nadir(),
    "nadir, one heading": rigs.nadir(headings=[20.0]),
    "nadir, one heading held exactly": rigs.nadir(headings=[0.0], wobble_deg=0.0),
    "oblique, four headings": rigs.oblique(),
    "oblique, one heading": rigs.oblique(headings=[70.0], off_nadir_deg=30.0),
    "orbit": rigs.orbit(),
    "steep orbit": rigs.orbit(elevation_deg=65.0),
    "facade": rigs.facade(),
    "facade, looking up": rigs.facade(pitch_deg=15.0),
    "facade, nobody turns": rigs.facade(yaw_deg=0.0),
    "room": rigs.room(),
    "no plane": rigs.cloud_before_cameras(),
}
every_rig = pytest.mark.parametrize("name", RIGS)


def random_similarity(seed: int) -> Similarity:
    rng = make_numpy_generator(seed, "similarity")
    rotation = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    return Similarity(float(10 ** rng.uniform(-3, 3)), rotation, rng.normal(size=3) * 1000)


def degrees_off(direction: np.ndarray, truth: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(direction @ truth, -1, 1))))


def median_depth(capture) -> float:
    depths = []
    for point, view in zip(capture.points.track_points, capture.points.track_views, strict=True):
        depths.append((capture.views[view].camera.cam_from_world @ [*capture.points.positions[point], 1])[2])
    return float(np.median(depths))


@every_rig
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_up_is_found_in_any_frame(name, seed):
    move = random_similarity(seed)
    estimate = estimate_up(rigs.moved(RIGS[name], move))
    assert degrees_off(estimate.up, move.rotation[:, 2]) < 3, estimate.source


@pytest.mark.parametrize("name", [name for name in RIGS if "nadir" in name or "oblique" in name or "orbit" in name])
def test_the_ground_of_a_flight_lies_at_height_zero(name):
    capture = rigs.moved(RIGS[name], random_similarity(5))
    level = capture.transformed(estimate_frame(capture))
    heights = level.points.positions[:, 2]
    assert abs(np.median(heights)) < 0.02
    assert all(view.camera.center[2] > 0.3 for view in level.views)


@pytest.mark.parametrize("name", ["facade", "facade, nobody turns", "room", "no plane"])
def test_a_wall_is_not_taken_for_ground(name):
    ground = estimate_up(RIGS[name]).ground
    assert ground is None or ground.normal[2] > 0.9


@every_rig
def test_the_median_depth_becomes_one(name):
    capture = rigs.moved(RIGS[name], random_similarity(3))
    assert median_depth(capture.transformed(estimate_frame(capture))) == pytest.approx(1)


@every_rig
def test_the_origin_lies_amid_the_points(name):
    capture = rigs.moved(RIGS[name], random_similarity(4))
    level = capture.transformed(estimate_frame(capture))
    seen = level.points.positions[well_seen(level.points)]
    assert np.abs(np.median(seen, axis=0)[:2]).max() < 0.1
    assert seen[:, 2].min() - 0.1 < 0 < seen[:, 2].max()


def test_the_same_capture_gives_the_same_bits():
    first, second = estimate_frame(RIGS["orbit"]), estimate_frame(rigs.orbit())
    assert first.to_record() == second.to_record()


def test_a_level_capture_keeps_its_axes():
    # The ground of this town is not exactly level; a frame from GPS must not be tilted after it.
    capture = rigs.moved(RIGS["nadir, there and back"], Similarity(3.0, np.eye(3), np.array([1.0, 2.0, 3.0])))
    np.testing.assert_array_equal(estimate_frame(capture).rotation, np.eye(3))


def test_a_capture_upside_down_is_turned_over():
    upside_down = Similarity(1.0, np.diag([1.0, -1.0, -1.0]), np.zeros(3))
    capture = rigs.moved(RIGS["nadir, there and back"], upside_down)
    level = capture.transformed(estimate_frame(capture))
    assert all(view.camera.center[2] > 0 for view in level.views)


def test_survey_coordinates_lose_nothing():
    offset = np.array([4_500_000.0, 5_300_000.0, 1200.0])
    near, far = RIGS["orbit"], rigs.moved(RIGS["orbit"], Similarity(1.0, np.eye(3), offset))
    near, far = near.transformed(estimate_frame(near)), far.transformed(estimate_frame(far))
    np.testing.assert_allclose(far.points.positions, near.points.positions, atol=1e-6)
    for a, b in zip(near.views, far.views, strict=True):
        np.testing.assert_allclose(b.camera.cam_from_world, a.camera.cam_from_world, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_unit_of_the_files_does_not_matter(scale):
    plain, scaled = RIGS["orbit"], rigs.moved(RIGS["orbit"], Similarity(scale, np.eye(3), np.zeros(3)))
    plain, scaled = plain.transformed(estimate_frame(plain)), scaled.transformed(estimate_frame(scaled))
    np.testing.assert_allclose(scaled.points.positions, plain.points.positions, atol=1e-9)


def test_a_capture_without_tracks_is_measured_all_the_same():
    points = RIGS["orbit"].points
    bare = replace(points, track_offsets=np.zeros(len(points) + 1, np.int64), track_views=np.zeros(0, np.int64))
    capture = rigs.moved(replace(RIGS["orbit"], points=bare), random_similarity(6))
    level = capture.transformed(estimate_frame(capture))
    distances = [np.linalg.norm(view.camera.center) for view in level.views]
    assert 0.7 < np.median(distances) < 1.4
    assert degrees_off(estimate_up(capture).up, random_similarity(6).rotation[:, 2]) < 3


def test_a_capture_without_points_is_scaled_by_its_cameras():
    capture = rigs.moved(rigs.make_capture([view.camera for view in RIGS["orbit"].views]), random_similarity(7))
    level = capture.transformed(estimate_frame(capture))
    centers = np.stack([view.camera.center for view in level.views])
    assert np.median(np.linalg.norm(centers - np.median(centers, axis=0), axis=1)) == pytest.approx(1)
    assert degrees_off(estimate_up(capture).up, random_similarity(7).rotation[:, 2]) < 3


def test_one_view_without_points_keeps_its_unit_and_stands_upright():
    move = Similarity(2.0, Rotation.from_rotvec([1.0, 0.4, 0.2]).as_matrix(), np.array([5.0, 6.0, 7.0]))
    capture = rigs.moved(rigs.make_capture([rigs.make_camera((0, 0, 1), (5, 0, 1))]), move)
    frame = estimate_frame(capture)
    assert frame.scale == 1
    np.testing.assert_allclose(capture.transformed(frame).views[0].camera.center, 0, atol=1e-9)
    assert degrees_off(frame.rotation.T[:, 2], move.rotation[:, 2]) < 1e-4


@pytest.mark.parametrize("count", [1, 2, 40])
def test_points_all_in_one_place_do_not_matter(count):
    cameras = [view.camera for view in RIGS["orbit"].views]
    frame = estimate_frame(rigs.make_capture(cameras, np.tile([[0.1, 0.2, 1.0]], (count, 1))))
    assert np.isfinite(frame.scale)
    assert degrees_off(frame.rotation.T[:, 2], np.array([0.0, 0, 1])) < 3


def test_points_that_are_not_finite_are_passed_over():
    capture = RIGS["orbit"]
    positions = capture.points.positions.copy()
    positions[::7] = np.nan
    frame = estimate_frame(replace(capture, points=replace(capture.points, positions=positions)))
    assert np.isfinite(frame.translation).all()


def test_outliers_do_not_move_the_frame():
    capture = RIGS["orbit"]
    positions, errors = capture.points.positions.copy(), capture.points.errors_px.copy()
    positions[::10] += 500
    errors[::10] = 20.0
    dirty = replace(capture, points=replace(capture.points, positions=positions, errors_px=errors))
    clean, frame = estimate_frame(capture), estimate_frame(dirty)
    assert frame.scale == pytest.approx(clean.scale, rel=0.25)
    assert np.abs(frame.apply(clean.inverse().apply(np.zeros(3)))).max() < 0.1


def test_no_view_is_refused():
    with pytest.raises(InputError, match="no view"):
        estimate_frame(replace(RIGS["orbit"], views=(), points=SparsePoints.empty()))
