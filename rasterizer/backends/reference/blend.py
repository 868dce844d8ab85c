"""Owns the blending of projected Gaussians into images: all pixels by all splats, or tile by tile."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rasterizer.backends.reference.composite import Gain, Ray, Rule, Stack, composite
from rasterizer.backends.reference.tiles import Grid, bin_splats, group_tiles, padded_ids
from rasterizer.types import Blended

Path = Literal["auto", "dense", "tiled"]

DENSE_MAX_CELLS = 1 << 20
"""Below this many splat-pixel pairs, and only there, all of them are computed at once."""

TILED_MAX_CELLS = 1 << 18
"""Most splat-pixel pairs held at once by the tiled path; about 100 bytes each while gradients are computed."""

TILED_MAX_LENGTH = 256
"""A tile's list is walked in stretches of this length; between them, tiles that are full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendTask:
    """What is asked of one blend."""

    width: int
    height: int
    tile_size: int
    absgrad: bool
    weights: bool
    median_depth: bool
    alpha_max: float
    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One camera's result; weights by splat of the stack."""

    colors: Float[Tensor, "h w d"]
    alphas: Float[Tensor, "h w 1"]
    median_depth: Float[Tensor, "h w 1"]
    weight_sum: Float[Tensor, "m"]
    weight_max: Float[Tensor, "m"]


def blend(
    means2d: Float[Tensor, "c n 2"],
    conics: Float[Tensor, "c n 3"],
    colors: Float[Tensor, "c n d"],
    opacities: Float[Tensor, "c n"],
    depths: Float[Tensor, "c n"],
    radii: Int32[Tensor, "c n 2"],
    backgrounds: Float[Tensor, "c d"] | None,
    task: BlendTask,
) -> Blended:
    """Blends every camera; see `Ops.blend`."""
    num_cameras, num_gaussians = means2d.shape[:2]
    absgrad_sum = None
    if task.absgrad and means2d.requires_grad:
        absgrad_sum = means2d.new_zeros((num_cameras, num_gaussians + 1, 2))
        means2d = _PublishAbsgrad.apply(means2d, absgrad_sum)  # type: ignore[no-untyped-call]
    layers, weight_sums, weight_maxima = [], [], []
    for i in range(num_cameras):
        visible = (radii[i] > 0).all(dim=1).nonzero()[:, 0]
        rows = visible[depths[i, visible].detach().argsort(stable=True)]
        stack = _make_stack(rows, means2d[i], conics[i], colors[i], opacities[i], depths[i])
        layer = _blend_one(stack, task, None if absgrad_sum is None else absgrad_sum[i])
        layers.append(layer)
        weight_sums.append(means2d.new_zeros(num_gaussians).index_copy(0, rows, layer.weight_sum[:-1]))
        weight_maxima.append(means2d.new_zeros(num_gaussians).index_copy(0, rows, layer.weight_max[:-1]))
    images = torch.stack([layer.colors for layer in layers])
    alphas = torch.stack([layer.alphas for layer in layers])
    if backgrounds is not None:
        images = images + (1 - alphas) * backgrounds[:, None, None]
    return Blended(
        colors=images,
        alphas=alphas,
        weight_sum=torch.stack(weight_sums) if task.weights else None,
        weight_max=torch.stack(weight_maxima) if task.weights else None,
        median_depth=torch.stack([layer.median_depth for layer in layers]) if task.median_depth else None,
    )


class _PublishAbsgrad(torch.autograd.Function):
    """Passes means2d on, and hangs the gathered absolute gradients on it when its own gradient arrives."""

    @staticmethod
    def forward(ctx: Any, means2d: Tensor, absgrad_sum: Tensor) -> Tensor:
        # Saved, so that backward meets the very tensor the caller holds.
        ctx.save_for_backward(means2d)
        ctx.absgrad_sum = absgrad_sum
        return means2d.view_as(means2d)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (means2d,) = ctx.saved_tensors
        means2d.absgrad = ctx.absgrad_sum[:, :-1].clone()
        ctx.absgrad_sum.zero_()
        return gradient, None


def _make_stack(
    rows: Int64[Tensor, "v"],
    means2d: Float[Tensor, "n 2"],
    conics: Float[Tensor, "n 3"],
    colors: Float[Tensor, "n d"],
    opacities: Float[Tensor, "n"],
    depths: Float[Tensor, "n"],
) -> Stack:
    padding = rows.new_tensor([means2d.shape[0]])
    return Stack(
        means2d=torch.nn.functional.pad(means2d[rows], (0, 0, 0, 1)),
        conics=torch.nn.functional.pad(conics[rows], (0, 0, 0, 1)),
        colors=torch.nn.functional.pad(colors[rows], (0, 0, 0, 1)),
        opacities=torch.nn.functional.pad(opacities[rows], (0, 1)),
        depths=torch.nn.functional.pad(depths[rows].detach(), (0, 1)),
        rows=torch.cat([rows, padding]),
    )


def _blend_one(stack: Stack, task: BlendTask, absgrad_sum: Float[Tensor, "n1 2"] | None) -> _Layer:
    rule = Rule(alpha_max=task.alpha_max, absgrad_sum=absgrad_sum)
    cells = len(stack.opacities) * task.width * task.height
    if task.path == "dense" or (task.path == "auto" and cells <= DENSE_MAX_CELLS):
        return _blend_dense(stack, task, rule)
    return _blend_tiled(stack, task, rule)


def _blend_dense(stack: Stack, task: BlendTask, rule: Rule) -> _Layer:
    """Every splat at every pixel: no tiles, no boxes, nothing to be wrong about but the formula."""
    device = stack.means2d.device
    y, x = torch.meshgrid(
        torch.arange(task.height, device=device), torch.arange(task.width, device=device), indexing="ij"
    )
    pixels = torch.stack([x, y], dim=-1).reshape(1, -1, 2).to(stack.means2d) + 0.5
    ids = torch.arange(len(stack.opacities), device=device)[None]
    start = Ray(pixels.new_ones(pixels.shape[:2]), torch.ones(pixels.shape[:2], dtype=torch.bool, device=device))
    gain, end = composite(stack, ids, pixels, start, rule)
    size = (task.height, task.width, -1)
    return _Layer(
        colors=gain.colors.reshape(size),
        alphas=(1 - end.transmittance).reshape(size),
        median_depth=gain.median_depth.reshape(size),
        weight_sum=gain.weight_sum[0],
        weight_max=gain.weight_max[0],
    )


def _blend_tiled(stack: Stack, task: BlendTask, rule: Rule) -> _Layer:
    """Tiles of similar length together, each group in stretches from front to back, with bounded memory."""
    grid = Grid(task.width, task.height, task.tile_size)
    bins = bin_splats(stack, grid)
    weight_sum, weight_max = torch.zeros_like(stack.depths), torch.zeros_like(stack.depths)
    order, colors, alphas, medians = [], [], [], []
    for tiles, longest in group_tiles(bins, TILED_MAX_CELLS, TILED_MAX_LENGTH, task.tile_size**2):
        pixels = grid.pixels(tiles, stack.means2d)
        ray = Ray(pixels.new_ones(pixels.shape[:2]), grid.inside(pixels))
        gains = []
        for start in range(0, longest, TILED_MAX_LENGTH):
            if start > 0 and not ray.alive.any():
                break
            stop = min(start + TILED_MAX_LENGTH, longest)
            ids = padded_ids(bins, tiles, start, stop, len(stack.depths) - 1)
            gain, ray = _composite_again_later(stack, ids, pixels, ray, rule)
            gains.append(gain)
            weight_sum.index_put_((ids,), gain.weight_sum, accumulate=True)
            weight_max.scatter_reduce_(0, ids.flatten(), gain.weight_max.flatten(), "amax")
        order.append(tiles)
        colors.append(_total([gain.colors for gain in gains]))
        medians.append(_total([gain.median_depth for gain in gains]))
        alphas.append(1 - ray.transmittance)
    place = torch.cat(order)
    return _Layer(
        colors=_to_image(grid, place, torch.cat(colors)),
        alphas=_to_image(grid, place, torch.cat(alphas)[..., None]),
        median_depth=_to_image(grid, place, torch.cat(medians)[..., None]),
        weight_sum=weight_sum,
        weight_max=weight_max,
    )


def _composite_again_later(
    stack: Stack, ids: Int64[Tensor, "b k"], pixels: Float[Tensor, "b p 2"], ray: Ray, rule: Rule
) -> tuple[Gain, Ray]:
    """Keeps nothing per pair for the derivative: backward computes the block again, one block at a time."""
    if not torch.is_grad_enabled():
        return composite(stack, ids, pixels, ray, rule)
    result: tuple[Gain, Ray] = checkpoint(
        composite, stack, ids, pixels, ray, rule, use_reentrant=False, preserve_rng_state=False
    )
    return result


def _total(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)


def _to_image(grid: Grid, place: Int64[Tensor, "b"], tiles: Float[Tensor, "b p d"]) -> Float[Tensor, "h w d"]:
    """Puts the tiles that hold something among those that do not."""
    blank = tiles.new_zeros((grid.rows * grid.columns, *tiles.shape[1:]))
    return grid.to_image(blank.index_copy(0, place, tiles))
