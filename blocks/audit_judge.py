"""Owns the judgement by photographs: how much better each view becomes without some of the Gaussians."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blocks.audit_evidence import AuditScene, Marks
from blocks.audit_views import Layer, make_layer, weigh
from scene3d.data.loader import TrainingImage
from scene3d.errors import InputError
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.metrics import psnr_db
from scene3d.render import render_view
from scene3d.training.evaluation import PhotoSource


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """What photographs say of suspects."""

    gains: dict[int, Float[Tensor, "_"]]
    """How much smaller the error becomes without them, by block and Gaussian."""

    psnr_before_db: float | None = None
    """Over the views that show any; None if none does."""

    psnr_after_db: float | None = None


def judge_suspects(
    scene: AuditScene, suspects: Marks, photos: PhotoSource, backdrop: Gaussians | None, reporter: Reporter
) -> Verdict:
    """Compare all views that show suspects with their photographs, with the suspects and without."""
    gains = {owner: torch.zeros(len(crop.core)) for owner, crop in scene.crops.items()}
    psnr = []
    reporter.start("judge", len(scene.views))
    for step, view in enumerate(scene.views):
        photos.prefetch([each.index for each in scene.views[step + 1 : step + 3]])
        layers = [
            make_layer(owner, scene.shelf.load(owner), scene.crops[owner].core, view.camera) for owner in view.blocks
        ]
        doubted = torch.cat([suspects[layer.owner][layer.rows] for layer in layers])
        photo = _find_photo(photos, view.index, reporter) if bool(doubted.any()) else None
        if photo is not None:
            psnr.append(_judge_view(layers, doubted, photo, backdrop, gains))
        reporter.advance("judge", step + 1)
    reporter.finish("judge")
    if not psnr:
        return Verdict(gains=gains)
    before, after = np.mean(psnr, axis=0)
    return Verdict(gains=gains, psnr_before_db=float(before), psnr_after_db=float(after))


def _judge_view(
    layers: Sequence[Layer],
    doubted: Bool[Tensor, "n"],
    photo: TrainingImage,
    backdrop: Gaussians | None,
    gains: Mapping[int, Float[Tensor, "_"]],
) -> tuple[float, float]:
    """Adds what one photograph says; returns its PSNR with the doubted Gaussians and without."""
    merged = Gaussians.concatenate([layer.gaussians for layer in layers] + ([] if backdrop is None else [backdrop]))
    stays = torch.cat([~doubted, torch.ones(len(merged) - len(doubted), dtype=torch.bool)])
    with torch.no_grad():
        whole = render_view(merged, photo.camera).image.clamp(0, 1)
        cleared = render_view(merged.select(stays), photo.camera).image.clamp(0, 1)
    gain = (whole - photo.image).abs().mean(dim=2) - (cleared - photo.image).abs().mean(dim=2)
    if photo.mask is not None:
        gain = gain * photo.mask
    ones, image, _ = weigh(merged, photo.camera, 1)
    weighted = torch.autograd.grad((image[:, :, 0] * gain).sum(), ones)[0][:, 0]
    parts = torch.split(weighted[: len(doubted)], [len(layer.rows) for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        gains[layer.owner][layer.rows] += part
    return psnr_db(whole, photo.image, photo.mask), psnr_db(cleared, photo.image, photo.mask)


def _find_photo(photos: PhotoSource, index: int, reporter: Reporter) -> TrainingImage | None:
    """A photograph that can say something: it can be read, and not all of it is masked out."""
    try:
        photo = photos.load(index)
    except InputError as error:
        reporter.note(f"not compared with its photograph: {error}", level="warning")
        return None
    return photo if photo.mask is None or bool(photo.mask.any()) else None
