"""Owns drawing codes from the denoiser: plain, with settled codes kept, and the published way with resampling."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scene3d.generation.denoiser import Condition, Denoiser
from scene3d.generation.diffusion import (
    SolverName,
    add_noise,
    make_repaint_solver,
    make_solver,
    make_velocity,
    noise_from_velocity,
)
from scene3d.generation.grow_settings import GrowSettings


class Settled(NamedTuple):
    """Codes that are not to be changed."""

    codes: Float[Tensor, "b 3 z s s"]
    """Normalised."""

    mask: Bool[Tensor, "b 3 1 s s"]
    """Where they hold."""


class Guide:
    """The denoiser with its condition, exaggerated by classifier-free guidance; counts its calls."""

    def __init__(
        self,
        denoiser: Denoiser,
        condition: Condition,
        *,
        without_layout: Condition | None = None,
        guidance: float = 1.0,
    ) -> None:
        self._denoiser, self._condition = denoiser, condition
        self._without_layout, self._guidance = without_layout, guidance
        self.num_evaluations = 0

    def velocity(self, noisy: Float[Tensor, "b 3 z s s"], timestep: int) -> Float[Tensor, "b 3 z s s"]:
        """The predicted v."""
        times = torch.full((len(noisy),), float(timestep), device=noisy.device)
        self.num_evaluations += 1
        with_layout = self._denoiser(noisy, times, self._condition)
        if self._without_layout is None or self._guidance == 1.0:
            return with_layout
        self.num_evaluations += 1
        without = self._denoiser(noisy, times, self._without_layout)
        return without + self._guidance * (with_layout - without)


def draw_codes(
    guide: Guide,
    noise: Float[Tensor, "b 3 z s s"],
    *,
    steps: int,
    settled: Settled | None = None,
    solver_name: SolverName = "dpm++",
) -> Float[Tensor, "b 3 z s s"]:
    """Codes from noise.

    Settled codes are put in at every step as they would be at that step's noise, so that the rest is drawn to fit.
    """
    solver = make_solver(solver_name, steps)
    codes = noise
    for timestep in solver.timesteps:
        times = timestep.expand(len(noise))
        if settled is not None:
            codes = torch.where(settled.mask, add_noise(settled.codes, noise, times), codes)
        velocity = guide.velocity(codes, int(timestep))
        if settled is not None:
            # The solver remembers earlier predictions; for settled codes they are known exactly.
            velocity = torch.where(settled.mask, make_velocity(settled.codes, noise, times), velocity)
        codes = solver.step(velocity, timestep, codes).prev_sample
    return codes if settled is None else torch.where(settled.mask, settled.codes, codes)


def draw_codes_published(
    guide: Guide,
    noise: Float[Tensor, "b 3 z s s"],
    settled: Settled,
    settings: GrowSettings,
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "b 3 z s s"]:
    """Codes by RePaint: settled ones are forward-noised and put in, and stretches of steps are undone and run again."""
    solver = make_repaint_solver(settings.steps, settings.jump_length, settings.jump_samples)
    mask = settled.mask.to(noise).expand(noise.shape)
    randomness = list(generators)
    codes, last = noise, int(solver.timesteps[0]) + 1
    for timestep in solver.timesteps:
        if int(timestep) < last:
            predicted = guide.velocity(codes, int(timestep))
            predicted = noise_from_velocity(predicted, codes, timestep.expand(len(codes)))
            codes = solver.step(predicted, timestep, codes, settled.codes, mask, generator=randomness).prev_sample
        else:
            codes = solver.undo_step(codes, last, generator=randomness)
        last = int(timestep)
    return torch.where(settled.mask, settled.codes, codes)
