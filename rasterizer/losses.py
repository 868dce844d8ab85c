"""Owns the public photometric losses."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rasterizer.errors import RasterizerError
from rasterizer.selection import choose_backend


def l1_ssim(
    rendered: Float[Tensor, "h w 3"],
    target: Float[Tensor, "h w 3"],
    *,
    ssim_weight: float = 0.2,
    mask: Bool[Tensor, "h w"] | None = None,
    backend: str | None = None,
) -> Float[Tensor, ""]:
    """The loss of Gaussian splatting (Kerbl et al. 2023, eq. 7): (1 - w) mean |difference| + w (1 - SSIM).

    SSIM uses an 11 x 11 Gaussian window of sigma 1.5 and zeros beyond the border, for images in 0..1. With a mask,
    pixels outside it are made equal in both images beforehand, and both means run over the pixels inside; where the
    mask is empty the loss is zero.

    Args:
        rendered: The image that gets the gradient.
        target: The photograph; without gradient.
        ssim_weight: w, 0 to 1.
        mask: True = use this pixel.
        backend: Name of a backend; by itself the fastest that can do it.

    Returns:
        A scalar, differentiable in `rendered`.

    Raises:
        RasterizerError: A shape, dtype or device does not fit, or the weight is outside 0..1.
        BackendUnavailable: The backend asked for cannot run here.
    """
    _check_images(rendered, target, mask)
    if not 0 <= ssim_weight <= 1:
        raise RasterizerError(f"ssim_weight is {ssim_weight}; expected 0 to 1")
    chosen = choose_backend(backend, device=rendered.device, dtype=rendered.dtype)
    return chosen.l1_ssim(rendered, target.detach(), ssim_weight, mask)


def ssim(
    first: Float[Tensor, "h w 3"],
    second: Float[Tensor, "h w 3"],
    *,
    mask: Bool[Tensor, "h w"] | None = None,
    backend: str | None = None,
) -> Float[Tensor, ""]:
    """Mean structural similarity of two images in 0..1, as in `l1_ssim`; 1 for equal images."""
    return 1 - l1_ssim(first, second, ssim_weight=1.0, mask=mask, backend=backend)


def _check_images(rendered: Tensor, target: Tensor, mask: Tensor | None) -> None:
    if rendered.ndim != 3 or rendered.shape[2] != 3 or rendered.numel() == 0:
        raise RasterizerError(f"rendered has shape {list(rendered.shape)}; expected [h, w, 3] with at least one pixel")
    if target.shape != rendered.shape:
        raise RasterizerError(f"target has shape {list(target.shape)} but rendered has {list(rendered.shape)}")
    if rendered.dtype not in (torch.float32, torch.float64) or target.dtype != rendered.dtype:
        raise RasterizerError(f"rendered is {rendered.dtype}, target {target.dtype}; expected both float32 or float64")
    if mask is not None and (mask.shape != rendered.shape[:2] or mask.dtype != torch.bool):
        raise RasterizerError(
            f"mask is {mask.dtype} of shape {list(mask.shape)}; expected bool of {list(rendered.shape[:2])}"
        )
    for name, tensor in (("target", target), ("mask", mask)):
        if tensor is not None and tensor.device != rendered.device:
            raise RasterizerError(f"{name} is on {tensor.device} but rendered is on {rendered.device}")
