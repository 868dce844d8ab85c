"""transforms.json of nerfstudio, instant-ngp and Blender become frames with lenses and rigid OpenGL poses."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scene3d.errors import InputError, LimitExceeded
from scene3d.io import transforms_json
from scene3d.io.transforms_json import Transforms, read_transforms
from tests.helpers import shared_data

POSE = [[0.0, -1.0, 0.0, 5.0], [1.0, 0.0, 0.0, -6.0], [0.0, 0.0, 1.0, 7.0], [0.0, 0.0, 0.0, 1.0]]
COMMON = {"fl_x": 50, "fl_y": 51.5, "cx": 30, "cy": 20, "w": 64, "h": 48}


def frame(name: str = "images/a.png", **fields: Any) -> dict[str, Any]:
    return {"file_path": name, "transform_matrix": POSE, **fields}


def read(folder: Path, record: Any, *, images: tuple[str, ...] = ("images/a.png", "images/b.png")) -> Transforms:
    for name in images:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(folder / name)
    path = folder / "transforms.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
    return read_transforms(path)


def test_common_numbers_serve_every_frame_and_its_own_come_first(tmp_path: Path) -> None:
    frames = [frame("./images/a.png"), frame("images/b.png", fl_x=70, w=32, k1=0.1)]
    transforms = read(tmp_path, {**COMMON, "frames": frames, "aabb_scale": 16})
    first, second = transforms.frames
    assert (first.name, second.name) == ("images/a.png", "images/b.png")
    assert first.image_path == tmp_path / "images" / "a.png"
    assert (first.lens.name, first.lens.params, first.lens.width) == ("PINHOLE", (50, 51.5, 30, 20), 64)
    assert (second.lens.name, second.lens.width) == ("OPENCV", 32)
    assert second.lens.params == (70, 51.5, 30, 20, 0.1, 0, 0, 0)
    np.testing.assert_array_equal(first.world_from_cam, POSE)
    assert transforms.findings == ()
    assert transforms.root == tmp_path
    assert transforms.points_path is None
    assert transforms.applied_transform is None


def test_a_blender_file_gets_size_and_suffix_from_its_photographs(tmp_path: Path) -> None:
    record = {"camera_angle_x": 0.69, "frames": [frame("./train/r_0")]}
    (only,) = read(tmp_path, record, images=("train/r_0.png",)).frames
    focal = 32 / math.tan(0.345)
    assert only.name == "train/r_0.png"
    assert (only.lens.width, only.lens.height) == (64, 48)
    np.testing.assert_allclose(only.lens.params, (focal, focal, 32, 24))


def test_two_angles_give_two_focal_lengths(tmp_path: Path) -> None:
    record = {"camera_angle_x": 0.8, "camera_angle_y": 0.6, "frames": [frame()]}
    (only,) = read(tmp_path, record).frames
    np.testing.assert_allclose(only.lens.params[:2], (32 / math.tan(0.4), 24 / math.tan(0.3)))


@pytest.mark.parametrize(
    ("fields", "name", "distortion"),
    [
        ({"camera_model": "PINHOLE"}, "PINHOLE", ()),
        ({"camera_model": "OPENCV", "k1": 0.1, "k2": 0.2, "p1": 0.3, "p2": 0.4}, "OPENCV", (0.1, 0.2, 0.3, 0.4)),
        ({"k1": 0.1, "k3": 0.5}, "FULL_OPENCV", (0.1, 0, 0, 0, 0.5, 0, 0, 0)),
        (
            {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4},
            "OPENCV_FISHEYE",
            (0.1, 0.2, 0.3, 0.4),
        ),
        ({"is_fisheye": True}, "OPENCV_FISHEYE", (0, 0, 0, 0)),
    ],
)
def test_each_lens_gets_its_model(
    tmp_path: Path, fields: dict[str, Any], name: str, distortion: tuple[float, ...]
) -> None:
    (only,) = read(tmp_path, {**COMMON, **fields, "frames": [frame()]}).frames
    assert (only.lens.name, only.lens.params[4:]) == (name, distortion)


def test_missing_photographs_are_left_out_and_counted(tmp_path: Path) -> None:
    frames = [frame(), frame("images/gone.png"), frame("images/gone_too"), frame("images/b.png")]
    transforms = read(tmp_path, {**COMMON, "frames": frames})
    assert [each.name for each in transforms.frames] == ["images/a.png", "images/b.png"]
    (finding,) = transforms.findings
    assert "2 of 4 frames have no photograph" in finding.what


def test_names_as_long_as_can_be_are_simply_missing(tmp_path: Path) -> None:
    longest = "/".join(["x" * 200] * 5)
    frames = [frame(), frame("x" * 255), frame("images/b.png", mask_path=longest), frame(longest)]
    transforms = read(tmp_path, {**COMMON, "frames": frames})
    assert [each.name for each in transforms.frames] == ["images/a.png", "images/b.png"]


def test_the_original_fox_file_lists_67_frames_and_50_are_there() -> None:
    transforms = read_transforms(shared_data("fox") / "transforms_original.json")
    assert len(transforms.frames) == 50
    assert "17 of 67 frames have no photograph" in transforms.findings[0].what
    lens = transforms.frames[0].lens
    assert (lens.name, lens.width, lens.height) == ("OPENCV", 1080, 1920)
    assert lens.params == (1375.52, 1374.49, 554.558, 965.268, 0.0578421, -0.0805099, -0.000980296, 0.00015575)
    for each in transforms.frames:
        turn = each.world_from_cam[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_masks_and_points_are_found_and_missing_ones_counted(tmp_path: Path) -> None:
    frames = [frame(mask_path="masks/a.png"), frame("images/b.png", mask_path="masks/gone.png")]
    (tmp_path / "sparse.ply").write_bytes(b"ply")
    record = {**COMMON, "frames": frames, "ply_file_path": "sparse.ply", "applied_transform": POSE[:3]}
    transforms = read(tmp_path, record, images=("images/a.png", "images/b.png", "masks/a.png"))
    assert transforms.frames[0].mask_path == tmp_path / "masks" / "a.png"
    assert transforms.frames[1].mask_path is None
    assert transforms.points_path == tmp_path / "sparse.ply"
    np.testing.assert_array_equal(transforms.applied_transform, POSE[:3])
    assert "1 masks or point clouds it names are missing" in transforms.findings[0].what


def test_a_rounded_rotation_becomes_rigid_and_a_poor_one_is_counted(tmp_path: Path) -> None:
    rounded = (np.array(POSE) * [[1.0004], [1], [1], [1]]).tolist()
    poor = (np.array(POSE) * [[1.01], [1], [1], [1]]).tolist()
    frames = [frame(transform_matrix=rounded), frame("images/b.png", transform_matrix=poor)]
    transforms = read(tmp_path, {**COMMON, "frames": frames})
    for each in transforms.frames:
        np.testing.assert_allclose(each.world_from_cam[:3, :3], np.array(POSE)[:3, :3], atol=1e-12)
    assert "1 of 2 poses are not quite rigid" in transforms.findings[0].what


def test_a_matrix_of_three_rows_is_accepted(tmp_path: Path) -> None:
    (only,) = read(tmp_path, {**COMMON, "frames": [frame(transform_matrix=POSE[:3])]}).frames
    np.testing.assert_array_equal(only.world_from_cam, POSE)


HOSTILE_NAMES = [
    "../a.png",
    "images/../../a.png",
    "/etc/passwd",
    "//host/a.png",
    "C:/a.png",
    "c:a.png",
    "images\\a.png",
    "..\\a.png",
    "a\0.png",
    "a\n.png",
    "",
    ".",
    "/",
    "x" * 256 + ".png",
    "\ud800.png",
    "/".join(["x"] * 600),
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("place", ["file_path", "mask_path", "ply_file_path"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str, place: str) -> None:
    record: dict[str, Any] = {**COMMON, "frames": [frame()]}
    (record if place == "ply_file_path" else record["frames"][0])[place] = name
    with pytest.raises(InputError, match="name"):
        read(tmp_path, record)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("[]", "JSON object"),
        ("{}", "no list of frames"),
        ({"frames": []}, "no list of frames"),
        ({"frames": {}}, "no list of frames"),
        ({**COMMON, "frames": [3]}, "is not an object"),
        ({**COMMON, "frames": [{"transform_matrix": POSE}]}, "no file_path"),
        ({**COMMON, "frames": [frame(7)]}, "no file_path"),
        ({"w": 64, "h": 48, "frames": [frame()]}, "no focal length"),
        ({**COMMON, "frames": [frame(fl_x="50")]}, "fl_x is no number"),
        ({**COMMON, "frames": [frame(fl_x=True)]}, "fl_x is no number"),
        ({**COMMON, "frames": [frame(fl_x=10**400)]}, "fl_x is no number"),
        ({**COMMON, "frames": [frame(fl_x=0)]}, "must be positive"),
        ({**COMMON, "frames": [frame(fl_x=-5)]}, "must be positive"),
        ({**COMMON, "frames": [frame(w=0)]}, "0 x 48"),
        ({**COMMON, "frames": [frame(w=10.5)]}, "10.5 x 48"),
        ({**COMMON, "frames": [frame(w=1e300)]}, "absurd"),
        ({**COMMON, "frames": [frame(w=1e9)]}, "pixels"),
        ({"camera_angle_x": 3.2, "frames": [frame()]}, "between 0 and pi"),
        ({"camera_angle_x": 0, "frames": [frame()]}, "between 0 and pi"),
        ({**COMMON, "camera_model": "EQUIRECTANGULAR", "frames": [frame()]}, "not supported"),
        ({**COMMON, "camera_model": ["x"], "frames": [frame()]}, "not supported"),
        ({**COMMON, "k4": 0.1, "frames": [frame()]}, "k4"),
        ({**COMMON, "is_fisheye": True, "p1": 0.1, "frames": [frame()]}, "p1 or p2"),
        ({**COMMON, "frames": [frame(transform_matrix=None)]}, "4x4"),
        ({**COMMON, "frames": [frame(transform_matrix=[[1, 0], [0, 1]])]}, "4x4"),
        ({**COMMON, "frames": [frame(transform_matrix=[*POSE[:3], [0, 0, 0, 2]])]}, "4x4"),
        ({**COMMON, "frames": [frame(transform_matrix=[["1", 0, 0, 0], *POSE[1:]])]}, "4x4"),
        ({**COMMON, "frames": [frame(transform_matrix=[[0] * 4] * 3)]}, "rotation"),
        ({**COMMON, "frames": [frame(transform_matrix=[[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])]}, "rotation"),
        ({**COMMON, "frames": [frame(transform_matrix=[[1e200, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])]}, "4x4"),
        ({**COMMON, "applied_transform": [1], "frames": [frame()]}, "4x4"),
        ({**COMMON, "frames": [frame(), frame("./images//a.png")]}, "two frames use"),
        ({**COMMON, "frames": [frame("nowhere/a.png")]}, "none of its 1 photographs"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, record: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, record)
    assert str(tmp_path / "transforms.json") in str(caught.value.where)
    assert caught.value.remedy


def test_more_frames_than_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms_json, "MAX_VIEWS", 1)
    with pytest.raises(LimitExceeded, match="at most 1"):
        read(tmp_path, {**COMMON, "frames": [frame(), frame("images/b.png")]})
