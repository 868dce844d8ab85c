"""The noise schedule, and that the solvers as set up here draw from the distribution whose score they are given."""

import pytest
import torch

from scene3d.generation.diffusion import (
    ALPHA_BARS,
    NUM_TIMESTEPS,
    add_noise,
    count_repaint,
    make_solver,
    make_velocity,
    noise_from_velocity,
    snr_weight,
)
from tests.scene3d.generation.small import generator

MEAN, SPREAD = 1.7, 0.6


def exact_velocity(noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """The best v for codes that are normal with MEAN and SPREAD."""
    alpha_bar = ALPHA_BARS.double()[timestep]
    variance = alpha_bar * SPREAD**2 + 1 - alpha_bar
    codes = MEAN + alpha_bar.sqrt() * SPREAD**2 / variance * (noisy - alpha_bar.sqrt() * MEAN)
    noise = (noisy - alpha_bar.sqrt() * codes) / (1 - alpha_bar).sqrt()
    return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * codes


@pytest.mark.parametrize(("name", "steps"), [("dpm++", 100), ("ddim", 500), ("ddpm", 1000)])
def test_solvers_recover_mean_and_spread_of_a_gaussian(name, steps):
    solver, random = make_solver(name, steps), generator(0)
    codes = torch.randn(20_000, generator=random, dtype=torch.float64)
    codes = ((codes - codes.mean()) / codes.std())[:, None]
    for timestep in solver.timesteps:
        options = {"generator": random} if name == "ddpm" else {}
        codes = solver.step(exact_velocity(codes, timestep), timestep, codes, **options).prev_sample
    assert float(codes.mean()) == pytest.approx(MEAN, rel=0.02)
    assert float(codes.std()) == pytest.approx(SPREAD, rel=0.02)


def test_ten_steps_come_near():
    solver = make_solver("dpm++", 10)
    codes = torch.linspace(-2, 2, 101, dtype=torch.float64)
    for timestep in solver.timesteps:
        codes = solver.step(exact_velocity(codes, timestep), timestep, codes).prev_sample
    assert float((codes - (MEAN + SPREAD * torch.linspace(-2, 2, 101))).abs().max()) < 0.1


def test_the_published_resampling_counts_what_was_counted():
    assert count_repaint(1000, 100, 15) == (26_200, 13_600)
    assert count_repaint(50, 5, 5) == (410, 230)


def test_levels_are_those_of_the_solvers():
    assert torch.allclose(make_solver("ddim", 10).alphas_cumprod, ALPHA_BARS, atol=1e-6)
    assert bool((ALPHA_BARS[1:] < ALPHA_BARS[:-1]).all())


def test_velocity_gives_back_noise():
    codes, noise = torch.randn(2, 4, 3, 5, 5, generator=generator(1))
    timestep = torch.tensor([3, 400, 700, 998])
    noisy = add_noise(codes, noise, timestep)
    assert torch.allclose(noise_from_velocity(make_velocity(codes, noise, timestep), noisy, timestep), noise, atol=1e-4)


def test_weights_fall_towards_both_ends():
    weights = snr_weight(torch.arange(NUM_TIMESTEPS))
    assert float(weights.max()) == pytest.approx(5 / 6, abs=0.01)
    assert float(weights[0]) < 0.01
    assert float(weights[-1]) < 0.01
