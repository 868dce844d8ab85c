"""A mesh of a whole scene."""

import numpy as np
import pytest
import torch

from scene3d.errors import InputError, SettingsError
from scene3d.fusion.scene_mesh import MeshSettings, find_box, make_scene_mesh, orbit_cameras
from tests.scene3d.fusion.splat_scene import VOXEL, make_cameras, make_splats, true_sdf


def test_the_mesh_lies_on_the_surface() -> None:
    made = make_scene_mesh(make_splats(), make_cameras(), MeshSettings(voxel_size=VOXEL))
    inner = np.abs(made.mesh.vertices[:, :2]).max(axis=1) < 1.2
    distance = np.abs(true_sdf(made.mesh.vertices[inner]))
    assert len(made.mesh.faces) > 2000
    assert distance.mean() < 0.35 * VOXEL


def test_the_mesh_faces_the_cameras() -> None:
    mesh = make_scene_mesh(make_splats(), make_cameras(), MeshSettings(voxel_size=VOXEL)).mesh
    level = np.abs(mesh.vertices[mesh.faces].mean(axis=1)[:, 2]) < 0.02
    assert level.sum() > 500
    assert (mesh.face_normals()[level][:, 2] > 0.7).mean() > 0.95


def test_voxels_follow_the_size_of_the_scene() -> None:
    box = find_box(make_splats(), make_cameras(), None)
    assert max(box.shape) == pytest.approx(320 + 8, abs=1)


def test_a_scene_without_cameras_is_seen_from_around() -> None:
    made = make_scene_mesh(
        make_splats(), orbit_cameras(make_splats(), num_views=12, side_px=128), MeshSettings(voxel_size=0.08)
    )
    assert len(made.mesh.faces) > 500


def test_a_scene_of_nothing_solid_is_refused() -> None:
    splats = make_splats()
    faint = type(splats)(
        means=splats.means,
        quats=splats.quats,
        log_scales=splats.log_scales,
        opacity_logits=torch.full_like(splats.opacity_logits, -6.0),
        sh=splats.sh,
    )
    with pytest.raises(InputError, match="no solid surface"):
        make_scene_mesh(faint, make_cameras(4))


@pytest.mark.parametrize("wrong", [{"voxel_size": 0.0}, {"max_views": 1}, {"max_side_px": 2}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        MeshSettings(**wrong)
