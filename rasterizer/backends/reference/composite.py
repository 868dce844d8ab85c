"""Owns front-to-back blending of a stack of splats over a block of pixels, the step both blend paths share."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rasterizer.constants import ALPHA_MIN, MEDIAN_T, T_MIN

SIGMA_MAX = 40.0
"""Far beyond where any splat shows. Past it exp gives denormal numbers, and those are ten times slower."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """One camera's visible splats, nearest first. The last row is empty: padding points at it."""

    means2d: Float[Tensor, "m 2"]
    conics: Float[Tensor, "m 3"]
    colors: Float[Tensor, "m d"]
    opacities: Float[Tensor, "m"]
    depths: Float[Tensor, "m"]
    rows: Int64[Tensor, "m"]
    """Row of each among the camera's n Gaussians; n for the empty one."""


@dataclass(frozen=True, slots=True, eq=False)
class Ray:
    """Where each pixel of a block stands on its way from front to back."""

    transmittance: Float[Tensor, "b p"]
    alive: Bool[Tensor, "b p"]
    """False once the pixel has stopped, and for pixels that lie outside the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Gain:
    """What one stretch of splats added to a block of pixels."""

    colors: Float[Tensor, "b p d"]
    weight_sum: Float[Tensor, "b k"]
    weight_max: Float[Tensor, "b k"]
    median_depth: Float[Tensor, "b p"]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """What a blend is asked for."""

    alpha_max: float
    absgrad_sum: Float[Tensor, "n1 2"] | None
    """Gathers |dL/dmean2d| by row during backward, when wanted; the last is that of the empty splat."""


def composite(
    stack: Stack, ids: Int64[Tensor, "b k"], pixels: Float[Tensor, "b p 2"], ray: Ray, rule: Rule
) -> tuple[Gain, Ray]:
    """Blends splats `ids` (front to back along k) over the pixels, starting from `ray`.

    The depth axis is the last in memory: torch's derivative of a cumulative product along another is slower by
    an order of magnitude.
    """
    alpha = _alphas(stack, ids, pixels, rule)  # [b, p, k]
    after = ray.transmittance[..., None] * torch.cumprod(1 - alpha, dim=2)
    before = torch.cat([ray.transmittance[..., None], after[..., :-1]], dim=2)
    # Transmittance only falls, so that "stop at the first that would bring it to T_MIN" is a comparison.
    kept = ray.alive[..., None] & (after > T_MIN)
    weights = torch.where(kept, alpha * before, 0)
    last_kept = kept.sum(dim=2, keepdim=True)
    steps = torch.cat([ray.transmittance[..., None], after], dim=2)
    gain = Gain(
        colors=weights @ stack.colors[ids],
        weight_sum=weights.detach().sum(dim=1),
        weight_max=weights.detach().amax(dim=1),
        median_depth=_median_depth(stack.depths[ids], before, after, kept),
    )
    return gain, Ray(steps.gather(2, last_kept)[..., 0], ray.alive & (after[..., -1] > T_MIN))


def _alphas(
    stack: Stack, ids: Int64[Tensor, "b k"], pixels: Float[Tensor, "b p 2"], rule: Rule
) -> Float[Tensor, "b p k"]:
    means2d, conics = stack.means2d[ids], stack.conics[ids]
    delta_x = means2d[:, None, :, 0] - pixels[:, :, None, 0]  # [b, p, k]
    delta_y = means2d[:, None, :, 1] - pixels[:, :, None, 1]
    if rule.absgrad_sum is not None and delta_x.requires_grad:
        _record_absolute(delta_x, stack.rows[ids], rule.absgrad_sum[:, 0])
        _record_absolute(delta_y, stack.rows[ids], rule.absgrad_sum[:, 1])
    xx, xy, yy = conics[:, None].unbind(dim=3)
    sigma = 0.5 * (xx * delta_x * delta_x + yy * delta_y * delta_y) + xy * delta_x * delta_y
    # Clamped before exp: where rounding makes sigma very negative, infinity times the mask's zero would be NaN.
    alpha = (stack.opacities[ids][:, None] * torch.exp(-sigma.clamp(0, SIGMA_MAX))).clamp(max=rule.alpha_max)
    return torch.where((sigma >= 0) & (alpha >= ALPHA_MIN), alpha, 0)


def _record_absolute(delta: Float[Tensor, "b p k"], rows: Int64[Tensor, "b k"], total: Float[Tensor, "n1"]) -> None:
    def add(gradient: Tensor) -> None:
        total.index_put_((rows,), gradient.detach().abs().sum(dim=1), accumulate=True)

    delta.register_hook(add)  # type: ignore[no-untyped-call]


@torch.no_grad()
def _median_depth(
    depths: Float[Tensor, "b k"],
    before: Float[Tensor, "b p k"],
    after: Float[Tensor, "b p k"],
    kept: Bool[Tensor, "b p k"],
) -> Float[Tensor, "b p"]:
    crossing = kept & (before > MEDIAN_T) & (after <= MEDIAN_T)  # true at one place at most
    return torch.where(crossing, depths[:, None], 0).sum(dim=2)
