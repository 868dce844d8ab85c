"""Owns the noise: the cosine schedule, what v means, and the solvers of `diffusers` set up for it."""

import math
import warnings
from typing import Any, Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_repaint import RePaintScheduler
from jaxtyping import Float, Int
from torch import Tensor

NUM_TIMESTEPS = 1000
SolverName = Literal["dpm++", "ddim", "ddpm"]

_COMMON = {"num_train_timesteps": NUM_TIMESTEPS, "beta_schedule": "squaredcos_cap_v2"}
_PREDICTS_V = {**_COMMON, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}


def make_alpha_bars() -> Float[Tensor, "t"]:
    """Share of the signal's power that is left at each timestep: the cosine schedule (Nichol and Dhariwal, eq. 17)."""

    def level(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    steps = range(NUM_TIMESTEPS)
    betas = [min(1 - level((i + 1) / NUM_TIMESTEPS) / level(i / NUM_TIMESTEPS), 0.999) for i in steps]
    return torch.cumprod(1.0 - torch.tensor(betas, dtype=torch.float64), dim=0).float()


ALPHA_BARS = make_alpha_bars()


def add_noise(codes: Tensor, noise: Tensor, timestep: Int[Tensor, "b"]) -> Tensor:
    """Codes at a timestep, for each block of a batch its own."""
    signal, rest = _levels(codes, timestep)
    return signal * codes + rest * noise


def make_velocity(codes: Tensor, noise: Tensor, timestep: Int[Tensor, "b"]) -> Tensor:
    """The v that the denoiser learns (Salimans and Ho, appendix D)."""
    signal, rest = _levels(codes, timestep)
    return signal * noise - rest * codes


def noise_from_velocity(velocity: Tensor, noisy: Tensor, timestep: Int[Tensor, "b"]) -> Tensor:
    """The noise in noisy codes, by the predicted v."""
    signal, rest = _levels(noisy, timestep)
    return signal * velocity + rest * noisy


def snr_weight(timestep: Int[Tensor, "b"], *, limit: float = 5.0) -> Float[Tensor, "b"]:
    """Weight of the v-loss that clips the signal-to-noise ratio (Hang et al., min-SNR-5)."""
    alpha_bar = ALPHA_BARS.to(timestep.device)[timestep]
    ratio = alpha_bar / (1.0 - alpha_bar)
    return ratio.clamp(max=limit) / (ratio + 1.0)


def make_solver(name: SolverName, steps: int) -> Any:
    """A solver of `diffusers` with its timesteps set.

    None of them clips: codes are not bounded.
    """
    solver: Any
    if name == "dpm++":
        with warnings.catch_warnings():
            # diffusers turns tensors into arrays in a way that newer numpy wants to be spelled otherwise.
            warnings.simplefilter("ignore", DeprecationWarning)
            solver = DPMSolverMultistepScheduler(**_PREDICTS_V, algorithm_type="dpmsolver++", solver_order=2)
            solver.set_timesteps(steps)
        return solver
    if name == "ddim":
        solver = DDIMScheduler(**_PREDICTS_V, clip_sample=False, set_alpha_to_one=True)
    else:
        solver = DDPMScheduler(**_PREDICTS_V, clip_sample=False)
    solver.set_timesteps(steps)
    return solver


def make_repaint_solver(steps: int, jump_length: int, jump_samples: int) -> Any:
    """The solver of the published extrapolation (RePaint); it wants the noise, not v."""
    solver = RePaintScheduler(**_COMMON, eta=1.0, clip_sample=False)
    solver.set_timesteps(steps, jump_length, jump_samples)
    return solver


def count_repaint(steps: int, jump_length: int, jump_samples: int) -> tuple[int, int]:
    """Entries of the schedule of `make_repaint_solver`, and how many of them evaluate the network."""
    timesteps = make_repaint_solver(steps, jump_length, jump_samples).timesteps.tolist()
    before = [NUM_TIMESTEPS + 1, *timesteps[:-1]]
    return len(timesteps), sum(now < last for now, last in zip(timesteps, before, strict=True))


def _levels(like: Tensor, timestep: Int[Tensor, "b"]) -> tuple[Tensor, Tensor]:
    alpha_bar = ALPHA_BARS.to(like)[timestep].reshape(-1, *[1] * (like.dim() - 1))
    return alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()
