"""Owns keeping photographs as they are: which new Gaussians would change them, and by how much they did change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blocks.audit_views import back_project, may_be_seen, weigh
from scene3d.cameras.camera import Camera
from scene3d.events import Reporter
from scene3d.fusion.depth_views import DepthTrust
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view

LEAST_PSNR_DB = 60.0
"""Of what must not change, before against after, in every photograph's view."""

MAX_SIDE_PX = 400
"""Photographs' views are looked at no larger than this."""

LIMIT_PX = 0.003
"""A new Gaussian may cover this much of the pixels that must not change, all views together."""

_MOST_ERROR = 10 ** (-LEAST_PSNR_DB / 10)
_ROUNDS = 12

IsKept = Callable[[Float[np.ndarray, "n 3"]], Bool[np.ndarray, "n"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OldViews:
    """How photographs' views look after growing, against before."""

    num_views: int
    """That look where something new is."""

    kept_psnr_db: float | None
    """Lowest of all views, over the pixels that must not change; None where nothing changed at all."""

    whole_psnr_db: float | None
    """Lowest of all views, over all pixels."""

    kept_share: float
    """Of all pixels of the views that look towards new Gaussians, those that must not change."""


class _Error(NamedTuple):
    """Mean squared differences of one view, over the pixels that must not change and over all."""

    kept: float
    whole: float


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    camera: Camera
    mask: Bool[Tensor, "h w"]
    before: Float[Tensor, "h w 3"]


def keep_photographs(
    scene: Gaussians,
    new: Gaussians,
    cameras: Sequence[Camera],
    is_kept: IsKept | None,
    *,
    reporter: Reporter,
) -> tuple[Bool[Tensor, "n"], OldViews]:
    """Which new Gaussians may stay, so that photographs' views keep `LEAST_PSNR_DB` where they must not change.

    Args:
        scene: The photographed Gaussians, world frame.
        new: What is to be added.
        cameras: Of the photographs.
        is_kept: Says of world points of the scene's surface whether photographs show it well: such pixels must not
            change. Without it no pixel must.
        reporter: Hears of the progress.
    """
    looks: list[_Look] = []
    num_kept, num_pixels = 0, 0
    covered = torch.zeros(len(new))
    reporter.start("check", len(cameras))
    for step, camera in enumerate(cameras):
        small = camera.scaled(min(1.0, MAX_SIDE_PX / max(camera.width, camera.height)))
        reporter.advance("check", step + 1)
        if not may_be_seen(new, small).any():
            continue
        look = _look(scene, small, is_kept)
        amounts = _cover(scene, new, look)
        covered += amounts[:, 0]
        num_kept, num_pixels = num_kept + int(look.mask.sum()), num_pixels + look.mask.numel()
        if (amounts > 0).any():
            looks.append(look)
    reporter.finish("check")
    kept = covered <= LIMIT_PX
    errors = _compare(scene, new.select(kept), looks)
    for _ in range(_ROUNDS):
        changed = [look for look, error in zip(looks, errors, strict=True) if error.kept > _MOST_ERROR]
        if not changed:
            break
        # What stood behind those that are gone shows now.
        rows = kept.nonzero()[:, 0]
        left = new.select(rows)
        again = torch.stack([_cover(scene, left, look)[:, 0] for look in changed]).sum(dim=0)
        kept[rows[again > LIMIT_PX]] = False
        # Most views are as good as they were: all are measured again only when those that were not have become good.
        some = _compare(scene, new.select(kept), changed)
        if all(error.kept <= _MOST_ERROR for error in some):
            errors = _compare(scene, new.select(kept), looks)
        else:
            errors = _replaced(errors, some)
    old_views = OldViews(
        num_views=len(looks),
        kept_psnr_db=_psnr_db(max((error.kept for error in errors), default=0.0)),
        whole_psnr_db=_psnr_db(max((error.whole for error in errors), default=0.0)),
        kept_share=num_kept / max(num_pixels, 1),
    )
    return kept, old_views


@torch.no_grad()
def _look(scene: Gaussians, camera: Camera, is_kept: IsKept | None) -> _Look:
    rendering = render_view(scene.select(may_be_seen(scene, camera)), camera, median_depth=True)
    if is_kept is None:
        return _Look(camera, torch.ones(rendering.alpha.shape, dtype=torch.bool), rendering.image)
    assert rendering.median_depth is not None, "it was asked for"
    solid = (rendering.alpha >= DepthTrust().min_alpha) & (rendering.median_depth > 0)
    mask = torch.zeros(solid.shape, dtype=torch.bool)
    mask[solid] = torch.from_numpy(is_kept(back_project(rendering.median_depth, camera)[solid.numpy()]))
    return _Look(camera, mask, rendering.image)


def _cover(scene: Gaussians, new: Gaussians, look: _Look) -> Float[Tensor, "n 2"]:
    """Pixels that each new Gaussian covers (blending weights, summed): of those that must not change, and of all."""
    total = torch.zeros(len(new), 2)
    rows = may_be_seen(new, look.camera).nonzero()[:, 0]
    if len(rows) == 0:
        return total
    old = scene.select(may_be_seen(scene, look.camera))
    ones, image, _ = weigh(Gaussians.concatenate([old, new.select(rows)]), look.camera, 2)
    (image[:, :, 0] * look.mask + image[:, :, 1]).sum().backward()  # type: ignore[no-untyped-call]
    assert ones.grad is not None, "the image depends on the colours"
    total[rows] = ones.grad[len(old) :]
    return total


@torch.no_grad()
def _compare(scene: Gaussians, new: Gaussians, looks: Sequence[_Look]) -> list[_Error]:
    """How much each view differs from before."""
    errors = []
    for look in looks:
        added = new.select(may_be_seen(new, look.camera))
        if len(added) == 0:
            errors.append(_Error(0.0, 0.0))
            continue
        old = scene.select(may_be_seen(scene, look.camera))
        after = render_view(Gaussians.concatenate([old, added]), look.camera).image
        error = (after.clamp(0, 1) - look.before.clamp(0, 1)).square().mean(-1).double()
        kept = float(error[look.mask].mean()) if look.mask.any() else 0.0
        errors.append(_Error(kept, float(error.mean())))
    return errors


def _replaced(errors: Sequence[_Error], some: Sequence[_Error]) -> list[_Error]:
    """The same errors, those that were too large replaced in their order."""
    fresh = iter(some)
    return [next(fresh) if error.kept > _MOST_ERROR else error for error in errors]


def _psnr_db(error: float) -> float | None:
    """None where nothing differs."""
    return None if error == 0 else float(-10 * np.log10(error))
