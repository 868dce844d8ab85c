"""Density rounds of anchors: they grow where gradients are strong, in empty cells, within region and cap."""

from dataclasses import replace

import torch

from scene3d.gaussians.anchors import Anchors
from scene3d.seeding import make_generator
from scene3d.training.anchor_density import AnchorRound, AnchorStatistics, find_keep, plan_round
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.settings import DensitySettings, ReconstructSettings
from tests.scene3d.training.anchor_scenes import SETTINGS, make_field

SIDE = 6


def _settings(**changes: object) -> ReconstructSettings:
    growing = {"features": 3, "offsets": 2, "grow_gradient": 1e-3, "grow_cells": (1.0,), **changes}
    return ReconstructSettings(
        anchors=AnchorSettings(**growing), density=DensitySettings(growth_per_round=100.0, max_gaussians=10_000)
    )


def _anchors(scale: float = 1.0) -> Anchors:
    """A plane of anchors 10 apart, each with one Gaussian on it and one 3 above."""
    grid = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE), torch.zeros(1, dtype=torch.int64))
    num = len(grid)
    offsets = torch.zeros(num, 2, 3)
    offsets[:, 1, 2] = 3.0
    return Anchors(
        positions=10.0 * scale * grid,
        features=torch.arange(3.0 * num).reshape(num, 3),
        offsets=offsets,
        log_scales=torch.full((num, 6), float(torch.tensor(scale).log())),
    )


def _statistics(gradient: float, opacity: float = 0.5, num: int = SIDE * SIDE) -> AnchorStatistics:
    views = torch.full((num, 2), 10.0)
    visits = torch.full((num,), 10.0)
    return AnchorStatistics(10 * gradient * torch.ones(num, 2), views, 10 * opacity * torch.ones(num), visits)


def _round(anchors: Anchors, statistics: AnchorStatistics, settings: ReconstructSettings, seed: int = 0, **plan):
    given = AnchorRound(settings=settings, voxel=plan.pop("voxel", 1.0), scene_scale=1e3, **plan)
    return plan_round(anchors, statistics, given, make_generator(seed))


def test_anchors_grow_only_above_the_threshold_and_only_in_empty_cells() -> None:
    settings = _settings()
    assert len(_round(_anchors(), _statistics(0.9e-3), settings)[1]) == 0
    keep, grown = _round(_anchors(), _statistics(1.1e-3), settings)
    assert bool(keep.all())
    # The Gaussians on the anchors lie in taken cells; of those above, about half are let through.
    assert set(grown.positions[:, 2].tolist()) == {3.0}
    assert 8 <= len(grown) <= 28


def test_a_new_anchor_has_its_parents_features_and_is_no_larger_than_its_cell_and_its_parent() -> None:
    for cell, size in ((2.0, 1.0), (0.5, 0.25)):
        _, grown = _round(_anchors(), _statistics(1.0), _settings(grow_cells=(cell,)), voxel=0.5)
        torch.testing.assert_close(grown.log_scales.exp(), torch.full((len(grown), 6), size))
    parents = (grown.positions[:, 0] / 10 * SIDE + grown.positions[:, 1] / 10).long()
    assert torch.equal(grown.features, _anchors().features[parents])
    assert float(grown.offsets.abs().max()) == 0


def test_a_coarse_cell_takes_one_anchor_where_a_fine_one_takes_many() -> None:
    # Cells of 100 hold the whole plane: it is taken. Cells of 1 do not.
    assert len(_round(_anchors(), _statistics(1.0), _settings(grow_cells=(100.0,)))[1]) == 0
    assert len(_round(_anchors(), _statistics(1.0), _settings(grow_cells=(100.0, 1.0)))[1]) > 8


def test_each_finer_level_asks_for_twice_the_gradient() -> None:
    levels = _settings(grow_cells=(100.0, 100.0, 1.0))
    assert len(_round(_anchors(), _statistics(3.9e-3), levels)[1]) == 0
    assert len(_round(_anchors(), _statistics(4.1e-3), levels)[1]) > 8


def test_two_levels_never_put_two_anchors_into_one_cell() -> None:
    _, grown = _round(_anchors(), _statistics(1.0), _settings(grow_cells=(1.0, 1.0, 1.0, 1.0)))
    assert len(torch.unique(grown.positions, dim=0)) == len(grown)
    assert len(grown) > 28  # what one level's draw left out, the next lets through


def test_growth_does_not_depend_on_the_unit_of_the_world() -> None:
    settings = _settings(grow_cells=(4.0, 1.0, 0.25))
    _, one = _round(_anchors(), _statistics(1.0), settings, voxel=1.0)
    _, other = _round(_anchors(64.0), _statistics(1.0), settings, voxel=64.0)
    torch.testing.assert_close(64 * one.positions, other.positions)
    assert torch.equal(one.features, other.features)


def test_growth_stays_in_its_region() -> None:
    _, grown = _round(_anchors(), _statistics(1.0), _settings(), region=lambda means: means[:, 0] < 25)
    assert len(grown) > 0
    assert float(grown.positions[:, 0].max()) < 25


def test_growth_honours_the_cap_and_the_strongest_win() -> None:
    statistics = _statistics(1.0)
    statistics.gradient_sum *= torch.arange(1.0, 1 + SIDE * SIDE)[:, None]
    settings = _settings(grow_cells=(1.0, 1.0, 1.0, 1.0, 1.0, 1.0))
    capped = replace(settings, density=replace(settings.density, max_gaussians=2 * SIDE * SIDE + 11))
    _, everything = _round(_anchors(), statistics, settings)
    _, grown = _round(_anchors(), statistics, capped)
    assert len(grown) == 5  # 11 places for Gaussians are 5 anchors of 2
    strongest = everything.features[:, 0].sort(descending=True).values[:5]
    assert set(grown.features[:, 0].tolist()) == set(strongest.tolist())


def test_growth_stays_within_its_share_per_round() -> None:
    settings = _settings(grow_cells=(1.0, 1.0, 1.0))
    shared = replace(settings, density=replace(settings.density, growth_per_round=0.1))
    assert len(_round(_anchors(), _statistics(1.0), shared)[1]) == int(0.1 * SIDE * SIDE) + 1


def test_what_was_hardly_seen_does_not_grow() -> None:
    statistics = _statistics(1.0)
    statistics.view_count[:] = 2.0
    assert len(_round(_anchors(), statistics, _settings())[1]) == 0


def test_faint_and_huge_anchors_go_unseen_ones_stay_and_never_all_go() -> None:
    anchors, statistics, settings = _anchors(), _statistics(0.0), _settings()
    plan = AnchorRound(settings=settings, voxel=1.0, scene_scale=10.0)
    statistics.opacity_sum[:3] = 10 * 0.004
    statistics.opacity_sum[1], statistics.visit_count[1] = 0.0, 0.0
    anchors.log_scales[5, 4] = 2.0  # 7.4 world units; half of the scene is 5
    assert find_keep(anchors, statistics, plan).logical_not().nonzero()[:, 0].tolist() == [0, 2, 5]
    statistics.opacity_sum[:], statistics.visit_count[:] = 0.0, 10.0
    assert int(find_keep(anchors, statistics, plan).sum()) == 1


def test_the_same_generator_state_grows_the_same_anchors() -> None:
    settings = _settings(grow_cells=(1.0, 0.5))
    one, same, other = (_round(_anchors(), _statistics(1.0), settings, seed)[1].positions for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert one.shape != other.shape or not torch.equal(one, other)


def test_statistics_count_what_was_seen_and_are_restored() -> None:
    statistics = AnchorStatistics.zeros(4, 2)
    rows = torch.tensor([1, 3])
    visible = torch.tensor([True, False, False, False])
    statistics.observe(rows, torch.tensor([0.5, 9.0, 9, 9]), visible, torch.tensor([0.2, 0.3, 0.4, 0.5]))
    assert statistics.gradient_sum[1].tolist() == [0.5, 0.0]
    assert statistics.view_count.sum().item() == 1
    assert statistics.visit_count.tolist() == [0, 1, 0, 0]
    assert statistics.opacity_sum[1].item() == 0.5
    twin = AnchorStatistics.restore(statistics.capture())
    assert all(torch.equal(getattr(twin, name), getattr(statistics, name)) for name in statistics.__slots__)


def test_a_round_keeps_moments_of_what_stays_and_gives_none_to_what_is_new() -> None:
    field, _ = make_field()
    with torch.no_grad():
        for moments in field.adam.moments.values():
            moments.first += 1.0
    field.adam.row_steps += 5
    field.statistics.gradient_sum += 1.0
    field.statistics.view_count += 4.0
    before = len(field)
    report = field.change_density(SETTINGS, scene_scale=1.0, generator=make_generator(0))
    assert report.cloned > 0
    assert len(field) == before + report.cloned - report.pruned
    assert field.num_gaussians <= SETTINGS.density.max_gaussians
    assert field.adam.row_steps[: before - report.pruned].tolist() == [5.0] * (before - report.pruned)
    assert float(field.adam.row_steps[-report.cloned :].abs().max()) == 0
    assert float(field.adam.moments["features"].first[-report.cloned :].abs().max()) == 0
    assert float(field.statistics.view_count.sum()) == 0
    assert field.statistics.gradient_sum.shape == (len(field), 3)
