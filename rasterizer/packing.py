"""Owns the two layouts between projection and blending: [c, n], or one row per visible (camera, Gaussian)."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from rasterizer.types import Blended, Meta


@dataclass(frozen=True, slots=True, eq=False)
class Splats:
    """What is blended. In the packed layout each camera has its own, with c = 1."""

    means2d: Float[Tensor, "c n 2"]
    conics: Float[Tensor, "c n 3"]
    colors: Float[Tensor, "c n d"]
    opacities: Float[Tensor, "c n"]
    depths: Float[Tensor, "c n"]
    radii: Int32[Tensor, "c n 2"]
    backgrounds: Float[Tensor, "c d"] | None


BlendSplats = Callable[[Splats], Blended]
"""Blends splats by some backend as some request wants it."""


def render_dense(splats: Splats, blend: BlendSplats) -> tuple[Blended, Meta]:
    """Blends all cameras at once, the culled Gaussians among the others."""
    meta: Meta = {
        "batch_ids": None,
        "camera_ids": None,
        "gaussian_ids": None,
        "radii": splats.radii,
        "means2d": splats.means2d,
        "depths": splats.depths,
        "conics": splats.conics,
        "opacities": splats.opacities,
    }
    return blend(splats), meta


def render_packed(splats: Splats, blend: BlendSplats, *, absgrad: bool) -> tuple[Blended, Meta]:
    """Keeps the visible (camera, Gaussian) rows only and blends camera by camera.

    `means2d` of the meta is what the images were made of: its gradient and, on request, `absgrad` arrive there.
    """
    camera_ids, gaussian_ids = (splats.radii > 0).all(dim=-1).nonzero(as_tuple=True)
    rows = (camera_ids, gaussian_ids)
    meta: Meta = {
        "batch_ids": torch.zeros_like(camera_ids),
        "camera_ids": camera_ids,
        "gaussian_ids": gaussian_ids,
        "radii": splats.radii[rows],
        "means2d": splats.means2d[rows],
        "depths": splats.depths[rows],
        "conics": splats.conics[rows],
        "opacities": splats.opacities[rows],
    }
    colors = splats.colors[rows]
    counts = torch.bincount(camera_ids, minlength=splats.radii.shape[0]).tolist()
    parts, start = [], 0
    for i, count in enumerate(counts):
        one = slice(start, start + count)
        layer = Splats(
            means2d=meta["means2d"][None, one],
            conics=meta["conics"][None, one],
            colors=colors[None, one],
            opacities=meta["opacities"][None, one],
            depths=meta["depths"][None, one],
            radii=meta["radii"][None, one],
            backgrounds=None if splats.backgrounds is None else splats.backgrounds[i : i + 1],
        )
        blended = blend(layer)
        parts.append(_relay_absgrad(blended, layer.means2d, meta["means2d"], one) if absgrad else blended)
        start += count
    return _join(parts, rows, splats.depths), meta


def _relay_absgrad(blended: Blended, part: Float[Tensor, "1 n 2"], whole: Float[Tensor, "r 2"], one: slice) -> Blended:
    """Has the absolute gradients that backward hangs on one camera's rows copied to the whole."""
    if not part.requires_grad:
        return blended
    # Weakly: both tensors own the hook through their graph, and a cycle through it would never be freed.
    whole_ref, part_ref = weakref.ref(whole), weakref.ref(part)

    def copy_absgrad(_: Tensor) -> None:
        whole, part = whole_ref(), part_ref()
        if whole is None or part is None:
            return
        if not hasattr(whole, "absgrad"):
            whole.absgrad = torch.zeros_like(whole)  # type: ignore[attr-defined]
        whole.absgrad[one] = part.absgrad[0]  # type: ignore[attr-defined]

    part.register_hook(copy_absgrad)  # type: ignore[no-untyped-call]
    colors, alphas = _KeepAlive.apply([part], blended.colors, blended.alphas)  # type: ignore[no-untyped-call]
    return replace(blended, colors=colors, alphas=alphas)


class _KeepAlive(torch.autograd.Function):
    """Hands images on. Downstream of a tensor, it keeps that alive until the gradient has passed there."""

    @staticmethod
    def forward(ctx: Any, kept: list[Tensor], colors: Tensor, alphas: Tensor) -> tuple[Tensor, Tensor]:
        ctx.kept = kept
        ctx.set_materialize_grads(False)
        return colors.view_as(colors), alphas.view_as(alphas)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *gradients


def _join(
    parts: list[Blended], rows: tuple[Int64[Tensor, "r"], Int64[Tensor, "r"]], like: Float[Tensor, "c n"]
) -> Blended:
    """Stacks the cameras and puts the weights of their rows back in their places among all Gaussians."""

    def spread(pieces: list[Tensor | None]) -> Tensor | None:
        present = [piece[0] for piece in pieces if piece is not None]
        if not present:
            return None
        return torch.zeros_like(like, requires_grad=False).index_put(rows, torch.cat(present))

    medians = [part.median_depth for part in parts if part.median_depth is not None]
    return Blended(
        colors=torch.cat([part.colors for part in parts]),
        alphas=torch.cat([part.alphas for part in parts]),
        weight_sum=spread([part.weight_sum for part in parts]),
        weight_max=spread([part.weight_max for part in parts]),
        median_depth=torch.cat(medians) if medians else None,
    )
