"""Which rendered depth is trusted."""

import numpy as np
import pytest
import torch

from scene3d.errors import SettingsError
from scene3d.fusion.depth_views import DepthTrust, find_cosines, render_depth_view
from scene3d.fusion.tsdf import view_points
from scene3d.gaussians.gaussians import Gaussians
from tests.scene3d.fusion.splat_scene import VOXEL, make_cameras, make_splats, true_sdf


def test_the_cosine_of_a_level_plane_is_that_of_the_ray() -> None:
    camera = make_cameras()[20]
    column, row = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = np.stack([column, row, np.ones_like(row)], -1) @ np.linalg.inv(camera.K).T @ camera.cam_from_world[:3, :3]
    depth = -camera.center[2] / rays[..., 2]
    wanted = np.abs(rays[..., 2]) / np.linalg.norm(rays, axis=-1)
    found = find_cosines(torch.from_numpy(depth).float(), camera).numpy()
    assert found[1:-1, 1:-1] == pytest.approx(wanted[1:-1, 1:-1], abs=1e-3)
    assert (found[0] == 0).all()


def test_trusted_depth_lies_on_the_surface() -> None:
    view = render_depth_view(make_splats(), make_cameras()[3], VOXEL)
    assert (view.depth > 0).float().mean() > 0.5
    assert np.quantile(np.abs(true_sdf(view_points(view))), 0.9) < 0.5 * VOXEL


def test_fog_before_a_surface_is_not_trusted() -> None:
    splats, camera = make_splats(), make_cameras()[23]
    fog = Gaussians(
        means=torch.tensor([[0.0, 0.0, 1.2]]),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        log_scales=torch.full((1, 3), float(np.log(0.15))),
        opacity_logits=torch.tensor([0.0]),
        sh=torch.zeros(1, 1, 3),
    )
    clear = render_depth_view(splats, camera, VOXEL).depth > 0
    foggy = render_depth_view(Gaussians.concatenate([splats, fog]), camera, VOXEL).depth > 0
    middle = (slice(116, 140), slice(116, 140))
    assert clear[middle].float().mean() > 0.8
    assert foggy[middle].float().mean() < 0.2


def test_grazing_rays_are_not_trusted() -> None:
    camera = make_cameras()[0]
    strict = render_depth_view(make_splats(), camera, VOXEL, DepthTrust(max_grazing_deg=40.0))
    loose = render_depth_view(make_splats(), camera, VOXEL, DepthTrust(max_grazing_deg=85.0))
    assert (strict.depth > 0).sum() < 0.5 * (loose.depth > 0).sum()
    assert (strict.cosine[strict.depth > 0] > np.cos(np.radians(40.0))).all()


@pytest.mark.parametrize("wrong", [{"min_alpha": 1.5}, {"max_grazing_deg": 90.0}, {"agreement": 0.0}])
def test_trust_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="min_alpha"):
        DepthTrust(**wrong)
