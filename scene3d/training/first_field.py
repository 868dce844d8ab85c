"""Owns which field a run trains: explicit Gaussians or anchors, each from the same first Gaussians."""

from dataclasses import replace

import torch

from scene3d.gaussians.anchors import find_voxel, make_anchors
from scene3d.gaussians.gaussians import Gaussians
from scene3d.seeding import make_generator
from scene3d.training.anchor_field import AnchorField
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.field import Field
from scene3d.training.settings import ReconstructSettings
from scene3d.training.shared_decoder import SharedDecoder


def make_first_field(
    gaussians: Gaussians,
    settings: ReconstructSettings,
    *,
    shared: SharedDecoder | None = None,
    device: torch.device | str = "cpu",
) -> Field:
    """The field that training starts with.

    Args:
        gaussians: One per point, as `gaussians_from_points` makes them.
        settings: `settings.field` chooses.
        shared: The decoder; an anchor field needs it.
        device: Where to train.
    """
    if settings.field == "explicit":
        return ExplicitField(gaussians.to(device), sh_degree=0)
    assert shared is not None, "an anchor field needs a decoder"
    voxel = find_voxel(gaussians.means.cpu().double().numpy(), settings.anchors.voxel_ratio)
    generator = make_generator(settings.seed, "anchors")
    anchors = make_anchors(gaussians, shared.student.shape, voxel=voxel, generator=generator)
    return AnchorField(anchors.to(device), shared, voxel=voxel)


def make_shared_decoder(
    settings: ReconstructSettings, *, steps: int, device: torch.device | str = "cpu"
) -> SharedDecoder | None:
    """The decoder of a run with anchors; None for explicit Gaussians.

    Args:
        steps: Optimiser steps of the whole run.
    """
    if settings.field == "explicit":
        return None
    return SharedDecoder(settings.anchors, steps=steps, seed=settings.seed, sh_degree=settings.sh_degree, device=device)


def in_one_piece(settings: ReconstructSettings) -> ReconstructSettings:
    """The settings as a scene in one piece goes by them: no teacher unless one is asked for.

    With nobody to agree with, the pull towards yesterday's decoder only slows it down.
    """
    if settings.anchors.teacher != "auto":
        return settings
    return replace(settings, anchors=replace(settings.anchors, teacher="off"))
