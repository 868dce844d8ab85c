"""Owns how a rasterizer is made of a backend's operations: colours, depth channels, layout, chunks, meta."""

import math
import weakref
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from rasterizer.constants import DEPTH_ALPHA_MIN
from rasterizer.errors import Unsupported
from rasterizer.request import RenderRequest
from rasterizer.types import Blended, Meta, Ops, Projected


@dataclass(frozen=True, slots=True, eq=False)
class OpsBackend:
    """A backend made of three operations and a loss.

    Args:
        ops: What does the work.
    """

    ops: Ops

    @property
    def name(self) -> str:
        """The name of the operations."""
        return self.ops.name

    def rasterize(self, request: RenderRequest) -> tuple[Float[Tensor, "c h w d"], Float[Tensor, "c h w 1"], Meta]:
        """Renders one request; see `rasterization`."""
        splats = _make_splats(self.ops, request)
        blended, meta = (_render_packed if request.packed else _render_dense)(self.ops, splats, request)
        meta |= describe_image(request, self.name)
        if request.weights:
            meta["weight_sum"] = blended.weight_sum
        if request.weights is True:
            meta["weight_max"] = blended.weight_max
        if request.median_depth:
            meta["median_depth"] = blended.median_depth
        return _normalise_depth(blended, request), blended.alphas, meta

    def l1_ssim(
        self,
        rendered: Float[Tensor, "h w 3"],
        target: Float[Tensor, "h w 3"],
        ssim_weight: float,
        mask: Bool[Tensor, "h w"] | None,
    ) -> Float[Tensor, ""]:
        """See `Ops.l1_ssim`."""
        return self.ops.l1_ssim(rendered, target, ssim_weight, mask)


def describe_image(request: RenderRequest, backend: str) -> Meta:
    """The part of meta that only repeats the request."""
    return {
        "width": request.width,
        "height": request.height,
        "tile_size": request.tile_size,
        "tile_width": math.ceil(request.width / request.tile_size),
        "tile_height": math.ceil(request.height / request.tile_size),
        "n_batches": 1,
        "n_cameras": request.num_cameras,
        "backend": backend,
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Splats:
    """What is blended. In the packed layout each camera has its own, with c = 1."""

    means2d: Float[Tensor, "c n 2"]
    conics: Float[Tensor, "c n 3"]
    colors: Float[Tensor, "c n d"]
    opacities: Float[Tensor, "c n"]
    depths: Float[Tensor, "c n"]
    radii: Int32[Tensor, "c n 2"]
    backgrounds: Float[Tensor, "c d"] | None


def _make_splats(ops: Ops, request: RenderRequest) -> _Splats:
    projected = ops.project(
        request.means,
        request.quats,
        request.scales,
        request.opacities.detach(),
        request.viewmats,
        request.Ks,
        request.width,
        request.height,
        near_plane=request.near_plane,
        far_plane=request.far_plane,
        eps2d=request.eps2d,
        radius_clip=request.radius_clip,
    )
    colors, radii = _make_colors(ops, projected, request)
    opacities = request.opacities.expand(request.num_cameras, -1)
    if request.rasterize_mode == "antialiased":
        visible = (radii > 0).all(dim=-1)
        opacities = torch.where(visible, opacities, 0) * projected.compensations
    return _Splats(
        means2d=projected.means2d,
        conics=projected.conics,
        colors=colors,
        opacities=opacities,
        depths=projected.depths,
        radii=radii,
        backgrounds=_make_backgrounds(request),
    )


def _make_colors(
    ops: Ops, projected: Projected, request: RenderRequest
) -> tuple[Float[Tensor, "c n d"], Int32[Tensor, "c n 2"]]:
    depths = projected.depths[..., None]
    if not request.has_color:
        return depths, projected.radii
    colors = _shade(ops, projected.radii, request)
    finite = colors.detach().isfinite().all(dim=-1)
    radii = projected.radii
    if not bool(finite.all()):
        # Projection does not see colours; a Gaussian whose colour is not a number is culled here.
        radii = radii * finite[..., None]
        colors = torch.where(finite[..., None], colors, 0)
    return (torch.cat([colors, depths], dim=-1) if request.has_depth else colors), radii


def _shade(ops: Ops, radii: Int32[Tensor, "c n 2"], request: RenderRequest) -> Float[Tensor, "c n d"]:
    colors = request.colors
    if request.sh_degree is None:
        return colors if colors.ndim == 3 else colors.expand(request.num_cameras, -1, -1)
    if colors.ndim == 3:
        return ops.shade(request.sh_degree, request.means, colors, request.viewmats, radii)
    shaded = [
        ops.shade(request.sh_degree, request.means, colors[i], request.viewmats[i : i + 1], radii[i : i + 1])
        for i in range(request.num_cameras)
    ]
    return torch.cat(shaded)


def _make_backgrounds(request: RenderRequest) -> Float[Tensor, "c d"] | None:
    """Behind the depth channel lies nothing, as in gsplat."""
    if request.backgrounds is None or not request.has_color:
        return None
    return torch.nn.functional.pad(request.backgrounds, (0, 1)) if request.has_depth else request.backgrounds


def _render_dense(ops: Ops, splats: _Splats, request: RenderRequest) -> tuple[Blended, Meta]:
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
    return _blend(ops, splats, request), meta


def _render_packed(ops: Ops, splats: _Splats, request: RenderRequest) -> tuple[Blended, Meta]:
    """Keeps the visible (camera, Gaussian) rows only; `means2d` of the meta is what the images were made of."""
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
    counts = torch.bincount(camera_ids, minlength=request.num_cameras).tolist()
    parts, start = [], 0
    for i, count in enumerate(counts):
        one = slice(start, start + count)
        layer = _Splats(
            means2d=_slice_means2d(meta["means2d"], one, request.absgrad),
            conics=meta["conics"][None, one],
            colors=colors[None, one],
            opacities=meta["opacities"][None, one],
            depths=meta["depths"][None, one],
            radii=meta["radii"][None, one],
            backgrounds=None if splats.backgrounds is None else splats.backgrounds[i : i + 1],
        )
        parts.append(_blend(ops, layer, request))
        start += count
    return _join(parts, rows, request), meta


def _slice_means2d(means2d: Float[Tensor, "r 2"], one: slice, absgrad: bool) -> Float[Tensor, "1 n 2"]:
    """One camera's rows; the absolute gradients that `blend` hangs on them are copied to the whole.

    The hook only knows both tensors weakly: they own it through their graph, and must not own each other.
    """
    part = means2d[None, one]
    if absgrad and part.requires_grad:
        whole_ref, part_ref = weakref.ref(means2d), weakref.ref(part)

        def copy_absgrad(_: Tensor) -> None:
            whole, part = whole_ref(), part_ref()
            if whole is None or part is None:
                return
            if not hasattr(whole, "absgrad"):
                whole.absgrad = torch.zeros_like(whole)  # type: ignore[attr-defined]
            whole.absgrad[one] = part.absgrad[0]  # type: ignore[attr-defined]

        part.register_hook(copy_absgrad)  # type: ignore[no-untyped-call]
    return part


def _blend(ops: Ops, splats: _Splats, request: RenderRequest) -> Blended:
    channels, chunk = splats.colors.shape[-1], request.channel_chunk
    if channels <= chunk:
        return _blend_chunk(ops, splats, request, first=True)
    if request.absgrad:
        raise Unsupported(
            f"absgrad with {channels} channels in chunks of {chunk}",
            backend=ops.name,
            remedy="the sum of absolute values needs one pass; raise channel_chunk or render fewer channels",
        )
    parts = [
        _blend_chunk(ops, _take_channels(splats, slice(start, start + chunk)), request, first=start == 0)
        for start in range(0, channels, chunk)
    ]
    return replace(parts[0], colors=torch.cat([part.colors for part in parts], dim=-1))


def _take_channels(splats: _Splats, channels: slice) -> _Splats:
    backgrounds = None if splats.backgrounds is None else splats.backgrounds[:, channels]
    return replace(splats, colors=splats.colors[..., channels], backgrounds=backgrounds)


def _blend_chunk(ops: Ops, splats: _Splats, request: RenderRequest, *, first: bool) -> Blended:
    """One pass; what does not depend on the channels is only asked of the first."""
    return ops.blend(
        splats.means2d,
        splats.conics,
        splats.colors,
        splats.opacities,
        splats.depths,
        splats.radii,
        request.width,
        request.height,
        backgrounds=splats.backgrounds,
        absgrad=request.absgrad,
        weights=bool(request.weights) and first,
        median_depth=request.median_depth and first,
        tile_size=request.tile_size,
    )


def _join(parts: list[Blended], rows: tuple[Int64[Tensor, "r"], Int64[Tensor, "r"]], request: RenderRequest) -> Blended:
    """Stacks the cameras and puts the weights of their rows back in their places among all Gaussians."""

    def spread(pieces: list[Tensor | None]) -> Tensor | None:
        present = [piece[0] for piece in pieces if piece is not None]
        if not present:
            return None
        everything = present[0].new_zeros((request.num_cameras, request.num_gaussians))
        return everything.index_put(rows, torch.cat(present))

    medians = [part.median_depth for part in parts if part.median_depth is not None]
    return Blended(
        colors=torch.cat([part.colors for part in parts]),
        alphas=torch.cat([part.alphas for part in parts]),
        weight_sum=spread([part.weight_sum for part in parts]),
        weight_max=spread([part.weight_max for part in parts]),
        median_depth=torch.cat(medians) if medians else None,
    )


def _normalise_depth(blended: Blended, request: RenderRequest) -> Float[Tensor, "c h w d"]:
    """Turns accumulated depth into expected depth where that is asked for."""
    if not request.render_mode.endswith("ED"):
        return blended.colors
    depth = blended.colors[..., -1:] / blended.alphas.clamp(min=DEPTH_ALPHA_MIN)
    return torch.cat([blended.colors[..., :-1], depth], dim=-1)
