"""Owns L1 and SSIM of two images by plain convolution."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rasterizer.constants import SSIM_C1, SSIM_C2, SSIM_SIGMA, SSIM_WINDOW


def l1_ssim(
    rendered: Float[Tensor, "h w 3"],
    target: Float[Tensor, "h w 3"],
    ssim_weight: float,
    mask: Bool[Tensor, "h w"] | None,
) -> Float[Tensor, ""]:
    """The photometric loss; see `Ops.l1_ssim`. Zero where the mask leaves no pixel."""
    if mask is None:
        difference, similarity = (rendered - target).abs(), ssim_map(rendered, target)
        return (1 - ssim_weight) * difference.mean() + ssim_weight * (1 - similarity.mean())
    rendered = torch.where(mask[..., None], rendered, target)
    num = mask.sum().clamp_min(1) * rendered.shape[2]
    difference = (rendered - target).abs().sum() / num
    dissimilarity = ((1 - ssim_map(rendered, target)) * mask[..., None]).sum() / num
    return (1 - ssim_weight) * difference + ssim_weight * dissimilarity


def ssim_map(first: Float[Tensor, "h w 3"], second: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    """Structural similarity at each pixel and channel (Wang et al. 2004, eq. 13), zeros beyond the border."""
    x, y = first.permute(2, 0, 1), second.permute(2, 0, 1)
    planes = torch.stack([x, y, x * x, y * y, x * y])  # [5, 3, h, w]
    window = _window(planes)[None, None].expand(3, 1, -1, -1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = torch.nn.functional.conv2d(
        planes, window, padding=SSIM_WINDOW // 2, groups=3
    )
    variance_x, variance_y = mean_xx - mean_x * mean_x, mean_yy - mean_y * mean_y
    covariance = mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x * mean_x + mean_y * mean_y + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_x + variance_y + SSIM_C2)
    similarity: Tensor = luminance * structure
    return similarity.permute(1, 2, 0)


def _window(like: Tensor) -> Float[Tensor, "k k"]:
    offset = torch.arange(SSIM_WINDOW, device=like.device, dtype=like.dtype) - SSIM_WINDOW // 2
    weights = torch.exp(-(offset**2) / (2 * SSIM_SIGMA**2))
    weights = weights / weights.sum()
    return torch.outer(weights, weights)
