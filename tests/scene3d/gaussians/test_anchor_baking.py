"""Baking: exact in the static mode, a close fit in the view mode, readable by others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from scene3d.errors import SettingsError
from scene3d.gaussians.anchor_baking import bake_anchors, cone_directions, find_cones
from scene3d.gaussians.anchors import decode_anchors
from scene3d.io.ply import write_gaussians_ply
from scene3d.metrics import psnr_db
from scene3d.render import render_view
from tests.scene3d.training.anchor_scenes import SETTINGS, make_field, with_anchors
from tests.scene3d.training.small_scenes import make_cameras


def _trained_look(mode: str):
    """A field whose decoder says something of everything."""
    field, shared = make_field(with_anchors(SETTINGS, mode=mode))
    with torch.no_grad():
        for name, parameter in shared.student.named_parameters():
            generator = torch.Generator().manual_seed(len(name))
            parameter += (0.15 if mode == "static" else 0.08) * torch.randn(parameter.shape, generator=generator)
    return field.anchors().detach(), shared.student


def test_the_static_mode_is_exact() -> None:
    anchors, decoder = _trained_look("static")
    baked = bake_anchors(anchors, decoder, 3)
    assert baked.sh.shape == (len(anchors) * 3, 16, 3)
    assert float(baked.sh[:, 1:4].abs().max()) > 0.01
    for camera in make_cameras(5):
        shown = render_view(decode_anchors(anchors, decoder, camera)[0].detach(), camera).image
        assert psnr_db(render_view(baked, camera).image, shown) >= 60


def test_the_view_mode_is_a_close_fit_on_the_cameras_it_was_made_for() -> None:
    anchors, decoder = _trained_look("view")
    cameras = make_cameras(9)[:3]  # one side of the cloud, as a place is seen from one side in a flight
    baked = bake_anchors(anchors, decoder, 3, cameras)
    for camera in cameras:
        shown = render_view(decode_anchors(anchors, decoder, camera)[0].detach(), camera).image
        assert float(shown.max()) > 0.2
        assert psnr_db(render_view(baked, camera).image, shown) >= 30


def test_the_view_mode_needs_cameras() -> None:
    anchors, decoder = _trained_look("view")
    with pytest.raises(SettingsError, match="cameras"):
        bake_anchors(anchors, decoder, 3)


def test_cones_point_where_cameras_look_and_widen_with_their_spread() -> None:
    anchors, _ = _trained_look("static")
    cameras = make_cameras(36)
    near, wide = find_cones(anchors, cameras[:3]), find_cones(anchors, cameras[:9])
    looking = torch.from_numpy(cameras[1].cam_from_world[2, :3]).float()
    assert float((near[0] @ looking).min()) > 0.8
    assert float(wide[1].mean()) > 2 * float(near[1].mean())


def test_cone_directions_are_unit_and_cover_the_asked_share_of_the_sphere() -> None:
    axes = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    axes[0] = torch.tensor([1.0, 0, 0])
    spreads = torch.linspace(0.02, 1.0, 20)
    directions = cone_directions(axes, spreads)
    torch.testing.assert_close(directions.norm(dim=2), torch.ones(20, 64))
    cosines = (directions * axes[:, None]).sum(2)
    torch.testing.assert_close(cosines.mean(1), 1 - spreads, rtol=0, atol=1e-5)
    assert bool((cosines >= 1 - 2 * spreads[:, None] - 1e-5).all())


def test_a_written_ply_is_read_by_another_program(tmp_path: Path) -> None:
    anchors, decoder = _trained_look("static")
    baked = bake_anchors(anchors, decoder, 3)
    write_gaussians_ply(tmp_path / "scene.ply", baked)
    vertex = PlyData.read(tmp_path / "scene.ply")["vertex"]
    names = [each.name for each in vertex.properties]
    assert names[:3] == ["x", "y", "z"]
    assert {f"f_rest_{i}" for i in range(45)} | {"opacity", "scale_2", "rot_3", "f_dc_0"} <= set(names)
    np.testing.assert_array_equal(vertex["opacity"], baked.opacity_logits.numpy())
    np.testing.assert_array_equal(vertex["f_dc_1"], baked.sh[:, 0, 1].numpy())
