"""Anchors: made from points by voxels, decoded in order, and found where a camera may see them."""

import numpy as np
import torch

from scene3d.cameras.camera import Camera
from scene3d.gaussians.anchors import Anchors, decode_anchors, find_in_view, find_voxel, make_anchors
from scene3d.gaussians.decoder import Decoder
from scene3d.gaussians.decoder_shape import DecoderShape
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view
from scene3d.seeding import make_generator

SHAPE = DecoderShape(num_features=6, num_hidden=8, num_offsets=3, sh_degree=1)


def _points(positions: np.ndarray) -> Gaussians:
    num = len(positions)
    return Gaussians(
        means=torch.from_numpy(positions).float(),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(num, 1),
        log_scales=torch.zeros(num, 3),
        opacity_logits=torch.zeros(num),
        sh=torch.arange(3.0 * num).reshape(num, 1, 3),
    )


def _cloud(num: int = 80, seed: int = 0) -> Anchors:
    positions = np.random.default_rng(seed).normal(size=(num, 3))
    return make_anchors(_points(positions), SHAPE, voxel=1e-6, generator=make_generator(seed))


def _camera(width: int = 60, height: int = 40) -> Camera:
    cam_from_world = np.eye(4)
    cam_from_world[2, 3] = 1.5
    return Camera(
        width=width,
        height=height,
        K=np.array([[50.0, 0, 25], [0, 55.0, 22], [0, 0, 1]]),
        cam_from_world=cam_from_world,
    )


def test_the_voxel_is_a_multiple_of_the_median_nearest_distance_at_any_scale() -> None:
    positions = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0], [3, 0, 0], [7.0, 0, 0]])  # nearest: 1, 1, 2, 4
    assert find_voxel(positions, 1.0) == 1.5
    assert np.isclose(find_voxel(1000 * positions, 0.5), 750)
    assert find_voxel(positions[:1], 2.0) == 1.0


def test_points_of_one_voxel_become_one_anchor_in_their_middle_with_their_mean_colour() -> None:
    positions = np.array([[0.1, 0, 0], [-0.1, 0.2, 0], [5, 0, 0]])
    anchors = make_anchors(_points(positions), SHAPE, voxel=1.0, generator=make_generator(0))
    assert len(anchors) == 2
    torch.testing.assert_close(anchors.positions, torch.tensor([[0.0, 0.1, 0], [5, 0, 0]]))
    torch.testing.assert_close(anchors.features[:, :3], torch.tensor([[1.5, 2.5, 3.5], [6.0, 7, 8]]))
    assert anchors.num_gaussians == 6


def test_a_scaled_scene_gives_the_same_anchors_scaled() -> None:
    positions = np.random.default_rng(3).normal(size=(50, 3))
    one, other = (
        make_anchors(
            _points(factor * positions), SHAPE, voxel=find_voxel(factor * positions, 1.0), generator=make_generator(0)
        )
        for factor in (1.0, 64.0)
    )
    torch.testing.assert_close(64 * one.positions, other.positions)
    torch.testing.assert_close(one.log_scales + np.log(64), other.log_scales)
    assert torch.equal(one.offsets, other.offsets)


def test_gaussians_stand_in_the_order_of_their_anchors() -> None:
    anchors, decoder = _cloud(5), Decoder(SHAPE, make_generator(0))
    gaussians, _ = decode_anchors(anchors, decoder)
    assert len(gaussians) == 15
    for i in range(15):
        one, _ = decode_anchors(anchors.select(torch.tensor([i // 3])), decoder)
        torch.testing.assert_close(gaussians.means[i], one.means[i % 3])
        torch.testing.assert_close(gaussians.sh[i], one.sh[i % 3])
        torch.testing.assert_close(gaussians.log_scales[i], one.log_scales[i % 3])


def test_selecting_and_joining_are_inverse() -> None:
    anchors = _cloud(9)
    mask = torch.arange(9) % 2 == 0
    joined = Anchors.concatenate([anchors.select(mask), anchors.select(~mask)])
    assert torch.equal(joined.positions, anchors.select(torch.tensor([0, 2, 4, 6, 8, 1, 3, 5, 7])).positions)


def test_what_is_not_near_the_view_draws_nothing() -> None:
    decoder = Decoder(SHAPE, make_generator(0))
    num_left_out = 0
    for seed in range(6):
        anchors = _cloud(seed=seed)
        scales = anchors.log_scales + 0.5 * torch.randn(80, 6, generator=make_generator(seed)) - 0.7
        anchors = Anchors(
            positions=2 * anchors.positions, features=anchors.features, offsets=anchors.offsets, log_scales=scales
        )
        rows = find_in_view(anchors, _camera(), near=0.01)
        num_left_out += len(anchors) - len(rows)
        whole, part = (
            render_view(decode_anchors(each, decoder)[0].detach(), _camera()).image
            for each in (anchors, anchors.select(rows))
        )
        assert float((whole - part).abs().max()) < 2e-3
    assert num_left_out > 60
