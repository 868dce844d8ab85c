"""COLMAP models: read as COLMAP reads them, and never believed further than their bytes go."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity
from scene3d.io.colmap import (
    NO_POINT,
    ColmapModel,
    ColmapPoints,
    cam_from_world,
    read_colmap,
    transform_colmap,
    write_colmap,
)
from scene3d.io.colmap_model import PARAMETER_COUNTS, find_indices
from tests.helpers import shared_data
from tests.scene3d.io.colmap_models import small_model

CAPTURES = ["fox", "brighton", "boruszyn", "caliterra", "sceaux"]


def assert_same_model(left: ColmapModel, right: ColmapModel) -> None:
    assert left.cameras == right.cameras
    assert len(left.images) == len(right.images)
    for a, b in zip(left.images, right.images, strict=True):
        assert (a.id, a.name, a.camera_id) == (b.id, b.name, b.camera_id)
        for field in ("qvec", "tvec", "keypoints", "point_ids"):
            np.testing.assert_allclose(getattr(a, field), getattr(b, field), rtol=1e-15, atol=0)
    for field in ColmapPoints.__slots__:
        np.testing.assert_array_equal(getattr(left.points, field), getattr(right.points, field))


def assert_agrees_with_pycolmap(model: ColmapModel, truth: pycolmap.Reconstruction) -> None:
    assert sorted(model.cameras) == sorted(truth.cameras)
    for camera_id, lens in model.cameras.items():
        camera = truth.cameras[camera_id]
        assert (lens.name, lens.width, lens.height) == (camera.model.name, camera.width, camera.height)
        assert lens.params == tuple(camera.params)
    assert sorted(image.id for image in model.images) == sorted(truth.images)
    for image in model.images:
        other = truth.images[image.id]
        assert (image.name, image.camera_id) == (other.name, other.camera_id)
        pose = other.cam_from_world()
        np.testing.assert_allclose(image.qvec[[1, 2, 3, 0]], pose.rotation.quat, atol=1e-12)
        np.testing.assert_array_equal(image.tvec, pose.translation)
        assert len(image.point_ids) == len(other.points2D)
        for i in range(0, len(image.point_ids), 97):
            np.testing.assert_array_equal(image.keypoints[i], other.points2D[i].xy)
            assert image.point_ids[i] == (other.points2D[i].point3D_id if other.points2D[i].has_point3D() else NO_POINT)
    points = model.points
    assert sorted(points.ids.tolist()) == sorted(truth.point3D_ids())
    for i in range(0, len(points), 53):
        other_point = truth.points3D[int(points.ids[i])]
        np.testing.assert_array_equal(points.positions[i], other_point.xyz)
        np.testing.assert_array_equal(points.colors[i], other_point.color)
        assert points.errors_px[i] == other_point.error
        entries = slice(points.track_offsets[i], points.track_offsets[i + 1])
        track = [(element.image_id, element.point2D_idx) for element in other_point.track.elements]
        ours = zip(points.track_image_ids[entries].tolist(), points.track_keypoints[entries].tolist(), strict=True)
        assert sorted(ours) == sorted(track)


@pytest.mark.parametrize("name", CAPTURES)
def test_real_models_read_as_pycolmap_reads_them(name: str) -> None:
    folder = shared_data(name) / "sparse" / "0"
    model = read_colmap(folder)
    assert model.findings == ()
    assert_agrees_with_pycolmap(model, pycolmap.Reconstruction(folder))


@pytest.mark.parametrize("name", ["fox", "sceaux"])
def test_a_text_model_with_rigs_and_frames_reads_as_the_binary_one(tmp_path: Path, name: str) -> None:
    folder = shared_data(name) / "sparse" / "0"
    truth = pycolmap.Reconstruction(folder)
    truth.write_text(tmp_path)
    assert (tmp_path / "rigs.txt").exists()
    assert (tmp_path / "frames.txt").exists()
    assert_agrees_with_pycolmap(read_colmap(tmp_path), truth)


def test_a_binary_model_with_rigs_and_frames_is_read_and_preferred_over_text(tmp_path: Path) -> None:
    truth = pycolmap.Reconstruction(shared_data("sceaux") / "sparse" / "0")
    truth.write_binary(tmp_path)
    assert (tmp_path / "rigs.bin").exists()
    (tmp_path / "cameras.txt").write_text("nonsense")
    (tmp_path / "images.txt").write_text("nonsense")
    assert_agrees_with_pycolmap(read_colmap(tmp_path), truth)


def test_what_is_written_reads_back_equal_and_pycolmap_agrees(tmp_path: Path) -> None:
    model = small_model()
    write_colmap(tmp_path / "new" / "sparse", model)
    back = read_colmap(tmp_path / "new" / "sparse")
    assert_same_model(back, model)
    assert back.findings == ()
    truth = pycolmap.Reconstruction(tmp_path / "new" / "sparse")
    assert truth.num_points3D() == 4
    assert truth.images[2].name == "sub/b ü.jpg"
    np.testing.assert_allclose(truth.images[7].cam_from_world().translation, [1, -2, 7])


@pytest.mark.parametrize("name", CAPTURES[:2])
def test_writing_a_real_model_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    folder = shared_data(name) / "sparse" / "0"
    write_colmap(tmp_path, read_colmap(folder))
    for part in ("cameras", "points3D"):
        assert (tmp_path / f"{part}.bin").read_bytes() == (folder / f"{part}.bin").read_bytes()


def test_every_camera_model_of_colmap_has_its_parameter_count() -> None:
    known = {name: int(value) for name, value in pycolmap.CameraModelId.__members__.items() if int(value) >= 0}
    ours = {name: number for number, name in enumerate(PARAMETER_COUNTS)}
    assert known.items() <= ours.items()
    for name, value in pycolmap.CameraModelId.__members__.items():
        if int(value) >= 0:
            camera = pycolmap.Camera.create_from_model_id(1, value, 100.0, 200, 100)
            assert len(camera.params) == PARAMETER_COUNTS[name]


def test_track_images_are_found_by_index() -> None:
    model = small_model()
    assert model.track_image_indices().tolist() == [0, 1, 0, 1, 2, 1, 2]


@pytest.mark.parametrize("spread", [1, 10**12])
def test_ids_are_found_whether_dense_or_sparse(spread: int) -> None:
    ids = np.array([7, 3, 11]) * spread
    wanted = np.array([11, 4, 3, 7, -1, 12, 0, 10**15]) * spread
    assert find_indices(ids, wanted).tolist() == [2, -1, 1, 0, -1, -1, -1, -1]
    assert find_indices(ids[:0], wanted[:2]).tolist() == [-1, -1]


def test_a_moved_model_sees_every_point_at_the_same_pixel(tmp_path: Path) -> None:
    model = small_model()
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix()
    moved = transform_colmap(model, Similarity(2.5, turn, np.array([10.0, -3.0, 0.5])))
    for before, after in zip(model.images, moved.images, strict=True):
        old, new = cam_from_world(before), cam_from_world(after)
        in_old = model.points.positions @ old[:3, :3].T + old[:3, 3]
        in_new = moved.points.positions @ new[:3, :3].T + new[:3, 3]
        np.testing.assert_allclose(in_new, 2.5 * in_old, atol=1e-12)
    write_colmap(tmp_path, moved)
    truth = pycolmap.Reconstruction(tmp_path)
    pose = truth.images[7].cam_from_world().matrix()
    np.testing.assert_allclose(pose, cam_from_world(moved.images[2])[:3], atol=1e-12)


def test_a_model_without_points_is_read_and_says_so(tmp_path: Path) -> None:
    write_colmap(tmp_path, small_model())
    (tmp_path / "points3D.bin").unlink()
    model = read_colmap(tmp_path)
    assert len(model.points) == 0
    assert any("no points file" in finding.what for finding in model.findings)
    assert all((image.point_ids == NO_POINT).all() for image in model.images)


def test_an_empty_model_is_read(tmp_path: Path) -> None:
    write_colmap(tmp_path, ColmapModel(cameras={}, images=()))
    model = read_colmap(tmp_path)
    assert (model.cameras, model.images, len(model.points), model.findings) == ({}, (), 0, ())


def test_tracks_that_lead_nowhere_are_left_out_and_counted(tmp_path: Path) -> None:
    model = small_model()
    image_ids, keypoints = model.points.track_image_ids.copy(), model.points.track_keypoints.copy()
    image_ids[0] = 99  # no such image
    keypoints[3] = 4_000_000_000  # no such keypoint
    keypoints[6] = 0  # the keypoint of another point
    write_colmap(
        tmp_path, replace(model, points=replace(model.points, track_image_ids=image_ids, track_keypoints=keypoints))
    )
    read = read_colmap(tmp_path)
    assert [finding.what for finding in read.findings] == [
        "3 of 7 track entries lead to no keypoint of their point; they are left out"
    ]
    assert read.points.track_offsets.tolist() == [0, 1, 3, 4, 4]
    assert read.points.track_image_ids.tolist() == [2, 1, 7, 2]


def test_tracks_are_kept_where_images_carry_no_keypoints(tmp_path: Path) -> None:
    model = small_model()
    bare = tuple(replace(image, keypoints=np.zeros((0, 2)), point_ids=np.zeros(0, np.int64)) for image in model.images)
    write_colmap(tmp_path, replace(model, images=bare))
    read = read_colmap(tmp_path)
    assert read.findings == ()
    assert read.points.track_image_ids.tolist() == model.points.track_image_ids.tolist()


def test_keypoints_that_name_no_point_are_freed_and_counted(tmp_path: Path) -> None:
    model = small_model()
    stray = replace(model.images[0], point_ids=np.array([5, 3, 77]))
    write_colmap(tmp_path, replace(model, images=(stray, *model.images[1:])))
    read = read_colmap(tmp_path)
    assert [finding.what.split(";")[0] for finding in read.findings] == [
        "1 of 8 keypoints name a point that does not exist or are not finite"
    ]
    assert read.images[0].point_ids.tolist() == [5, 3, NO_POINT]
    assert read.images[1].point_ids.tolist() == model.images[1].point_ids.tolist()


def many_points(num_points: int, num_bad: int) -> ColmapPoints:
    positions = np.ones((num_points, 3))
    positions[:num_bad, 1] = np.nan
    return ColmapPoints(
        ids=np.arange(num_points),
        positions=positions,
        colors=np.zeros((num_points, 3), np.uint8),
        errors_px=np.zeros(num_points),
        track_offsets=np.zeros(num_points + 1, np.int64),
        track_image_ids=np.zeros(0, np.int64),
        track_keypoints=np.zeros(0, np.int64),
    )


def test_few_points_that_are_not_finite_are_left_out_and_many_are_refused(tmp_path: Path) -> None:
    write_colmap(tmp_path, ColmapModel(cameras={}, images=(), points=many_points(200, 2)))
    model = read_colmap(tmp_path)
    assert len(model.points) == 198
    assert "2 of 200 points are not finite" in model.findings[0].what
    write_colmap(tmp_path, ColmapModel(cameras={}, images=(), points=many_points(200, 3)))
    with pytest.raises(InputError, match="3 of 200 points are not finite"):
        read_colmap(tmp_path)


def test_a_dropped_point_takes_its_track_along(tmp_path: Path) -> None:
    model = small_model()
    points = many_points(200, 0)
    positions = points.positions.copy()
    positions[1] = np.inf
    points = replace(
        points,
        ids=np.concatenate([model.points.ids, np.arange(1000, 1196)]),
        positions=positions,
        track_offsets=np.concatenate([model.points.track_offsets, np.full(196, 7)]),
        track_image_ids=model.points.track_image_ids,
        track_keypoints=model.points.track_keypoints,
    )
    write_colmap(tmp_path, replace(model, points=points))
    read = read_colmap(tmp_path)
    assert read.points.ids.tolist()[:3] == [5, 900, 12]
    assert read.points.track_offsets.tolist()[:4] == [0, 2, 4, 4]
    assert read.points.track_image_ids.tolist() == [1, 2, 2, 7]
    assert "3 of 8 keypoints" in read.findings[1].what
