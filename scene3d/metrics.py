"""Owns image quality figures: PSNR, SSIM, and the colour correction that separates colour from structure."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW = 11
SSIM_SIGMA_PX = 1.5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
CORRECTION_ROUNDS = 5
SATURATION_MARGIN = 0.5 / 255
"""Values this near to 0 or 1 are clipped by the camera and say nothing about its colour response."""
MAX_PSNR_DB = 100.0
"""What equal images get instead of infinity, which JSON does not know."""

_RELATIVE_RANK_TOLERANCE = 1e-12


def psnr_db(
    image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"], mask: Bool[Tensor, "h w"] | None = None
) -> float:
    """Peak signal-to-noise ratio over the masked-in pixels, at most `MAX_PSNR_DB`; NaN for an empty mask."""
    squared = (image.double() - target.double()).square()
    error = float((squared if mask is None else squared[mask]).mean())
    if math.isnan(error):
        return error
    return min(MAX_PSNR_DB, -10 * math.log10(error)) if error else MAX_PSNR_DB


def ssim(
    image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"], mask: Bool[Tensor, "h w"] | None = None
) -> float:
    """Mean structural similarity as 3DGS measures it: Gaussian window of 11 pixels, sigma 1.5, zero padding.

    Masked-out pixels of `image` are taken from `target`, so that they do not disturb their neighbours, and the mean
    is over the masked-in pixels; NaN for an empty mask.
    """
    image = image if mask is None else torch.where(mask[:, :, None], image, target)
    similarity = ssim_map(image, target)
    return float((similarity if mask is None else similarity[mask]).double().mean())


def ssim_map(image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    """Structural similarity around each pixel, channel by channel (Wang et al. 2004, eq. 13)."""
    x, y = image.permute(2, 0, 1), target.permute(2, 0, 1)
    mean_x, mean_y, xx, yy, xy = _window_means(torch.stack([x, y, x * x, y * y, x * y]))
    variance_x, variance_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_x + variance_y + SSIM_C2)
    similarity: Tensor = luminance * structure
    return similarity.permute(1, 2, 0)


def color_correct(
    image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"], mask: Bool[Tensor, "h w"] | None = None
) -> Float[Tensor, "h w 3"]:
    """The image after the quadratic colour map that brings it closest to the target; clamped to 0..1.

    The protocol of published large-scene figures: five rounds of least squares on r2 rg rb g2 gb b2 r g b 1, each on
    the outcome of the one before, without saturated and masked-out pixels. It hides exposure differences, so its
    figures must never stand alone.
    """
    pixels, wanted = image.double().reshape(-1, 3), target.double().reshape(-1, 3)
    usable = _unsaturated(wanted)
    if mask is not None:
        usable = usable & mask.reshape(-1, 1)
    for _ in range(CORRECTION_ROUNDS):
        features = _quadratic_features(pixels)
        chosen = usable & _unsaturated(pixels)
        columns = [_fit(features, wanted[:, c], chosen[:, c], fallback=pixels[:, c]) for c in range(3)]
        pixels = torch.stack(columns, dim=1).clamp(0, 1)
    return pixels.reshape(image.shape).to(image.dtype)


def _window_means(channels: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 3 h w"]:
    offsets = torch.arange(SSIM_WINDOW, dtype=channels.dtype, device=channels.device) - SSIM_WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    weights = weights / weights.sum()
    height, width = channels.shape[-2:]
    planes = channels.reshape(-1, 1, height, width)
    rows = functional.conv2d(planes, weights.reshape(1, 1, 1, -1), padding=(0, SSIM_WINDOW // 2))
    means = functional.conv2d(rows, weights.reshape(1, 1, -1, 1), padding=(SSIM_WINDOW // 2, 0))
    return means.reshape(channels.shape)


def _unsaturated(values: Float[Tensor, "p 3"]) -> Bool[Tensor, "p 3"]:
    return (values >= SATURATION_MARGIN) & (values <= 1 - SATURATION_MARGIN)


def _quadratic_features(pixels: Float[Tensor, "p 3"]) -> Float[Tensor, "p 10"]:
    r, g, b = pixels.unbind(dim=1)
    return torch.stack([r * r, r * g, r * b, g * g, g * b, b * b, r, g, b, torch.ones_like(r)], dim=1)


def _fit(
    features: Float[Tensor, "p 10"],
    wanted: Float[Tensor, "p"],
    chosen: Bool[Tensor, "p"],
    *,
    fallback: Float[Tensor, "p"],
) -> Float[Tensor, "p"]:
    """The least-squares prediction of `wanted` from the features; `fallback` where no pixel may be used.

    By the normal equations in double: ten unknowns, so that the memory stays that of the features. A flat image makes
    them singular; the smallest solution is taken then.
    """
    if not bool(chosen.any()):
        return fallback
    rows = features[chosen]
    matrix, right = (rows.T @ rows).cpu().numpy(), (rows.T @ wanted[chosen]).cpu().numpy()
    weights = np.linalg.lstsq(matrix, right, rcond=_RELATIVE_RANK_TOLERANCE)[0]
    return features @ torch.from_numpy(weights).to(features)
