"""Owns how a rasterizer is made of a backend's operations: colours, depth channels, layout, chunks, meta."""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from rasterizer.constants import DEPTH_ALPHA_MIN
from rasterizer.errors import Unsupported
from rasterizer.packing import Splats, render_dense, render_packed
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

    def rasterize(
        self, request: RenderRequest
    ) -> tuple[Float[Tensor, "c h w channels"], Float[Tensor, "c h w 1"], Meta]:
        """Renders one request; see `rasterization`."""
        splats = _make_splats(self.ops, request)
        blend = partial(_blend, self.ops, request)
        if request.packed:
            blended, meta = render_packed(splats, blend, absgrad=request.absgrad)
        else:
            blended, meta = render_dense(splats, blend)
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


def _make_splats(ops: Ops, request: RenderRequest) -> Splats:
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
    return Splats(
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


def _blend(ops: Ops, request: RenderRequest, splats: Splats) -> Blended:
    channels, chunk = splats.colors.shape[-1], request.channel_chunk
    if channels <= chunk:
        return _blend_chunk(ops, request, splats, first=True)
    if request.absgrad:
        raise Unsupported(
            f"absgrad with {channels} channels in chunks of {chunk}",
            backend=ops.name,
            remedy="the sum of absolute values needs one pass; raise channel_chunk or render fewer channels",
        )
    parts = [
        _blend_chunk(ops, request, _take_channels(splats, slice(start, start + chunk)), first=start == 0)
        for start in range(0, channels, chunk)
    ]
    return replace(parts[0], colors=torch.cat([part.colors for part in parts], dim=-1))


def _take_channels(splats: Splats, channels: slice) -> Splats:
    backgrounds = None if splats.backgrounds is None else splats.backgrounds[:, channels]
    return replace(splats, colors=splats.colors[..., channels], backgrounds=backgrounds)


def _blend_chunk(ops: Ops, request: RenderRequest, splats: Splats, *, first: bool) -> Blended:
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


def _normalise_depth(blended: Blended, request: RenderRequest) -> Float[Tensor, "c h w d"]:
    """Turns accumulated depth into expected depth where that is asked for."""
    if not request.render_mode.endswith("ED"):
        return blended.colors
    depth = blended.colors[..., -1:] / blended.alphas.clamp(min=DEPTH_ALPHA_MIN)
    return torch.cat([blended.colors[..., :-1], depth], dim=-1)
