"""Owns the adapter to gsplat (CUDA): our request in its arguments, its answer in our meta.

The mapping of arguments is tested against a stand-in for the package. The adapter itself has never run on a GPU:
treat its first use there as a trial, and compare with the reference backend.
"""

from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rasterizer.backends.reference.ssim import l1_ssim
from rasterizer.errors import RasterizerError, Unsupported
from rasterizer.request import RenderRequest
from rasterizer.types import Meta


class GsplatBackend:
    """Renders by `gsplat.rasterization`.

    Differences from the other backends: alpha is clamped at 0.999 by gsplat 1.5.3 (0.99 elsewhere); gradients are
    summed by atomics and differ in the last bits from run to run; no median depth and no largest weight.

    Args:
        module: The imported package, its extension loaded.
        device_type: Kind of device it takes tensors on.
    """

    name = "gsplat"

    def __init__(self, module: ModuleType, *, device_type: str = "cuda") -> None:
        self._module = module
        self._device_type = device_type

    def rasterize(
        self, request: RenderRequest
    ) -> tuple[Float[Tensor, "c h w channels"], Float[Tensor, "c h w 1"], Meta]:
        """Renders one request; see `rasterization`."""
        self._check(request)
        request = cull_unsound(request)
        colors, alphas, meta = self._module.rasterization(**_arguments(request))
        meta["backend"] = self.name
        if request.weights:
            meta["weight_sum"] = self._weight_sum(request)
        return colors, alphas, meta

    def l1_ssim(
        self,
        rendered: Float[Tensor, "h w 3"],
        target: Float[Tensor, "h w 3"],
        ssim_weight: float,
        mask: Bool[Tensor, "h w"] | None,
    ) -> Float[Tensor, ""]:
        """gsplat has no such loss; torch's convolutions do it, on the GPU."""
        return l1_ssim(rendered, target, ssim_weight, mask)

    def _check(self, request: RenderRequest) -> None:
        if request.means.dtype != torch.float32:
            raise Unsupported(f"{request.means.dtype}", backend=self.name, remedy="give torch.float32")
        if request.means.device.type != self._device_type:
            raise RasterizerError(
                f"backend 'gsplat' needs tensors on '{self._device_type}'; means is on '{request.means.device}'"
            )
        if request.weights is True:
            raise Unsupported(
                "weights=True (it lacks weight_max)", backend=self.name, remedy="weights='sum' gives weight_sum alone"
            )
        if request.median_depth:
            raise Unsupported("median_depth=True", backend=self.name, remedy="render_mode='ED' gives expected depth")

    @torch.enable_grad()
    def _weight_sum(self, request: RenderRequest) -> Float[Tensor, "c n"]:
        """The gradient of the image's sum in an all-ones colour: each Gaussian's alpha times transmittance."""
        ones = request.means.new_ones((request.num_cameras, request.num_gaussians, 1)).requires_grad_()
        fixed = {
            name: value.detach() if isinstance(value, Tensor) else value for name, value in _arguments(request).items()
        }
        fixed |= {"colors": ones, "sh_degree": None, "backgrounds": None, "render_mode": "RGB", "absgrad": False}
        image, _, _ = self._module.rasterization(**fixed)
        (gradient,) = torch.autograd.grad(image.sum(), ones)
        return gradient[..., 0]


def cull_unsound(request: RenderRequest) -> RenderRequest:
    """Makes every Gaussian with a value that is not finite, or without a direction, an invisible one.

    gsplat lets NaN through; here such a row neither shows nor gets or gives a gradient.
    """
    colors = request.colors.detach()
    given = 1 if request.sh_degree is None else 2  # trailing dimensions of one Gaussian's colour
    if colors.ndim - given == 2:
        colors = colors.transpose(0, 1)
    rows = [request.means, request.quats, request.scales, request.opacities[:, None], colors.flatten(start_dim=1)]
    norm2 = (request.quats.detach() ** 2).sum(dim=1)
    sound = torch.cat([row.detach() for row in rows], dim=1).isfinite().all(dim=1) & (norm2 > 0) & norm2.isfinite()
    upright = request.quats.new_tensor([1.0, 0.0, 0.0, 0.0])
    return replace(
        request,
        means=torch.where(sound[:, None], request.means, 0),
        quats=torch.where(sound[:, None], request.quats, upright),
        scales=torch.where(sound[:, None], request.scales, 1),
        opacities=torch.where(sound, request.opacities, 0),
        colors=torch.where(sound.reshape(-1, *[1] * given), request.colors, 0),
    )


def _arguments(request: RenderRequest) -> dict[str, Any]:
    """The request under gsplat's names."""
    names = (
        "means quats scales opacities colors viewmats Ks width height near_plane far_plane radius_clip eps2d sh_degree"
        " packed tile_size backgrounds render_mode absgrad rasterize_mode channel_chunk"
    )
    return {name: getattr(request, name) for name in names.split()}
