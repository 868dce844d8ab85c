"""MatrixCity's own poses come out as the cameras they are, and what is not as described is refused."""

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from scene3d.cameras.conventions import cam_from_opengl
from scene3d.data.reading import read_capture
from tests.datasets.copies import HELD_OUT, copy_photos, run, split_names
from tests.datasets.copies import mega_nerf as mega_nerf
from tests.datasets.copies import names as names
from tests.datasets.copies import prepare as prepare
from tests.synthetic_captures import tiny_capture as tiny_capture


def matrixcity_poses(capture: Path) -> dict[str, np.ndarray]:
    """Camera-to-world matrices in OpenGL axes, by name."""
    views = read_capture(capture).views
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    return {view.name: np.linalg.inv(view.camera.cam_from_world) @ flip for view in views}


@pytest.fixture
def matrixcity(tiny_capture, names, tmp_path):
    """Blocks with rot_mat at 1/100 and positions at 100, photographs beside or in input/."""
    folder, poses = tmp_path / "copy", matrixcity_poses(tiny_capture)
    focal = read_capture(tiny_capture).views[0].camera.K[0, 0]
    for block, place, own in (
        ("train/block_1", "", names[:6]),
        ("train/block_2", "input", names[6:9]),
        ("test/block_1_test", "rgb", names[9:]),
    ):
        copy_photos(tiny_capture, folder / block / place, own)
        frames = []
        for name in own:
            matrix = poses[name].copy()
            matrix[:3, :3] /= 100
            matrix[:3, 3] *= 100
            frames.append({"frame_index": int(Path(name).stem), "rot_mat": matrix.tolist()})
        record = {"camera_angle_x": 2 * math.atan(32 / focal), "frames": frames}
        (folder / block / "transforms.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def matrixcity_with_poses(matrixcity, tiny_capture, names):
    """The same with the pose/ files that the data set brings, ready to use."""
    poses, camera = matrixcity_poses(tiny_capture), read_capture(tiny_capture).views[0].camera
    for part, blocks in (
        ("train", {"block_1": names[:6], "block_2": names[6:9]}),
        ("test", {"block_1_test": names[9:]}),
    ):
        frames = [
            {"file_path": f"../../{part}/{block}/{name}", "transform_matrix": poses[name].tolist()}
            for block, own in blocks.items()
            for name in own
        ]
        lens = {"fl_x": camera.K[0, 0], "fl_y": camera.K[1, 1], "cx": 32.0, "cy": 24.0, "w": 64.0, "h": 48.0}
        for block in ("block_all", "block_A"):
            (matrixcity / "pose" / block).mkdir(parents=True, exist_ok=True)
            path = matrixcity / "pose" / block / f"transforms_{part}.json"
            path.write_text(json.dumps({**lens, "frames": frames}))
    return matrixcity


@pytest.mark.parametrize("form", ["matrixcity", "matrixcity_with_poses"])
def test_matrixcity_poses_come_out_as_cameras(prepare, form, request, tiny_capture, names, tmp_path):
    folder = request.getfixturevalue(form)
    run(prepare, "convert", "matrixcity-aerial", folder, "--output", tmp_path / "made")
    train, test = split_names(tmp_path / "made")
    assert (len(train), len(test)) == (9, 3)
    assert test[0] == f"test/block_1_test/{names[9]}"
    expected = {view.name: view.camera for view in read_capture(tiny_capture).views}
    for view in read_capture(tmp_path / "made").views:
        camera = expected[Path(view.name).name]
        np.testing.assert_allclose(view.camera.cam_from_world, camera.cam_from_world, atol=1e-9)
        np.testing.assert_allclose(view.camera.K, camera.K, atol=1e-9)


def test_the_street_block_needs_the_pose_files(prepare, matrixcity_with_poses, tmp_path, capsys):
    run(prepare, "convert", "matrixcity-street", matrixcity_with_poses, "--output", tmp_path / "made")
    shutil.rmtree(matrixcity_with_poses / "pose")
    run(prepare, "convert", "matrixcity-street", matrixcity_with_poses, "--output", tmp_path / "no", code=4)
    assert "only pose/block_A says which" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame["rot_mat"].__setitem__(0, [1.0, 0, 0, 0]), "no rotation at 1/100"),
        (lambda frame: frame.pop("frame_index"), "has no frame_index"),
        (lambda frame: frame.update(rot_mat=[[1]]), "no 4x4 matrix"),
    ],
)
def test_matrixcity_poses_that_are_not_as_described_are_refused(prepare, matrixcity, capsys, change, message):
    path = matrixcity / "train" / "block_1" / "transforms.json"
    record = json.loads(path.read_text())
    change(record["frames"][0])
    path.write_text(json.dumps(record))
    run(prepare, "verify", "matrixcity-aerial", matrixcity, code=4)
    assert message in capsys.readouterr().err


def test_a_pose_file_cannot_name_files_elsewhere(prepare, matrixcity_with_poses, capsys):
    path = matrixcity_with_poses / "pose" / "block_all" / "transforms_test.json"
    record = json.loads(path.read_text())
    record["frames"][0]["file_path"] = "../../../../etc/passwd"
    path.write_text(json.dumps(record))
    run(prepare, "verify", "matrixcity-aerial", matrixcity_with_poses, code=4)
    assert "does not end in train/BLOCK/NAME" in capsys.readouterr().err


def test_colmap_models_of_matrixcity_are_preferred_to_its_poses(prepare, mega_nerf, tmp_path):
    os.rename(mega_nerf / "val", mega_nerf / "test")
    run(prepare, "convert", "matrixcity-aerial", mega_nerf, "--output", tmp_path / "made")
    assert split_names(tmp_path / "made")[1] == [f"test/{name}" for name in HELD_OUT]


def test_the_cameras_of_the_fixture_are_what_they_say(tiny_capture):
    view = read_capture(tiny_capture).views[0]
    back = cam_from_opengl(matrixcity_poses(tiny_capture)[view.name])
    np.testing.assert_allclose(back, view.camera.cam_from_world, atol=1e-12)
