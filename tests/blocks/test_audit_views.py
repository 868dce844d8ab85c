"""What one view of several blocks shows: weights, surfaces and layers against plainer computations."""

from pathlib import Path

import numpy as np
import torch

from blocks.audit_evidence import AuditScene, gather_evidence
from blocks.audit_views import (
    back_project,
    find_shared_views,
    find_surface,
    keep_owned,
    make_layer,
    may_be_seen,
    weigh,
)
from blocks.merge_parts import BlockShelf
from blocks.merge_settings import MergeSettings
from rasterizer import rasterization
from scene3d.cameras.camera import Camera
from scene3d.events import Quiet
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import NEAR_PLANE, camera_tensors
from scene3d.seeding import make_generator
from tests.blocks.two_blocks import (
    WIDTH,
    crop_of,
    gaussians_at,
    looking_at,
    make_cameras,
    make_capture,
    make_plan,
    make_town,
)

LOOKING_DOWN = looking_at(np.array([0.0, 0.0, 1.1]), np.array([0.0, 0.0, 0.0]))


def scattered(count: int = 400, spread: float = 2.0) -> Gaussians:
    generator = make_generator(0, "scattered")
    return Gaussians(
        means=spread * torch.randn(count, 3, generator=generator),
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.randn(count, 3, generator=generator) - 2.5,
        opacity_logits=2 * torch.randn(count, generator=generator),
        sh=torch.rand(count, 1, 3, generator=generator),
    )


def rasterize(gaussians: Gaussians, camera: Camera) -> dict[str, torch.Tensor]:
    viewmats, Ks = camera_tensors([camera])
    return rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        torch.ones(len(gaussians), 1),
        viewmats,
        Ks,
        camera.width,
        camera.height,
        near_plane=NEAR_PLANE,
        packed=False,
        weights=True,
    )[2]


def test_weights_in_masks_add_up_to_the_weights_of_the_image() -> None:
    gaussians = make_town()
    ones, image, depth = weigh(gaussians, LOOKING_DOWN, 2)
    left = (torch.arange(WIDTH) < WIDTH // 3).expand(image.shape[:2])
    masks = torch.stack([left, ~left], dim=-1).float()
    weights = torch.autograd.grad(image, ones, masks)[0]
    expected = rasterize(gaussians, LOOKING_DOWN)["weight_sum"][0]
    torch.testing.assert_close(weights.sum(dim=1), expected, atol=1e-3, rtol=1e-4)
    assert (weights > 1).any(dim=0).all()
    assert depth.shape == left.shape


def test_every_gaussian_that_the_rasterizer_draws_may_be_seen() -> None:
    gaussians = scattered()
    for camera in make_cameras():
        drawn = (rasterize(gaussians, camera)["radii"][0] > 0).all(dim=1)
        seen = may_be_seen(gaussians, camera)
        assert 0 < drawn.sum() < seen.sum() < 0.7 * len(gaussians)
        assert (seen | ~drawn).all()


def test_a_layer_holds_what_is_owned_and_seen() -> None:
    gaussians = scattered()
    core = gaussians.means[:, 0] < 0
    layer = make_layer(3, gaussians, core, LOOKING_DOWN)
    assert layer.owner == 3
    assert torch.equal(layer.gaussians.means, gaussians.means[layer.rows])
    assert set(layer.rows.tolist()) == set((core & may_be_seen(gaussians, LOOKING_DOWN)).nonzero()[:, 0].tolist())


def test_points_go_back_to_where_they_were_projected_from() -> None:
    camera = make_cameras()[5]
    generator = np.random.default_rng(0)
    depth = torch.from_numpy(generator.uniform(0.5, 2.0, (camera.height, camera.width))).float()
    points = back_project(depth, camera).reshape(-1, 3)
    in_cam = points @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    np.testing.assert_allclose(in_cam[:, 2], depth.reshape(-1), atol=1e-6)
    pixels = (in_cam @ camera.K.T)[:, :2] / in_cam[:, 2:]
    row, column = np.divmod(np.arange(len(points)), camera.width)
    np.testing.assert_allclose(pixels, np.stack([column + 0.5, row + 0.5], axis=1), atol=1e-6)


def test_a_block_speaks_of_the_ground_it_owns() -> None:
    plan = make_plan(make_cameras())
    surface = find_surface(make_town(), LOOKING_DOWN)
    assert torch.isclose(surface[36, 2:20], torch.tensor(1.1), atol=0.02).all()
    halves = [keep_owned(surface, owner, LOOKING_DOWN, plan) for owner in (0, 1)]
    assert (halves[0].isfinite() != halves[1].isfinite())[surface.isfinite()].all()
    assert halves[0].isfinite()[:, : WIDTH // 2 - 8].float().mean() > 0.95
    assert not halves[0].isfinite()[:, WIDTH // 2 + 8 :].any()


def test_nothing_is_a_surface_where_little_is() -> None:
    faint = gaussians_at(torch.zeros(1, 3), torch.ones(1, 3), scale=0.3, opacity=0.45)
    assert not find_surface(faint, LOOKING_DOWN).isfinite().any()


def test_shared_views_are_the_training_views_of_two_blocks_side_by_side(tmp_path: Path) -> None:
    cameras = make_cameras()
    plan, capture = make_plan(cameras, cuts=(-0.5, 0.5)), make_capture(cameras, tmp_path)
    views = find_shared_views(plan, capture, [0, 1, 2], 48)
    expected = {
        index: blocks
        for index in range(len(cameras))
        if len(blocks := tuple(b for b, block in enumerate(plan.blocks) if index in block.views)) > 1
    }
    assert {view.index: view.blocks for view in views} == expected
    assert {len(blocks) for blocks in expected.values()} == {2, 3}
    assert [view.blocks for view in views] == sorted(view.blocks for view in views)
    assert {max(view.camera.width, view.camera.height) for view in views} == {48}
    assert {view.blocks for view in find_shared_views(plan, capture, [0, 1], 1000)} == {(0, 1)}


def test_what_lies_behind_a_floater_is_not_blamed_for_it(tmp_path: Path) -> None:
    town, cameras = make_town(), make_cameras()
    plan = make_plan(cameras)
    # A veil over both blocks, which the first owns half of and the second does not know.
    veil = gaussians_at(torch.tensor([[-0.2, 0.0, 0.5]]), torch.ones(1, 3), scale=0.15, opacity=0.6)
    models = {0: Gaussians.concatenate([town, veil]), 1: town}
    crops = {owner: crop_of(tmp_path, plan, owner, model) for owner, model in models.items()}
    views = find_shared_views(plan, make_capture(cameras, tmp_path), [0, 1], 400)
    shelf = BlockShelf(crops.values(), sh_degree=0, max_resident=1)
    scene = AuditScene(plan=plan, crops=crops, shelf=shelf, views=views)
    evidence = gather_evidence(scene, MergeSettings(), cautious=False, reporter=Quiet())
    suspects = [evidence[owner].suspects(3) for owner in (0, 1)]
    assert suspects[0].nonzero()[:, 0].tolist() == [len(town)]
    assert not suspects[1].any()
