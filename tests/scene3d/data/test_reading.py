"""Reading what people bring: every layout, every mismatch, and the real captures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scene3d.cameras.conventions import opengl_from_cam
from scene3d.cameras.models import CameraModel, project
from scene3d.data.capture import Severity, SparsePoints
from scene3d.data.frame import estimate_frame, estimate_up
from scene3d.data.reading import capture_from_colmap, read_capture
from scene3d.data.split import split_views
from scene3d.errors import InputError
from scene3d.io.colmap import write_colmap
from tests.helpers import shared_data
from tests.scene3d.data import rigs

RIG = rigs.orbit()


@pytest.fixture
def root(tmp_path) -> Path:
    return rigs.write_capture(tmp_path, RIG)


def messages(capture) -> str:
    return "\n".join(f"{finding.severity.value}: {finding.where}: {finding.what}" for finding in capture.findings)


def write_transforms(path: Path, names, cameras, **fields) -> None:
    frames = [
        {"file_path": name, "transform_matrix": opengl_from_cam(camera.cam_from_world).tolist()}
        for name, camera in zip(names, cameras, strict=True)
    ]
    K = rigs.K
    record = {"w": rigs.WIDTH, "h": rigs.HEIGHT, "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    path.write_text(json.dumps({**record, **fields, "frames": frames}))


def save_picture(path: Path, width: int = rigs.WIDTH, height: int = rigs.HEIGHT, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 60)).save(path, **options)


def test_a_colmap_capture_comes_back_as_it_was_written(root):
    capture = read_capture(root)
    assert [view.name for view in capture.views] == [view.name for view in RIG.views]
    for view, truth in zip(capture.views, RIG.views, strict=True):
        np.testing.assert_allclose(view.camera.cam_from_world, truth.camera.cam_from_world, atol=1e-12)
        np.testing.assert_array_equal(view.camera.K, truth.camera.K)
        assert view.lens is None
        assert view.image_path == root / "images" / view.name
    np.testing.assert_array_equal(capture.points.positions, RIG.points.positions)
    np.testing.assert_array_equal(capture.points.track_offsets, RIG.points.track_offsets)
    np.testing.assert_array_equal(capture.points.track_views, RIG.points.track_views)
    assert not messages(capture)


def test_views_are_sorted_by_name_and_tracks_follow(tmp_path):
    names = [f"{(7 * i) % 24:04d}.png" for i in range(24)]
    shuffled = replace(RIG, views=tuple(replace(view, name=n) for view, n in zip(RIG.views, names, strict=True)))
    capture = read_capture(rigs.write_capture(tmp_path, shuffled))
    assert [view.name for view in capture.views] == sorted(names)
    for point in range(0, len(capture.points), 97):
        tracked = capture.points.track_views[
            capture.points.track_offsets[point] : capture.points.track_offsets[point + 1]
        ]
        truth = RIG.points.track_views[RIG.points.track_offsets[point] : RIG.points.track_offsets[point + 1]]
        assert {capture.views[i].name for i in tracked} == {names[i] for i in truth}


@pytest.mark.parametrize("place", ["sparse", "colmap/sparse/0", "distorted/sparse/0", "."])
def test_models_are_found_in_all_usual_places(root, place):
    target = root / place
    target.mkdir(parents=True, exist_ok=True)
    for file in list((root / "sparse/0").iterdir()):
        file.rename(target / file.name)
    (root / "sparse/0").rmdir()
    assert len(read_capture(root).views) == 24


@pytest.mark.parametrize("folder", ["input", "photos", "."])
def test_photographs_are_found_in_all_usual_places(root, folder):
    (root / folder).mkdir(exist_ok=True)
    for file in list((root / "images").iterdir()):
        file.rename(root / folder / file.name)
    assert len(read_capture(root).views) == 24


def test_names_are_matched_without_case_suffix_or_folder_where_that_is_unique(root):
    images = root / "images"
    (images / "0000.png").rename(images / "0000.PNG")
    Image.open(images / "0001.png").save(images / "0001.jpg")
    (images / "0001.png").unlink()
    (images / "deep").mkdir()
    (images / "0002.png").rename(images / "deep" / "0002.png")
    capture = read_capture(root)
    assert [view.name for view in capture.views[:3]] == ["0000.png", "0001.png", "0002.png"]
    assert [view.image_path.name for view in capture.views[:3]] == ["0000.PNG", "0001.jpg", "0002.png"]


def test_one_file_never_serves_two_views(root):
    model = rigs.colmap_model_of(RIG)
    images = (
        *model.images,
        replace(model.images[0], id=99, name="0000.jpg", point_ids=model.images[0].point_ids * 0 - 1),
    )
    write_colmap(root / "sparse/0", replace(model, images=images))
    capture = read_capture(root)
    assert len(capture.views) == 24
    assert "1 of 25 photographs of the model are missing (0000.jpg)" in messages(capture)


def test_missing_photographs_are_left_out_and_counted(root):
    for index in (3, 5, 9, 10):
        (root / "images" / f"{index:04d}.png").unlink()
    capture = read_capture(root)
    assert len(capture.views) == 20
    assert "warning" in messages(capture)
    assert "4 of 24 photographs of the model are missing (0003.png, 0005.png, 0009.png, ...)" in messages(capture)
    assert capture.points.track_views.max() == 19
    lost = np.isin(RIG.points.track_views, [3, 5, 9, 10]).sum()
    assert len(capture.points.track_views) == len(RIG.points.track_views) - lost


def test_unreadable_photographs_are_left_out_and_counted(root):
    (root / "images" / "0004.png").write_text("this is no picture")
    capture = read_capture(root)
    assert "0004.png" not in [view.name for view in capture.views]
    assert "1 photographs cannot be read" in messages(capture)
    assert len(capture.points.track_views) == len(RIG.points.track_views) - (RIG.points.track_views == 4).sum()


def test_photographs_without_a_pose_are_noted(root):
    save_picture(root / "images" / "extra.png")
    assert "1 photographs have no pose in the model (extra.png)" in messages(read_capture(root))


def test_all_photographs_missing_is_refused(root):
    for file in (root / "images").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="none of the model's 24 photographs is there") as caught:
        read_capture(root)
    assert "images/" in str(caught.value.remedy)


def test_all_photographs_unreadable_is_refused(root):
    for file in (root / "images").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match="none of the 24 photographs can be read"):
        read_capture(root)


def test_a_name_that_leads_out_of_the_folder_opens_nothing(tmp_path, root):
    save_picture(tmp_path.parent / "outside.png")
    text = tmp_path / "text"
    for suffix in ("cameras", "images", "points3D"):
        (root / "sparse/0" / f"{suffix}.bin").unlink()
    text = root / "sparse/0"
    (text / "cameras.txt").write_text("1 PINHOLE 80 60 60 60 40 30\n")
    (text / "images.txt").write_text("1 1 0 0 0 0 0 0 1 ../outside.png\n\n")
    (text / "points3D.txt").write_text("")
    with pytest.raises(InputError, match="leaves its folder"):
        read_capture(root)


def test_smaller_photographs_bring_their_cameras_down(tmp_path):
    capture = read_capture(rigs.write_capture(tmp_path, RIG, size=(40, 30)))
    assert (capture.views[0].camera.width, capture.views[0].camera.height) == (40, 30)
    np.testing.assert_allclose(capture.views[0].camera.K[:2], RIG.views[0].camera.K[:2] / 2)
    assert "24 of 24 photographs are of another resolution" in messages(capture)
    assert "40 x 30 for 80 x 60" in messages(capture)


def test_turned_photographs_are_refused_with_both_sizes(tmp_path):
    with pytest.raises(InputError, match="60 x 80 pixels, its camera 80 x 60") as caught:
        read_capture(rigs.write_capture(tmp_path, RIG, size=(60, 80)))
    assert "EXIF" in str(caught.value)
    assert "23 more" in str(caught.value)


def test_an_exif_turn_counts(root):
    turned = Image.new("RGB", (80, 60)).getexif()
    turned[0x0112] = 6
    for file in (root / "images").iterdir():
        Image.new("RGB", (80, 60)).save(file, exif=turned)
    with pytest.raises(InputError, match="60 x 80 pixels, its camera 80 x 60"):
        read_capture(root)


def test_another_shape_is_refused(tmp_path):
    with pytest.raises(InputError, match="80 x 45 pixels, its camera 80 x 60"):
        read_capture(rigs.write_capture(tmp_path, RIG, size=(80, 45)))


def test_a_distorted_lens_is_kept_beside_its_pinhole(tmp_path):
    lens = CameraModel(name="SIMPLE_RADIAL", width=80, height=60, params=(60.0, 41.0, 29.0, -0.1))
    capture = read_capture(rigs.write_capture(tmp_path, RIG, lens=lens))
    view = capture.views[0]
    assert view.lens == lens
    np.testing.assert_allclose(view.camera.K[0, 0], 60)
    ahead = np.array([[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(project(lens, ahead), [[41, 29]])
    assert view.camera.width > 80  # barrel distortion widens


def test_a_distorted_lens_follows_smaller_photographs(tmp_path):
    lens = CameraModel(name="SIMPLE_RADIAL", width=160, height=120, params=(120.0, 82.0, 58.0, -0.1))
    view = read_capture(rigs.write_capture(tmp_path, RIG, lens=lens, size=(80, 60))).views[0]
    assert view.lens is not None
    assert (view.lens.width, view.lens.height) == (80, 60)
    np.testing.assert_allclose(view.lens.params, (60, 41, 29, -0.1))
    np.testing.assert_allclose(view.camera.K[0, 0], 60)


def test_masks_are_found_by_either_naming(root):
    save_picture(root / "masks" / "0000.png.png")
    save_picture(root / "masks" / "0001.png")
    capture = read_capture(root)
    assert capture.views[0].mask_path == root / "masks" / "0000.png.png"
    assert capture.views[1].mask_path == root / "masks" / "0001.png"
    assert capture.views[2].mask_path is None


def test_of_several_models_the_largest_is_used_and_said(root):
    small = replace(RIG, views=RIG.views[:5], points=SparsePoints.empty())
    (root / "sparse/0").rename(root / "sparse/1")
    write_colmap(root / "sparse/0", rigs.colmap_model_of(small))
    capture = read_capture(root)
    assert len(capture.views) == 24
    assert "of 2 models the largest is used (1)" in messages(capture)


def test_smaller_copies_are_mentioned(root):
    (root / "images_4").mkdir()
    assert "images_4/ are not used" in messages(read_capture(root))


def test_a_model_without_points_is_a_capture_without_points(root):
    (root / "sparse/0/points3D.bin").unlink()
    capture = read_capture(root)
    assert len(capture.points) == 0
    assert len(capture.views) == 24
    assert "no points" in messages(capture)


def test_a_model_without_images_is_refused(root):
    model = rigs.colmap_model_of(replace(RIG, views=(), points=SparsePoints.empty()))
    write_colmap(root / "sparse/0", model)
    with pytest.raises(InputError, match="no registered photograph"):
        read_capture(root)


def test_tracks_that_name_a_view_twice_count_it_once(root):
    model = rigs.colmap_model_of(RIG)
    points = model.points
    doubled = replace(
        points,
        track_offsets=points.track_offsets * 2,
        track_image_ids=np.repeat(points.track_image_ids, 2),
        track_keypoints=np.repeat(points.track_keypoints, 2),
    )
    capture = capture_from_colmap(replace(model, points=doubled), root)
    np.testing.assert_array_equal(capture.points.track_views, RIG.points.track_views)
    np.testing.assert_array_equal(capture.points.track_offsets, RIG.points.track_offsets)


def test_a_nerfstudio_capture_has_the_same_cameras(tmp_path):
    names = [f"images/{view.name}" for view in RIG.views]
    write_transforms(tmp_path / "transforms.json", names, [view.camera for view in RIG.views])
    for name in names:
        save_picture(tmp_path / name)
    save_picture(tmp_path / "masks" / "0003.png")
    capture = read_capture(tmp_path)
    for view, truth in zip(capture.views, RIG.views, strict=True):
        np.testing.assert_allclose(view.camera.cam_from_world, truth.camera.cam_from_world, atol=1e-9)
        np.testing.assert_allclose(view.camera.K, truth.camera.K)
    assert capture.views[3].mask_path == tmp_path / "masks" / "0003.png"
    assert len(capture.points) == 0


def test_a_blender_capture_is_split_by_its_files(tmp_path):
    for part, cameras in (("train", RIG.views[:5]), ("test", RIG.views[5:8]), ("val", RIG.views[8:10])):
        names = [f"./{part}/r_{i}" for i in range(len(cameras))]
        write_transforms(tmp_path / f"transforms_{part}.json", names, [view.camera for view in cameras])
        for name in names:
            save_picture(tmp_path / f"{name}.png")
    capture = read_capture(tmp_path)
    split = split_views(capture)
    assert [capture.views[i].name for i in split.test] == ["test/r_0.png", "test/r_1.png", "test/r_2.png"]
    assert len(split.train) == 5


def test_a_photograph_in_two_parts_is_refused(tmp_path):
    save_picture(tmp_path / "images" / "a.png")
    for part in ("train", "test"):
        write_transforms(tmp_path / f"transforms_{part}.json", ["images/a.png"], [RIG.views[0].camera])
    with pytest.raises(InputError, match=r"in two parts of the capture, such as 'a\.png'"):
        read_capture(tmp_path)


def test_a_pair_of_folders_with_a_model_each_is_one_capture(tmp_path):
    first = replace(RIG, views=RIG.views[:6], points=RIG.points.seen_by(range(6)))
    second = rigs.make_capture([view.camera for view in RIG.views[6:9]], RIG.points.positions)
    rigs.write_capture(tmp_path / "train", first)
    rigs.write_capture(tmp_path / "val", second)
    capture = read_capture(tmp_path)
    assert len(capture.views) == 9
    split = split_views(capture)
    assert [capture.views[i].name for i in split.test] == ["val/0000.png", "val/0001.png", "val/0002.png"]
    # Points of the held-out part would leak what only those views saw.
    assert len(capture.points) == len(first.points)
    assert capture.points.track_views.max() <= 5


def test_plain_photographs_are_sent_to_prepare(tmp_path):
    save_picture(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="1 images but no camera poses") as caught:
        read_capture(tmp_path)
    assert "scene3d prepare" in str(caught.value.remedy)


def test_an_empty_folder_and_no_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="neither camera poses nor photographs"):
        read_capture(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_capture(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "num_views", "num_points", "tolerance_deg"),
    [("fox", 50, 14243, 10), ("caliterra", 75, 37544, 1), ("boruszyn", 28, 13232, 4), ("brighton", 18, 3967, 1)],
)
def test_real_captures_are_read_whole_and_stand_upright(name, num_views, num_points, tolerance_deg):
    capture = read_capture(shared_data(name))
    assert (len(capture.views), len(capture.points)) == (num_views, num_points)
    assert not [finding for finding in capture.findings if finding.severity is not Severity.INFO]
    # fox was levelled by the mean of the cameras' up, here by their right axes, which a tilted hand misleads less.
    assert np.degrees(np.arccos(min(1.0, estimate_up(capture).up[2]))) < tolerance_deg
    level = capture.transformed(estimate_frame(capture))
    centers = np.stack([view.camera.center for view in level.views])
    assert np.abs(centers).max() < 20


def test_points_of_a_real_capture_project_where_they_were_seen():
    capture = read_capture(shared_data("sceaux"))
    depths = []
    for point, view in zip(capture.points.track_points[::50], capture.points.track_views[::50], strict=True):
        camera = capture.views[view].camera
        in_camera = camera.cam_from_world[:3] @ [*capture.points.positions[point], 1]
        pixel = (camera.K @ in_camera)[:2] / in_camera[2]
        assert (pixel > -2).all()
        assert (pixel < [camera.width + 2, camera.height + 2]).all()
        depths.append(in_camera[2])
    assert min(depths) > 0
