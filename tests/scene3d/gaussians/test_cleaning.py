"""Cleaning takes floaters and leaves the scene."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from scene3d.errors import SettingsError
from scene3d.gaussians.cleaning import CleaningSettings, crop_box, find_isolated, remove_floaters, scene_radius
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.transform import transform_gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.seeding import make_generator, make_numpy_generator


def make_ground(count: int = 4000, *, background: int = 300) -> Gaussians:
    """A dense bumpy ground 2 x 2, and a thin far background shell."""
    generator = make_generator(0, "ground")
    ground = torch.rand(count, 3, generator=generator) * torch.tensor([2.0, 2.0, 0.1]) - torch.tensor([1.0, 1.0, 0])
    shell = torch.nn.functional.normalize(torch.randn(background, 3, generator=generator), dim=1) * 20
    means = torch.cat([ground, shell])
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(len(means), 1),
        log_scales=torch.full((len(means), 3), float(np.log(0.02))),
        opacity_logits=torch.full((len(means),), 2.0),
        sh=torch.zeros(len(means), 4, 3),
    )


def with_floaters(ground: Gaussians) -> Gaussians:
    floaters = ground.select(torch.arange(5))
    floaters.means.copy_(torch.tensor([[0.0, 0, 0.7]]) + 0.005 * torch.arange(5)[:, None])
    faint = ground.select(torch.arange(3))
    faint.opacity_logits.fill_(-6)
    oversized = ground.select(torch.arange(2))
    oversized.log_scales[:, 1] = 2.0
    broken = ground.select(torch.arange(4))
    broken.sh[:2, 0, 0] = float("nan")
    broken.quats[2] = 0
    broken.log_scales[3] = 200.0
    return Gaussians.concatenate([ground, floaters, faint, oversized, broken])


def test_planted_floaters_go_and_the_scene_stays():
    ground = make_ground()
    result = remove_floaters(with_floaters(ground))
    assert result.removed == {"broken": 4, "faint": 3, "oversized": 2, "isolated": 5}
    assert result.kept[: len(ground)].all()
    assert not result.kept[len(ground) :].any()
    assert torch.equal(result.gaussians.means, ground.means)


def test_the_result_does_not_depend_on_unit_and_place():
    scene = with_floaters(make_ground())
    move = Similarity(250.0, np.eye(3), np.array([1e4, -3e4, 500.0]))
    assert remove_floaters(transform_gaussians(scene, move)).removed == remove_floaters(scene).removed


def test_what_no_view_shows_is_removed_only_when_views_are_given():
    ground = make_ground()
    weights = torch.ones(len(ground))
    weights[7] = 1e-4
    assert remove_floaters(ground, max_weights=weights).removed["unseen"] == 1
    assert "unseen" not in remove_floaters(ground).removed


def test_each_gaussian_counts_once():
    scene = with_floaters(make_ground())
    result = remove_floaters(scene, max_weights=torch.zeros(len(scene)))
    assert sum(result.removed.values()) == len(scene) == int((~result.kept).sum())


def at_places(means: torch.Tensor, scale: float = 1e-4) -> Gaussians:
    scene = make_ground(len(means), background=0)
    scene.means.copy_(means)
    scene.log_scales.fill_(float(np.log(scale)))
    return scene


def test_a_sparse_scene_is_not_all_isolated():
    means = torch.from_numpy(make_numpy_generator(0).uniform(-1, 1, (50, 3))).float()
    assert not find_isolated(at_places(means), CleaningSettings()).all()


def test_clusters_touching_at_a_corner_are_one():
    settings = CleaningSettings(voxel_share=0.5, min_cluster_share=0.3)
    chain = torch.arange(20)[:, None] * torch.tensor([[0.05, 0.05, 0.05]])
    assert not find_isolated(at_places(chain), settings).any()


def test_large_gaussians_of_a_plain_wall_are_not_isolated():
    detail = 0.1 * torch.rand(200, 3, generator=make_generator(0))
    wall = torch.cartesian_prod(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8), torch.zeros(1))
    settings = CleaningSettings(min_cluster_share=0.02)
    assert find_isolated(at_places(torch.cat([detail, wall])), settings)[200:].sum() > 50
    scene = at_places(torch.cat([detail, wall]))
    scene.log_scales[200:, :2] = float(np.log(0.15))
    assert not find_isolated(scene, settings).any()


def test_an_empty_scene_stays_empty():
    result = remove_floaters(make_ground(0, background=0))
    assert len(result.gaussians) == 0
    assert scene_radius(result.gaussians.means) == 1.0


def test_the_box_keeps_what_is_inside():
    ground = make_ground()
    minimum, maximum = np.array([-0.5, -0.5, 0.0]), np.array([0.25, 0.5, 0.05])
    cropped = crop_box(ground, minimum, maximum)
    inside = ((ground.means.numpy() >= minimum) & (ground.means.numpy() <= maximum)).all(axis=1)
    assert 0 < inside.sum() < len(ground)
    assert torch.equal(cropped.means, ground.means[torch.from_numpy(inside)])


def test_a_box_in_another_frame_keeps_the_same_gaussians():
    ground = make_ground()
    minimum, maximum = np.array([-0.5, -0.5, -1.0]), np.array([0.25, 0.5, 0.05])
    turn = Rotation.from_euler("xyz", [0.4, 1.0, -2.0]).as_matrix()
    world_from_box = Similarity(3.0, turn, np.array([5.0, 6.0, 7.0]))
    moved = crop_box(
        transform_gaussians(ground, world_from_box), minimum, maximum, box_from_world=world_from_box.inverse()
    )
    expected = crop_box(ground, minimum, maximum)
    assert len(moved) == len(expected)
    assert torch.allclose(transform_gaussians(moved, world_from_box.inverse()).means, expected.means, atol=1e-5)


@pytest.mark.parametrize("maximum", [[1.0, 1.0, -1.0], [np.nan, 1.0, 1.0], [np.inf, 1.0, 1.0]])
def test_an_empty_or_endless_box_is_refused(maximum):
    with pytest.raises(SettingsError, match="crop box"):
        crop_box(make_ground(10), np.zeros(3), np.array(maximum))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingsError, match="min_opacity"):
        CleaningSettings(min_opacity=-1.0)
    with pytest.raises(SettingsError, match="voxel_share"):
        CleaningSettings(voxel_share=0.0)
