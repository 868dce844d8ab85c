"""The seeded noises of the world: independent of batches, smooth, and filtered as they say."""

import numpy as np
import pytest

from scene3d.world.noise import (
    detail_noise,
    detail_noise_3d,
    hash_cells,
    random_unit,
    smooth_noise,
    step_coverage,
    stripe_coverage,
)


def test_a_hash_does_not_depend_on_what_else_is_asked_for():
    cells = np.arange(-500, 500)
    together = hash_cells(7, "trees", cells, -cells)
    alone = np.concatenate([hash_cells(7, "trees", cell, -cell) for cell in cells.tolist()])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("other", [(8, "trees"), (7, "houses")])
def test_another_seed_or_purpose_gives_unrelated_numbers(other):
    cells = np.arange(20_000)
    ours, theirs = random_unit(7, "trees", cells), random_unit(*other, cells)
    assert abs(np.corrcoef(ours, theirs)[0, 1]) < 0.03


def test_hashed_numbers_are_even_in_every_direction_of_the_grid():
    i, j = np.meshgrid(np.arange(200), np.arange(200))
    values = random_unit(0, "even", i, j)
    assert abs(values.mean() - 0.5) < 0.01
    assert abs(values.var() - 1 / 12) < 0.003
    for axis in (0, 1):
        near, far = np.take(values, range(199), axis), np.take(values, range(1, 200), axis)
        assert abs(np.corrcoef(near.ravel(), far.ravel())[0, 1]) < 0.02


def test_smooth_noise_has_no_jump_or_kink_at_its_lattice():
    step = 1e-4
    x, y = np.arange(-20.0, 20.0), np.full(40, 0.37)
    before, at, after = (smooth_noise(1, "hills", x + shift, y) for shift in (-step, 0.0, step))
    assert np.abs(after - before).max() < 1e-6  # the slope is zero at lattice points of a fade
    assert np.abs(after - 2 * at + before).max() < 1e-10
    assert np.abs(at).max() <= 1


@pytest.mark.parametrize("wavelength_m", [0.1, 2.0])
def test_detail_fades_where_a_pixel_covers_a_wavelength(wavelength_m):
    x, y = np.random.default_rng(0).uniform(-50, 50, (2, 2000))
    sharp = detail_noise(x, y, wavelength_m=wavelength_m, footprint_m=0.4 * wavelength_m)
    gone = detail_noise(x, y, wavelength_m=wavelength_m, footprint_m=1.5 * wavelength_m)
    assert sharp.std() > 0.2
    assert not gone.any()


def test_detail_in_space_is_continuous_across_its_layers():
    points = np.random.default_rng(1).uniform(-5, 5, (500, 3))
    points[:, 2] = np.round(points[:, 2] / 0.3) * 0.3
    small = np.full(500, 1e-3)
    below, above = (
        detail_noise_3d(points + np.array([0, 0, shift]), wavelength_m=0.3, footprint_m=small)
        for shift in (-1e-5, 1e-5)
    )
    assert np.abs(above - below).max() < 1e-3


def test_stripe_coverage_is_the_mean_over_the_footprint():
    rng = np.random.default_rng(2)
    position, footprint = rng.uniform(-3, 3, 200), rng.uniform(0.01, 2.0, 200)
    parts = position[:, None] + footprint[:, None] * (np.arange(4000) + 0.5 - 2000) / 4000
    brute = (parts % 0.7 < 0.2).mean(axis=1)
    covered = stripe_coverage(position, period_m=0.7, width_m=0.2, footprint_m=footprint)
    assert np.abs(covered - brute).max() < 2e-3


def test_step_coverage_is_half_on_the_edge():
    assert np.array_equal(step_coverage(np.array([-1.0, 0.0, 1.0]), 0.5), [1.0, 0.5, 0.0])
