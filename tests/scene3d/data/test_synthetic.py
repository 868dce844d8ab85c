"""Synthetic captures: exact poses and depth, honest tracks, the same bytes for the same seed, whole or not at all."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scene3d.cameras.models import project
from scene3d.data.capture import Capture
from scene3d.data.loader import ImageLoader
from scene3d.data.reading import read_capture
from scene3d.data.synthetic import SyntheticSettings, make_capture
from scene3d.errors import InputError, SettingsError
from scene3d.events import Quiet
from scene3d.geometry.similarity import Similarity
from scene3d.io.colmap import read_colmap
from scene3d.io.images import read_image
from scene3d.world.classes import PALETTE
from scene3d.world.crop import World
from scene3d.world.photograph import make_studio, photograph
from scene3d.world.terrain import Bounds
from tests.synthetic_captures import TINY, shared_capture

# A whole capture is some seconds of work, and a busy machine stretches them.
pytestmark = pytest.mark.timeout(240)

SMALL = replace(TINY, num_views=6, num_points=200)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return shared_capture(tmp_path_factory, "tiny", TINY)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """Without noise, in the world's own frame."""
    return shared_capture(tmp_path_factory, "exact", replace(SMALL, pixel_noise_px=0.0))


@pytest.fixture(scope="module")
def bent(tmp_path_factory):
    """Through a distorted lens, in a random frame, as JPEG, with exposures that vary; otherwise like `exact`."""
    settings = replace(
        SMALL, pixel_noise_px=0.0, distorted=True, moved=True, exposure_spread_stops=0.4, image_format="jpg"
    )
    return shared_capture(tmp_path_factory, "bent", settings)


def file_hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def depth_of(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / "depth" / f"{Path(name).stem}.npy", allow_pickle=False)


def observations(capture: Capture):
    """Point and view of every track entry."""
    points = np.repeat(np.arange(len(capture.points)), np.diff(capture.points.track_offsets))
    return points, capture.points.track_views


def in_cameras(capture: Capture):
    points, views = observations(capture)
    poses = np.stack([view.camera.cam_from_world for view in capture.views])[views]
    positions = capture.points.positions[points]
    return np.einsum("nij,nj->ni", poses[:, :3, :3], positions) + poses[:, :3, 3]


def test_a_capture_is_read_back_whole_and_without_findings(tiny):
    capture = read_capture(tiny)
    assert capture.findings == ()
    assert [view.name for view in capture.views] == [f"{number:04d}.png" for number in range(TINY.num_views)]
    assert len(capture.points) == TINY.num_points
    for view in capture.views:
        assert read_image(view.image_path).image.shape == (TINY.height, TINY.width, 3)
        assert depth_of(tiny, view.name).shape == (TINY.height, TINY.width)


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(tmp_path, exact):
    settings = replace(SMALL, pixel_noise_px=0.0)
    again = make_capture(tmp_path / "again", settings)
    assert file_hashes(again) == file_hashes(exact)
    other = make_capture(tmp_path / "other", replace(settings, seed=1))
    assert file_hashes(other).keys() == file_hashes(exact).keys()
    same = [name for name, value in file_hashes(other).items() if file_hashes(exact)[name] == value]
    # Only the lens does not depend on the seed.
    assert same == ["sparse/0/cameras.bin"]


@pytest.mark.parametrize("name", ["exact", "bent"])
def test_without_noise_points_project_onto_their_keypoints_at_the_true_depth(name, request):
    folder = request.getfixturevalue(name)
    capture, model = read_capture(folder), read_colmap(folder / "sparse" / "0")
    lens = next(iter(model.cameras.values()))
    points, views = observations(capture)
    inside = in_cameras(capture)
    keypoints = np.stack(
        [
            model.images[view].keypoints[keypoint]
            for view, keypoint in zip(views, model.points.track_keypoints, strict=True)
        ]
    )
    assert np.abs(project(lens, inside) - keypoints).max() < 1e-6
    assert capture.points.errors_px.max() < 1e-6
    depths = [depth_of(folder, view.name) for view in capture.views]
    for entry, (point, view) in enumerate(zip(points, views, strict=True)):
        camera = capture.views[view].camera
        x, y = inside[entry, :2] / inside[entry, 2] @ camera.K[:2, :2] + camera.K[:2, 2]
        around = depths[view][int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
        near, far = around[around > 0].min(), around.max()
        # On a slanted surface the pixels around lie on both sides of the point.
        assert 0.98 * near < inside[entry, 2] < 1.02 * far, point


def test_every_track_is_seen_often_enough_and_only_once_by_each_view(tiny):
    capture = read_capture(tiny)
    length = np.diff(capture.points.track_offsets)
    assert length.min() >= 3
    assert length.mean() > 3.5
    pairs = np.stack(observations(capture), axis=1)
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    per_view = np.bincount(capture.points.track_views, minlength=len(capture.views))
    assert per_view.min() > 20


def test_keypoints_and_points_carry_the_noise_that_was_asked_for(tiny):
    capture, model = read_capture(tiny), read_colmap(tiny / "sparse" / "0")
    lens = next(iter(model.cameras.values()))
    _, views = observations(capture)
    keypoints = np.stack(
        [model.images[v].keypoints[k] for v, k in zip(views, model.points.track_keypoints, strict=True)]
    )
    residual = project(lens, in_cameras(capture)) - keypoints
    assert TINY.pixel_noise_px < residual.std() < 2.5 * TINY.pixel_noise_px
    assert abs(residual.mean()) < 0.1 * TINY.pixel_noise_px
    points, _ = observations(capture)
    mean = np.bincount(points, np.linalg.norm(residual, axis=1)) / np.bincount(points)
    assert capture.points.errors_px == pytest.approx(mean, rel=1e-9)


def test_a_point_has_the_colour_of_its_pixels(exact):
    capture, model = read_capture(exact), read_colmap(exact / "sparse" / "0")
    images = [read_image(view.image_path).image.astype(float) for view in capture.views]
    points, views = observations(capture)
    gaps = []
    for point, view, keypoint in zip(points, views, model.points.track_keypoints, strict=True):
        x, y = model.images[view].keypoints[keypoint].astype(int)
        gaps.append(np.abs(images[view][y, x] - capture.points.colors[point]).mean())
    assert np.median(gaps) < 25


def test_depth_maps_are_exact_in_the_frame_of_the_poses(exact):
    capture = read_capture(exact)
    truth = json.loads((exact / "truth.json").read_text())
    crop = World(truth["world"]["seed"]).crop(Bounds(**truth["world"]["bounds_m"]))
    for view in capture.views[:2]:
        depth = depth_of(exact, view.name).astype(np.float64)
        row, column = np.nonzero(depth > 0)
        pixels = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], axis=1)
        rays = pixels @ np.linalg.inv(view.camera.K).T @ view.camera.cam_from_world[:3, :3]
        points = view.camera.center + depth[row, column, None] * rays
        inside = crop.bounds.contains(points)
        assert inside.mean() > 0.9
        assert np.abs(crop.distance(points[inside])).max() < 1e-3  # float32 at a hundred metres


def test_a_moved_capture_is_the_same_one_in_another_frame(exact, bent):
    truth = json.loads((bent / "truth.json").read_text())
    capture_from_world = Similarity.from_record(truth["capture_from_world"])
    assert abs(np.log(capture_from_world.scale)) > 0.01
    back = read_capture(bent).transformed(capture_from_world.inverse())
    still = read_capture(exact)
    for ours, theirs in zip(back.views, still.views, strict=True):
        assert np.abs(ours.camera.cam_from_world - theirs.camera.cam_from_world).max() < 1e-9
    high = World(truth["world"]["seed"]).height(back.points.positions[:, :2])
    assert (back.points.positions[:, 2] > high - 0.01).all()
    assert np.median(back.points.positions[:, 2] - high) < 15


def test_an_undistorted_photograph_is_what_a_pinhole_would_have_taken(bent):
    truth = json.loads((bent / "truth.json").read_text())
    capture = read_capture(bent)
    back = capture.transformed(Similarity.from_record(truth["capture_from_world"]).inverse())
    studio = make_studio(World(truth["world"]["seed"]).crop(Bounds(**truth["world"]["bounds_m"])))
    loader = ImageLoader(capture.views)
    assert capture.views[0].lens is not None
    for index in (0, 3):
        loaded = loader.load(index)
        view = back.views[index]
        direct = photograph(studio, view.camera, gain=truth["gains"][view.name])
        mask = np.ones(direct.shape[:2], bool) if loaded.mask is None else loaded.mask.numpy()
        gap = (loaded.image.numpy() - direct)[mask]
        assert -10 * np.log10((gap**2).mean()) > 24  # JPEG and two resamplings; a wrong lens stays below 18
        assert abs(gap.mean()) < 0.02
    loader.close()


def test_exposures_vary_as_the_truth_says(exact, bent):
    gains = json.loads((bent / "truth.json").read_text())["gains"]
    assert np.std(np.log2(list(gains.values()))) > 0.15
    still, varied = read_capture(exact), read_capture(bent)
    ratio = [
        read_image(ours.image_path).image.mean() / read_image(theirs.image_path).image.mean()
        for ours, theirs in zip(varied.views, still.views, strict=True)
    ]
    assert np.corrcoef(np.log(ratio), np.log(list(gains.values())))[0, 1] > 0.95


@pytest.mark.parametrize("kind", ["orbit", "street"])
def test_other_kinds_of_capture_stand_clear_and_share_what_they_see(kind, tmp_path):
    settings = replace(SMALL, kind=kind, num_views=12, extent_m=24.0, write_depth=False, image_noise=0.01)
    folder = make_capture(tmp_path / kind, settings)
    capture = read_capture(folder)
    assert len(capture.points) > 60
    assert not (folder / "depth").exists()
    bounds = json.loads((folder / "truth.json").read_text())["world"]["bounds_m"]
    centers = np.stack([view.camera.center for view in capture.views])
    crop = World(settings.seed).crop(Bounds(**bounds))
    assert crop.distance(centers).min() > 0.5
    height = centers[:, 2] - crop.height(centers[:, :2])
    assert (height < 3).all() if kind == "street" else (height > 8).all()


def test_truth_names_the_settings_and_the_palette(tiny):
    truth = json.loads((tiny / "truth.json").read_text())
    assert truth["schema_version"] == 1
    assert SyntheticSettings(**truth["settings"]) == TINY
    assert truth["palette"] == {one.name.lower(): list(color) for one, color in PALETTE.items()}


def test_asking_again_leaves_the_capture_as_it_is(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    assert make_capture(tiny, TINY) == tiny
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


def test_a_folder_with_something_else_is_refused_and_kept(tmp_path, tiny):
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(InputError, match="something else"):
        make_capture(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]
    with pytest.raises(InputError, match="something else"):
        make_capture(tiny, replace(TINY, seed=5))


class Stopped(Exception):
    pass


class Stopping(Quiet):
    """Stops after the third view."""

    def advance(self, stage: str, step: int, **figures: object) -> None:
        if step == 3:
            raise Stopped


def test_a_capture_that_was_stopped_leaves_nothing_behind(tmp_path):
    with pytest.raises(Stopped):
        make_capture(tmp_path / "capture", SMALL, Stopping())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"num_views": 1},
        {"width": 8},
        {"extent_m": 1.0},
        {"field_of_view_deg": 170.0},
        {"num_points": -1},
        {"image_noise": -0.1},
    ],
)
def test_senseless_settings_are_refused(change):
    with pytest.raises(SettingsError):
        SyntheticSettings(**change)
