"""Owns the Adam step on rows of Gaussians: a plain form for any device, and the CPU library's."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rasterizer.selection import choose_backend
from rasterizer.types import RowAdamColumns

MAX_CORRECTED_STEPS = 16_384
"""Bias corrections beyond this count differ from 1 by less than float32 shows (0.999^16384 = 8e-8)."""


def make_row_adam_columns(
    rates: Sequence[float],
    decays: Sequence[float] | None = None,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-15,
    device: torch.device | str = "cpu",
) -> RowAdamColumns:
    """Constants of one step: one rate, and one decay, per column of a flattened row."""
    corrections1, corrections2 = _corrections(beta1, beta2)
    return RowAdamColumns(
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        rates=torch.tensor(rates, dtype=torch.float32, device=device),
        decays=torch.tensor(decays or [0.0] * len(rates), dtype=torch.float32, device=device),
        corrections1=corrections1.to(device),
        corrections2=corrections2.to(device),
    )


@torch.no_grad()
def row_adam_step(
    params: Float[Tensor, "n *rest"],
    grads: Float[Tensor, "n *rest"],
    exp_avg: Float[Tensor, "n *rest"],
    exp_avg_sq: Float[Tensor, "n *rest"],
    *,
    columns: RowAdamColumns,
    row_steps: Float[Tensor, "n"],
    rows: Bool[Tensor, "n"],
    backend: str | None = None,
) -> None:
    """One step of Adam (Kingma & Ba 2015) in place on some rows; the others keep their values and moments.

    The bias correction counts the steps of each row: with one count for all, a row stepped for the first time late in
    a run would jump by three times its step size.

    Args:
        params: What is optimised.
        grads: Gradient of the loss; not changed.
        exp_avg: Running mean of the gradient, zeros before a row's first step.
        exp_avg_sq: Running mean of its square, likewise.
        columns: Constants, step sizes and decays.
        row_steps: How often each row was stepped, this step included.
        rows: Rows that take the step.
        backend: `cpu` or `reference`; by itself the fastest that can do it.

    Raises:
        RasterizerError: A tensor has another shape, is not contiguous, or not float32 where that is needed.
    """
    chosen = choose_backend(backend, device=params.device, dtype=params.dtype)
    if chosen.name == "cpu":
        from rasterizer.backends.cpu.ops import row_adam_step as fast_step

        fast_step(params, grads, exp_avg, exp_avg_sq, columns=columns, row_steps=row_steps, rows=rows)
        return
    reference_row_adam_step(params, grads, exp_avg, exp_avg_sq, columns=columns, row_steps=row_steps, rows=rows)


@torch.no_grad()
def reference_row_adam_step(
    params: Float[Tensor, "n *rest"],
    grads: Float[Tensor, "n *rest"],
    exp_avg: Float[Tensor, "n *rest"],
    exp_avg_sq: Float[Tensor, "n *rest"],
    *,
    columns: RowAdamColumns,
    row_steps: Float[Tensor, "n"],
    rows: Bool[Tensor, "n"],
) -> None:
    """The plain form of `row_adam_step`, for any device and dtype: the twin that the fast one is tested against."""
    index = rows.nonzero()[:, 0]
    shape = (len(index), *params.shape[1:])
    grad, first, second, value = (t[index].reshape(len(index), -1) for t in (grads, exp_avg, exp_avg_sq, params))
    first = columns.beta1 * first + (1 - columns.beta1) * grad
    second = columns.beta2 * second + (1 - columns.beta2) * grad * grad
    steps = row_steps[index].long().clamp_max(len(columns.corrections1) - 1)
    correction1, correction2 = columns.corrections1[steps, None], columns.corrections2[steps, None]
    value = value * (1 - columns.rates * columns.decays)
    value = value - columns.rates * (first * correction1) / (second.sqrt() * correction2 + columns.epsilon)
    params[index] = value.reshape(shape)
    exp_avg[index] = first.reshape(shape)
    exp_avg_sq[index] = second.reshape(shape)


@lru_cache(maxsize=4)
def _corrections(beta1: float, beta2: float) -> tuple[Tensor, Tensor]:
    steps = torch.arange(MAX_CORRECTED_STEPS, dtype=torch.float64).clamp_min(1)
    return (1 / (1 - beta1**steps)).float(), (1 / (1 - beta2**steps).sqrt()).float()
