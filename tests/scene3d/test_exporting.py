"""An exported scene lies where the user's own coordinates say, and looks the same to every reader."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from plyfile import PlyData
from scipy.spatial.transform import Rotation

from scene3d.cameras.camera import Camera
from scene3d.errors import InputError, SettingsError
from scene3d.exporting import CropBox, export_scene, find_offset, read_scene, write_scene
from scene3d.gaussians.gaussians import Gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.io.ply import read_gaussians_ply, read_ply_comments
from scene3d.io.splat_formats import read_splat, read_spz
from scene3d.metrics import psnr_db
from scene3d.render import render_view
from scene3d.seeding import make_generator

BACKEND = "reference"
TURN = Rotation.from_euler("xyz", [0.5, -1.1, 2.2]).as_matrix()


def make_scene(count: int = 300) -> Gaussians:
    """A patch of strongly view-dependent Gaussians around (0, 0, 3), one unit in radius."""
    generator = make_generator(0, "scene")
    return Gaussians(
        means=(torch.rand(count, 3, generator=generator) - 0.5) * 2 + torch.tensor([0, 0, 3.0]),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
        log_scales=torch.rand(count, 3, generator=generator) - 3.5,
        opacity_logits=2 * torch.randn(count, generator=generator),
        sh=0.3 * torch.randn(count, 16, 3, generator=generator),
    )


def make_camera() -> Camera:
    K = np.array([[90.0, 0, 50], [0, 90, 38], [0, 0, 1]])
    return Camera(width=96, height=72, K=K, cam_from_world=np.eye(4))


def world_from_capture(*, distance: float = 5.0, scale: float = 0.2) -> Similarity:
    """A capture whose scene lies `distance` of its own radii from its origin, turned, in units 1 / scale."""
    return Similarity(scale, TURN, -distance * (TURN @ np.array([0.8, -0.6, 0.0])))


def render(gaussians: Gaussians, camera: Camera, *, near_plane: float = 0.01) -> torch.Tensor:
    return render_view(gaussians, camera, backend=BACKEND, near_plane=near_plane).image.clamp(0, 1)


def gaussians_of_plyfile(path) -> Gaussians:
    """By property order alone, as programs do that never look at names."""
    vertices = PlyData.read(str(path))["vertex"]
    names = [each.name for each in vertices.properties]
    assert names[:6] == ["x", "y", "z", "nx", "ny", "nz"]
    assert names[6:9] == ["f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:54] == [f"f_rest_{i}" for i in range(45)]
    assert names[54:] == ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    table = torch.from_numpy(np.stack([np.asarray(vertices[name]) for name in names], axis=1).astype(np.float32))
    rest = table[:, 9:54].reshape(-1, 3, 15).transpose(1, 2)
    return Gaussians(
        means=table[:, :3],
        quats=table[:, 58:],
        log_scales=table[:, 55:58],
        opacity_logits=table[:, 54],
        sh=torch.cat([table[:, None, 6:9], rest], dim=1),
    )


def gaussians_of_gsply(path) -> Gaussians:
    gsply = pytest.importorskip("gsply", reason="gsply is not installed")
    read = gsply.plyread(str(path))
    rest = np.asarray(read.shN).reshape(len(read.means), 15, 3)
    return Gaussians(
        means=torch.from_numpy(np.asarray(read.means, np.float32).copy()),
        quats=torch.from_numpy(np.asarray(read.quats, np.float32).copy()),
        log_scales=torch.from_numpy(np.asarray(read.scales, np.float32).copy()),
        opacity_logits=torch.from_numpy(np.asarray(read.opacities, np.float32).reshape(-1).copy()),
        sh=torch.from_numpy(np.concatenate([np.asarray(read.sh0).reshape(-1, 1, 3), rest], axis=1).astype(np.float32)),
    )


@pytest.mark.parametrize("reader", [read_gaussians_ply, gaussians_of_plyfile, gaussians_of_gsply])
def test_other_readers_see_the_same_image_in_the_captures_frame(reader, tmp_path):
    scene, camera, move = make_scene(), make_camera(), world_from_capture()
    record = export_scene(tmp_path / "scene.ply", scene, move)
    assert record["offset"] is None
    capture_camera = camera.transformed(move.inverse())
    there = render(reader(tmp_path / "scene.ply"), capture_camera, near_plane=0.05)
    here = render(scene, camera)
    assert here.std() > 0.05
    assert psnr_db(there, here) >= 60


@pytest.mark.parametrize(("name", "reader", "bar_db"), [("scene.splat", read_splat, 38), ("scene.spz", read_spz, 38)])
def test_small_formats_keep_the_image_as_far_as_they_can(name, reader, bar_db, tmp_path):
    scene, camera, move = make_scene(), make_camera(), world_from_capture()
    if name.endswith("splat"):
        scene = replace(scene, sh=scene.sh[:, :1])
    record = export_scene(tmp_path / name, scene, move)
    assert record["format"] == name.split(".")[1]
    assert record["size_bytes"] < 0.5 * 4 * 62 * len(scene)
    there = render(reader(tmp_path / name), camera.transformed(move.inverse()), near_plane=0.05)
    assert psnr_db(there, render(scene, camera)) >= bar_db


def test_positions_are_the_captures_own(tmp_path):
    scene, move = make_scene(), world_from_capture()
    export_scene(tmp_path / "scene.ply", scene, move)
    expected = move.inverse().apply(scene.means.double().numpy())
    actual = read_gaussians_ply(tmp_path / "scene.ply").means.double().numpy()
    assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()


def test_far_coordinates_keep_an_offset_and_the_image(tmp_path):
    scene, camera, move = make_scene(), make_camera(), world_from_capture(distance=2e5, scale=0.02)
    path = tmp_path / "scene.ply"
    record = export_scene(path, scene, move, epsg=32633)
    offset = np.array(record["offset"])
    comments = read_ply_comments(path)
    assert any(line.startswith("offset ") for line in comments)
    written = next(line for line in comments if line.startswith("offset ")).split()[1:]
    assert [float(number) for number in written] == record["offset"]
    assert "epsg 32633" in comments
    assert json.loads((tmp_path / "scene.ply.json").read_text()) == record
    expected = move.inverse().apply(scene.means.double().numpy())
    actual = read_gaussians_ply(path).means.double().numpy() + offset
    # 50 units is the scene's radius there: a hundred-thousandth of that, ten million units from the origin.
    assert np.abs(actual - expected).max() < 5e-4
    assert psnr_db(render(read_scene(path, record), camera), render(scene, camera)) >= 60


def test_near_coordinates_have_no_sidecar(tmp_path):
    export_scene(tmp_path / "scene.ply", make_scene(), world_from_capture())
    assert [path.name for path in tmp_path.iterdir()] == ["scene.ply"]


@pytest.mark.parametrize("distance", [0.0, 30.0, 90.0, 1e3, 1e6])
def test_reading_back_gives_the_same_image_at_any_distance(distance, tmp_path):
    scene, camera = make_scene(), make_camera()
    record = write_scene(tmp_path / "scene.ply", scene, world_from_capture(distance=distance))
    assert (record["offset"] is None) == (distance < 100)
    back = read_scene(tmp_path / "scene.ply", json.loads(json.dumps(record)))
    assert psnr_db(render(back, camera), render(scene, camera)) >= 60


def test_the_offset_is_round_for_people():
    offset = find_offset(make_scene(), Similarity(50.0, TURN, np.array([412345.678, 5654321.123, 87.65])))
    assert offset.tolist() == [round(value, -1) for value in offset.tolist()]
    assert find_offset(make_scene(0), Similarity(1.0, TURN, np.full(3, 1e9))) is None


def test_the_world_frame_can_be_asked_for(tmp_path):
    scene = make_scene()
    export_scene(tmp_path / "scene.ply", scene, world_from_capture(), frame="world")
    assert torch.allclose(read_gaussians_ply(tmp_path / "scene.ply").means, scene.means, atol=1e-6)


def test_a_box_in_either_frame_keeps_what_is_inside(tmp_path):
    scene, move = make_scene(), world_from_capture()
    box = CropBox(minimum=(-0.5, -1.0, 2.5), maximum=(0.5, 0.2, 3.5), frame="world")
    record = export_scene(tmp_path / "world.ply", scene, move, crop=box)
    inside = ((scene.means >= torch.tensor(box.minimum)) & (scene.means <= torch.tensor(box.maximum))).all(dim=1)
    assert record["num_gaussians"] == int(inside.sum()) > 0
    centres = move.inverse().apply(scene.means.double().numpy())
    low, high = np.quantile(centres, [0.2, 0.8], axis=0)
    box = CropBox(minimum=tuple(low.tolist()), maximum=tuple(high.tolist()))
    record = export_scene(tmp_path / "capture.ply", scene, move, crop=box)
    assert record["num_gaussians"] == int(((centres >= low) & (centres <= high)).all(axis=1).sum())
    kept = read_gaussians_ply(tmp_path / "capture.ply").means.double().numpy()
    assert ((kept >= low - 1e-4) & (kept <= high + 1e-4)).all()


def test_boxes_that_keep_nothing_and_unknown_formats_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="is empty"):
        CropBox(minimum=(0.0, 0.0, 0.0), maximum=(1.0, 0.0, 1.0))
    box = CropBox(minimum=(100.0, 0.0, 0.0), maximum=(101.0, 1.0, 1.0))
    with pytest.raises(SettingsError, match="holds none of the 300"):
        export_scene(tmp_path / "scene.ply", make_scene(), world_from_capture(), crop=box)
    with pytest.raises(SettingsError, match=r"\.obj"):
        export_scene(tmp_path / "scene.obj", make_scene(), world_from_capture())
    assert not list(tmp_path.iterdir())


def test_a_manifest_without_a_frame_is_refused(tmp_path):
    write_scene(tmp_path / "scene.ply", make_scene(), world_from_capture())
    with pytest.raises(InputError, match="which frame"):
        read_scene(tmp_path / "scene.ply", {})
