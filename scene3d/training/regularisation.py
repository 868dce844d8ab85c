"""Owns the terms of the loss that need no further rendering: pulls on opacity and size, and coarser images."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.settings import ReconstructSettings

PYRAMID_LEVELS = 3
"""Half, quarter and eighth of the image."""


def regularisation(gaussians: Gaussians, settings: ReconstructSettings, scene_scale: float) -> Float[Tensor, ""]:
    """Pulls on opacity and size; zero unless asked for."""
    weights = settings.loss
    loss = torch.zeros((), device=gaussians.means.device)
    if weights.opacity_weight > 0:
        loss = loss + weights.opacity_weight * gaussians.opacities.mean()
    if weights.scale_weight > 0:
        loss = loss + weights.scale_weight * gaussians.scales.mean() / scene_scale
    if weights.size_floor_weight > 0:
        loss = loss + weights.size_floor_weight * size_shortfall(gaussians, weights.size_floor * scene_scale)
    return loss


def size_shortfall(gaussians: Gaussians, floor: float) -> Float[Tensor, ""]:
    """How far the thinnest side of each Gaussian stays below a floor, as a share of it, in the mean (after PrismGS).

    Args:
        gaussians: Raw parameters.
        floor: World units, positive.
    """
    thinnest = gaussians.log_scales.amin(1).exp()
    return (1 - thinnest / floor).clamp_min(0).mean()


def multiscale_l1(
    image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"], mask: Bool[Tensor, "h w"] | None
) -> Float[Tensor, ""]:
    """Sum over half, quarter and eighth of the size of the mean absolute difference (after PrismGS).

    A small pixel counts if every pixel it covers may be used; levels without any are left out.
    """
    loss = torch.zeros((), device=image.device)
    mine, theirs = image.permute(2, 0, 1), target.permute(2, 0, 1)
    usable = torch.ones_like(mine[:1]) if mask is None else mask.to(mine)[None]
    for _ in range(PYRAMID_LEVELS):
        if min(mine.shape[1:]) < 2:
            break
        mine, theirs, usable = (torch.nn.functional.avg_pool2d(part, 2) for part in (mine, theirs, usable))
        whole = usable >= 1
        if bool(whole.any()):
            difference = torch.where(whole, mine - theirs, 0.0).abs()
            loss = loss + difference.sum() / (3 * whole.sum())
    return loss
