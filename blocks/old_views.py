"""Owns keeping photographs as they are: which new Gaussians would change them, and by how much they did change."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blocks.audit_views import may_be_seen, weigh
from blocks.extension_settings import Kept
from scene3d.cameras.camera import Camera
from scene3d.events import Reporter
from scene3d.fusion.depth_views import DepthTrust, render_depth_view
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view

LEAST_PSNR_DB = 60.0
"""Of what must not change, before against after, in every photograph's view."""

MAX_SIDE_PX = 400
"""Photographs' views are looked at no larger than this."""

FIRST_LIMIT_PX = 0.05
"""A new Gaussian may cover this much of the pixels that must not change, all views together."""

_STRICTER = 4.0
_ROUNDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class OldViews:
    """How photographs' views look after growing, against before."""

    num_views: int
    kept_psnr_db: float | None
    """Lowest of all views, over the pixels that must not change; None where nothing changed at all."""

    whole_psnr_db: float | None
    """Lowest of all views, over all pixels."""

    kept_share: float
    """Of all pixels of all views, those that must not change."""

    limit_px: float
    """What a new Gaussian was allowed to cover of those."""


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    camera: Camera
    mask: Bool[Tensor, "h w"]
    before: Float[Tensor, "h w 3"]


def keep_photographs(
    scene: Gaussians, new: Gaussians, cameras: Sequence[Camera], keep: Kept, *, reporter: Reporter
) -> tuple[Bool[Tensor, "n"], OldViews]:
    """Which new Gaussians may stay, so that photographs' views keep `LEAST_PSNR_DB` where they must not change.

    Args:
        scene: The photographed Gaussians, world frame.
        new: What is to be added.
        cameras: Of the photographs.
        keep: surfaces: pixels where the scene shows a surface that can be trusted; views: all pixels.
        reporter: Hears of the progress.
    """
    looks: list[_Look] = []
    covered = torch.zeros(len(new))
    reporter.start("check", len(cameras))
    for step, camera in enumerate(cameras):
        small = camera.scaled(min(1.0, MAX_SIDE_PX / max(camera.width, camera.height)))
        look = _look(scene, small, keep)
        covered += _cover(scene, new, look)
        looks.append(look)
        reporter.advance("check", step + 1)
    reporter.finish("check")
    limit = FIRST_LIMIT_PX
    for _ in range(_ROUNDS):
        kept = covered <= limit
        old_views = _compare(scene, new.select(kept), looks, limit)
        if old_views.kept_psnr_db is None or old_views.kept_psnr_db >= LEAST_PSNR_DB:
            return kept, old_views
        limit /= _STRICTER
    kept = covered == 0
    return kept, _compare(scene, new.select(kept), looks, 0.0)


@torch.no_grad()
def _look(scene: Gaussians, camera: Camera, keep: Kept) -> _Look:
    seen = scene.select(may_be_seen(scene, camera))
    image = render_view(seen, camera).image
    if keep == "views":
        return _Look(camera, torch.ones(image.shape[:2], dtype=torch.bool), image)
    # How far median and expected depth may lie apart does not matter here: fog that hides what is behind it stays.
    trust = DepthTrust(agreement=np.inf, max_grazing_deg=89.0)
    return _Look(camera, render_depth_view(seen, camera, 1.0, trust).depth > 0, image)


def _cover(scene: Gaussians, new: Gaussians, look: _Look) -> Float[Tensor, "n"]:
    """How many of the pixels that must not change each new Gaussian covers: its blending weights, summed."""
    total = torch.zeros(len(new))
    rows = may_be_seen(new, look.camera).nonzero()[:, 0]
    if len(rows) == 0:
        return total
    old = scene.select(may_be_seen(scene, look.camera))
    ones, image, _ = weigh(Gaussians.concatenate([old, new.select(rows)]), look.camera, 1)
    (image[:, :, 0] * look.mask).sum().backward()  # type: ignore[no-untyped-call]
    assert ones.grad is not None, "the image depends on the colours"
    total[rows] = ones.grad[len(old) :, 0]
    return total


@torch.no_grad()
def _compare(scene: Gaussians, new: Gaussians, looks: Sequence[_Look], limit: float) -> OldViews:
    kept_errors, whole_errors, num_kept, num_pixels = [0.0], [0.0], 0, 0
    for look in looks:
        num_kept += int(look.mask.sum())
        num_pixels += look.mask.numel()
        added = new.select(may_be_seen(new, look.camera))
        if len(added) == 0:
            continue
        old = scene.select(may_be_seen(scene, look.camera))
        after = render_view(Gaussians.concatenate([old, added]), look.camera).image
        error = (after.clamp(0, 1) - look.before.clamp(0, 1)).square().mean(-1).double()
        whole_errors.append(float(error.mean()))
        if look.mask.any():
            kept_errors.append(float(error[look.mask].mean()))
    return OldViews(
        num_views=len(looks),
        kept_psnr_db=_psnr_db(max(kept_errors)),
        whole_psnr_db=_psnr_db(max(whole_errors)),
        kept_share=num_kept / max(num_pixels, 1),
        limit_px=limit,
    )


def _psnr_db(error: float) -> float | None:
    return None if error == 0 else float(-10 * np.log10(error))
