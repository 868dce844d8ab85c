"""Owns how blocks that lag behind are given more weight: measured on training views, and smoothed per measurement."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from scene3d.data.loader import TrainingImage
from scene3d.gaussians.gaussians import Gaussians
from scene3d.metrics import psnr_db, ssim
from scene3d.render import render_view
from scene3d.training.exposure import Exposure
from scene3d.training.hooks import PhotoSupply

PROBE_EVERY = 10
"""Each n-th training view of a block is measured."""

MAX_PROBES = 32
"""At most this many views of a block are measured."""

QUALITY_MOMENTUM = 0.9
"""Share of what was known before in a new estimate."""

SSIM_SCALE = 10.0
"""Brings differences of SSIM to the size of decibels (Fan et al. 2024, lambda = 100 on their squares)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How well a block shows its own training views, on the average of its measurements."""

    psnr_db: float
    ssim: float

    def blended(self, measured: "Quality") -> "Quality":
        """The estimate after one more measurement."""
        kept = QUALITY_MOMENTUM
        return Quality(
            psnr_db=kept * self.psnr_db + (1 - kept) * measured.psnr_db,
            ssim=kept * self.ssim + (1 - kept) * measured.ssim,
        )


def block_weights(qualities: Mapping[int, Quality], blocks: Sequence[int], sigma: float) -> dict[int, float]:
    """Weight of each block, from 1 for the best to below 2.

    w = 2 - exp(-((P_max - P)^2 + (10 (S_max - S))^2) / (2 sigma^2)), the block weighting of Momentum-GS (Fan et al.
    2024), in decibels. A block that was not measured yet weighs 1.

    Args:
        qualities: By number of the block.
        blocks: That are to be weighted; the best is looked for among these.
        sigma: In decibels.
    """
    known = [qualities[block] for block in blocks if block in qualities]
    best_psnr = max((quality.psnr_db for quality in known), default=0.0)
    best_ssim = max((quality.ssim for quality in known), default=0.0)
    weights = {}
    for block in blocks:
        quality = qualities.get(block, Quality(psnr_db=best_psnr, ssim=best_ssim))
        lag = (best_psnr - quality.psnr_db) ** 2 + (SSIM_SCALE * (best_ssim - quality.ssim)) ** 2
        weights[block] = 2 - math.exp(-lag / (2 * sigma**2))
    return weights


def split_budget(budget: int, weights: Mapping[int, float]) -> dict[int, int]:
    """Whole iterations in proportion to the weights; together exactly the budget, each as near as can be.

    Args:
        budget: Iterations of all blocks together.
        weights: Positive, by number of the block; what is left by rounding goes to the largest remainders, the first
            of equal ones first.
    """
    total = math.fsum(weights.values())
    exact = {block: budget * weight / total for block, weight in weights.items()}
    shares = {block: math.floor(value) for block, value in exact.items()}
    by_remainder = sorted(exact, key=lambda block: (shares[block] - exact[block], block))
    for block in by_remainder[: budget - sum(shares.values())]:
        shares[block] += 1
    return shares


def choose_probes(views: Sequence[int]) -> list[int]:
    """Places in a block's list of training views that are measured, always the same ones."""
    return list(range(0, len(views), PROBE_EVERY))[:MAX_PROBES]


@torch.no_grad()
def measure_quality(
    gaussians: Gaussians, exposure: Exposure, photos: PhotoSupply, views: Sequence[int], *, backend: str | None
) -> Quality:
    """Mean PSNR and SSIM of the probe views.

    Args:
        gaussians: All that these views are to show, backdrop included.
        exposure: Colour transforms of the views, in their order.
        photos: Loads them.
        views: The block's training views.
        backend: Rasterizer.

    Raises:
        InputError: A photograph cannot be read any more.
    """
    psnrs, ssims = [], []
    for position in choose_probes(views):
        photo = photos.load(views[position])
        image = exposure.apply(render_view(gaussians, photo.camera, backend=backend).image, position).clamp(0, 1)
        target, mask = _on_device(photo, image.device)
        psnrs.append(psnr_db(image, target, mask=mask))
        ssims.append(ssim(image, target, mask=mask))
    return Quality(psnr_db=math.fsum(psnrs) / len(psnrs), ssim=math.fsum(ssims) / len(ssims))


def _on_device(photo: TrainingImage, device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    return photo.image.to(device), None if photo.mask is None else photo.mask.to(device)
