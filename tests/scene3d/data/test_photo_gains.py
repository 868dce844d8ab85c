"""Gains of photographs: known ones are found again, what glints or moves does not matter, the unconnected are named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float

from scene3d.cameras.camera import Camera
from scene3d.data.capture import Capture, SparsePoints
from scene3d.data.photo_gains import PhotoGains, find_connected, fit_log_gains, measure_gains
from scene3d.data.reading import read_capture
from scene3d.io.images import write_image
from scene3d.seeding import make_numpy_generator
from tests.helpers import shared_data
from tests.scene3d.data.rigs import grid, make_camera, make_capture

NUM_VIEWS = 16


def texture(places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """A smooth painting of the ground, far from black and white."""
    x, y = places.T / 20
    return 0.4 + 0.15 * np.stack([np.sin(x + 0.5 * y), np.cos(0.7 * x - y), np.sin(x) * np.cos(y)], axis=1)


def paint(camera: Camera) -> Float[np.ndarray, "h w 3"]:
    """What a camera sees of ground at height 0."""
    column, row = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(camera.K).T
    rays = rays @ camera.world_from_cam[:3, :3].T
    places = camera.center[:2] - camera.center[2] * rays[..., :2] / rays[..., 2:]
    return texture(places.reshape(-1, 2)).reshape(camera.height, camera.width, 3)


def true_gains() -> Float[np.ndarray, "v 3"]:
    logs = 0.15 * make_numpy_generator(0, "gains").normal(size=(NUM_VIEWS, 3))
    return np.asarray(np.exp(logs - logs.mean(axis=0)))


def write_flight(root: Path, *, patches: int = 0, extra: int = 0) -> Capture:
    """A flight over painted ground; some square patches of each photograph show something else."""
    rng = make_numpy_generator(1, "flight")
    cameras = [make_camera((x, y, 45.0), (x, y, 0.0), (0.0, 1.0, 0.0)) for x, y in grid(30, 4)]
    cameras += [make_camera((500.0 + x, 0.0, 45.0), (500.0 + x, 0.0, 0.0), (0.0, 1.0, 0.0)) for x in range(extra)]
    ground = np.concatenate([rng.uniform(-50, 50, (800, 2)), np.zeros((800, 1))], axis=1)
    few = np.array([[500.0, 0.0, 0.0]]) + [[i, i % 3, 0.0] for i in range(5)]
    capture = make_capture(cameras, np.concatenate([ground, few]) if extra else ground, root)
    for index, (view, gain) in enumerate(zip(capture.views, [*true_gains(), *np.ones((extra, 3))], strict=True)):
        image = paint(view.camera) * gain
        for _ in range(patches):
            top, left = rng.integers(0, [view.camera.height - 12, view.camera.width - 12])
            image[top : top + 12, left : left + 12] = 0.9 if index % 2 else 0.8 * rng.random()
        view.image_path.parent.mkdir(parents=True, exist_ok=True)
        write_image(view.image_path, image.astype(np.float32))
    return capture


def error(found: PhotoGains) -> float:
    return float(np.abs(found.gains[:NUM_VIEWS] / true_gains() - 1).max())


def test_known_gains_are_found_to_a_hundredth(tmp_path: Path) -> None:
    found = measure_gains(write_flight(tmp_path), range(NUM_VIEWS))
    assert error(found) < 0.01
    assert found.connected.all()
    assert found.findings == ()
    assert found.spread == pytest.approx(np.log(true_gains()).mean(axis=1).std(), abs=0.005)
    np.testing.assert_allclose(np.log(found.gains).mean(axis=0), 0, atol=1e-9)


def test_what_glints_or_moves_does_not_move_the_gains(tmp_path: Path) -> None:
    capture = write_flight(tmp_path, patches=8)
    assert error(measure_gains(capture, range(NUM_VIEWS))) < 0.01


def test_photographs_with_too_few_common_points_keep_one_and_are_counted(tmp_path: Path) -> None:
    capture = write_flight(tmp_path, extra=2)
    found = measure_gains(capture, range(NUM_VIEWS + 2))
    assert error(found) < 0.01
    assert not found.connected[NUM_VIEWS:].any()
    assert (found.gains[NUM_VIEWS:] == 1).all()
    (finding,) = found.findings
    assert finding.what.startswith("2 of 18 photographs")


def test_a_photograph_that_cannot_be_read_keeps_one(tmp_path: Path) -> None:
    capture = write_flight(tmp_path)
    capture.views[3].image_path.unlink()
    found = measure_gains(capture, range(NUM_VIEWS))
    assert np.flatnonzero(~found.connected).tolist() == [3]
    assert (found.gains[3] == 1).all()
    others = found.connected
    true = np.log(true_gains()[others])
    np.testing.assert_allclose(np.log(found.gains[others]), true - true.mean(axis=0), atol=0.01)


def test_without_tracks_nothing_is_compared(tmp_path: Path) -> None:
    capture = replace(write_flight(tmp_path), points=SparsePoints.empty())
    found = measure_gains(capture, [0, 1, 2])
    assert (found.gains == 1).all()
    assert found.spread == 0
    assert "3 of 3" in found.findings[0].what


def test_only_the_views_asked_for_are_compared(tmp_path: Path) -> None:
    capture = write_flight(tmp_path)
    for index in range(0, NUM_VIEWS, 8):
        capture.views[index].image_path.unlink()
    views = [index for index in range(NUM_VIEWS) if index % 8]
    found = measure_gains(capture, views)
    assert found.connected.all()
    true = np.log(true_gains()[views])
    np.testing.assert_allclose(np.log(found.gains), true - true.mean(axis=0), atol=0.01)


def test_a_third_of_wild_observations_does_no_harm() -> None:
    rng = make_numpy_generator(2, "fit")
    true, scene = 0.2 * rng.normal(size=(6, 3)), rng.normal(size=(200, 3))
    rows, views = np.repeat(np.arange(200), 6), np.tile(np.arange(6), 200)
    logs = scene[rows] + true[views] + 0.02 * rng.normal(size=(1200, 3))
    wild = (rng.random(1200) < 0.3) & (views != 0)
    logs[wild] += 1.0
    found = fit_log_gains(rows, views, logs, num_points=200)
    np.testing.assert_allclose(found, true - true.mean(axis=0), atol=0.01)


def test_views_are_connected_through_others() -> None:
    rows = np.concatenate([np.arange(40), np.arange(80), np.arange(40, 80), np.arange(80, 85)])
    views = np.repeat([0, 1, 2, 3], [40, 80, 40, 5])
    assert find_connected(rows, views, num_points=85, num_views=5).tolist() == [True, True, True, False, False]


def test_the_photographs_of_boruszyn_differ_by_an_eighth() -> None:
    capture = read_capture(shared_data("boruszyn"))
    found = measure_gains(capture, range(len(capture.views)))
    assert found.connected.all()
    assert 0.1 < found.spread < 0.17
