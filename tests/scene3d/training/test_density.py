"""Growth and pruning: counts, cap, region, share, and what must not change."""

import dataclasses

import pytest
import torch

from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.density import DensityStatistics, change_density, rotate, screen_norms
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.settings import DensitySettings


def _field(num: int = 40, *, size: float = 0.001, opacity: float = 0.5, seed: int = 0) -> ExplicitField:
    generator = torch.Generator().manual_seed(seed)
    return ExplicitField(
        Gaussians(
            means=torch.randn(num, 3, generator=generator),
            quats=torch.randn(num, 4, generator=generator),
            log_scales=torch.full((num, 3), size).log(),
            opacity_logits=torch.full((num,), opacity).logit(),
            sh=torch.randn(num, 1, 3, generator=generator),
        )
    )


def _statistics(gradients: list[float]) -> DensityStatistics:
    return DensityStatistics(torch.tensor(gradients), torch.ones(len(gradients)))


def _round(field: ExplicitField, statistics: DensityStatistics, **changes: float) -> object:
    settings = dataclasses.replace(DensitySettings(grow_gradient=0.5, growth_per_round=10.0), **changes)
    generator = torch.Generator().manual_seed(1)
    return change_density(field, statistics, settings, scene_scale=1.0, generator=generator)


def test_small_gaussians_with_strong_gradients_are_cloned_exactly() -> None:
    field = _field(4)
    before = field.baked(0)
    report = _round(field, _statistics([0.0, 1.0, 0.0, 2.0]))
    assert (report.cloned, report.split, report.pruned) == (2, 0, 0)
    after = field.baked(0)
    assert torch.equal(after.means, before.means[[0, 1, 2, 3, 1, 3]])
    assert torch.equal(after.sh, before.sh[[0, 1, 2, 3, 1, 3]])


def test_a_large_gaussian_becomes_two_smaller_ones_around_it() -> None:
    field = _field(3, size=0.05)
    before = field.baked(0)
    report = _round(field, _statistics([0.0, 1.0, 0.0]))
    assert (report.cloned, report.split, report.pruned) == (0, 1, 0)
    after = field.baked(0)
    assert len(after) == 4
    torch.testing.assert_close(after.scales[2:], torch.full((2, 3), 0.05 / 1.6))
    assert ((after.means[2:] - before.means[1]).norm(dim=1) < 0.05 * 6).all()
    assert not torch.equal(after.means[2], after.means[3])


def test_faint_and_giant_gaussians_go() -> None:
    field = _field(4)
    with torch.no_grad():
        field.parameters["opacity_logits"][1] = -10
        field.parameters["log_scales"][2] = 3.0
    report = _round(field, _statistics([0.0] * 4))
    assert report.pruned == 2
    assert len(field) == 2


def test_the_last_gaussian_is_never_pruned() -> None:
    field = _field(3, opacity=0.001)
    _round(field, _statistics([0.0] * 3))
    assert len(field) == 1


@pytest.mark.parametrize("cap", [40, 41, 45, 60])
def test_the_cap_holds_and_the_strongest_gradients_win(cap: int) -> None:
    field = _field(40)
    before = field.baked(0)
    _round(field, _statistics([1.0 + i for i in range(40)]), max_gaussians=cap)
    assert len(field) == cap
    grown = field.baked(0).means[40:]
    assert torch.equal(grown, before.means[80 - cap :])


def test_growth_per_round_limits_the_share() -> None:
    field = _field(40)
    _round(field, _statistics([1.0] * 40), growth_per_round=0.1)
    assert len(field) == 45


def test_nothing_grows_outside_the_region() -> None:
    field = _field(40)
    inside = field.parameters["means"].detach()[:, 0] > 0
    settings = DensitySettings(grow_gradient=0.5, growth_per_round=10.0)
    change_density(
        field,
        _statistics([1.0] * 40),
        settings,
        scene_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        region=lambda means: means[:, 0] > 0,
    )
    assert len(field) == 40 + int(inside.sum())


def test_statistics_do_not_depend_on_the_image_size() -> None:
    small, large = DensityStatistics.zeros(1), DensityStatistics.zeros(1)
    visible = torch.tensor([True])
    small.observe(screen_norms(torch.tensor([[0.2, 0.1]]), 100, 80), visible)
    large.observe(screen_norms(torch.tensor([[0.1, 0.05]]), 200, 160), visible)
    torch.testing.assert_close(small.mean(), large.mean())


def test_rotate_agrees_with_the_rotation_matrix() -> None:
    quarter_turn_about_z = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    torch.testing.assert_close(
        rotate(quarter_turn_about_z, torch.tensor([[1.0, 0.0, 0.0]])), torch.tensor([[0.0, 1.0, 0.0]])
    )
