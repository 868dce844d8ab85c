"""Schedules: where they start, where they end, and what they never do."""

import dataclasses
import itertools

import pytest

from scene3d.training.schedules import (
    drop_share_at,
    growth_cap,
    image_downscale_at,
    is_density_round,
    learning_rates,
    log_linear,
    sh_degree_at,
)
from scene3d.training.settings import ReconstructSettings


def test_log_linear_hits_both_ends_and_the_geometric_middle() -> None:
    assert log_linear(4.0, 1.0, 0.0) == pytest.approx(4.0)
    assert log_linear(4.0, 1.0, 0.5) == pytest.approx(2.0)
    assert log_linear(4.0, 1.0, 2.0) == pytest.approx(1.0)


@pytest.mark.parametrize("iterations", [1, 10, 2000, 30000])
def test_step_sizes_only_fall_and_end_where_the_settings_say(iterations: int) -> None:
    settings = ReconstructSettings(iterations=iterations)
    rates = [learning_rates(settings, step, 2.0) for step in range(0, iterations + 1, max(1, iterations // 50))]
    for name in rates[0]:
        values = [rate[name] for rate in rates]
        assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(values))
    end = learning_rates(settings, iterations, 2.0)
    assert end["means"] == pytest.approx(2.0 * settings.optimizer.means_lr * settings.optimizer.means_lr_final_ratio)
    assert end["sh"] == pytest.approx(settings.optimizer.sh_lr * settings.optimizer.other_lr_final_ratio)


def test_the_full_colour_degree_is_reached_by_half_of_a_short_run() -> None:
    settings = ReconstructSettings(iterations=600)
    degrees = [sh_degree_at(settings, step, 50) for step in range(600)]
    assert degrees[0] == 0
    assert degrees[300] == 3
    assert degrees == sorted(degrees)


def test_few_views_keep_the_colour_simple() -> None:
    settings = ReconstructSettings(iterations=600)
    assert [sh_degree_at(settings, 599, views) for views in (2, 31, 32, 500)] == [1, 1, 3, 3]


def test_nothing_grows_before_the_start_or_after_the_stop() -> None:
    settings = ReconstructSettings(iterations=2000)
    rounds = [step for step in range(2001) if is_density_round(settings, step)]
    assert rounds[0] == settings.density.start
    assert rounds[-1] < settings.density.stop_share * 2000


def test_the_image_is_small_first_and_full_later() -> None:
    settings = ReconstructSettings(iterations=1000, coarse_share=0.2)
    assert [image_downscale_at(settings, step) for step in (0, 199, 200, 999)] == [2, 2, 1, 1]


def test_drop_out_falls_with_the_number_of_views() -> None:
    settings = ReconstructSettings()
    full = settings.loss.drop_share
    assert drop_share_at(settings, 8) == full
    assert drop_share_at(settings, 32) == pytest.approx(full / 2)


def test_growth_is_limited_by_pixels_but_never_below_the_start() -> None:
    settings = ReconstructSettings()
    per_gaussian = settings.density.pixels_per_gaussian
    assert growth_cap(settings, 10, int(5000 * per_gaussian)) == 5000
    assert growth_cap(settings, 9000, int(5000 * per_gaussian)) == 9000
    small = dataclasses.replace(settings, density=dataclasses.replace(settings.density, max_gaussians=100))
    assert growth_cap(small, 10, int(5000 * per_gaussian)) == 100
