"""Owns the evidence against Gaussians: in how many views, and with which weight, they hang before a surface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int16
from torch import Tensor

from blocks.audit_views import Layer, SharedView, depths_of, find_surface, keep_owned, make_layer, weigh
from blocks.merge_parts import BlockShelf, Crop
from blocks.merge_settings import MergeSettings
from blocks.plan import BlockPlan
from scene3d.cameras.camera import Camera
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import max_blending_weights

MIN_AIR_SHARE = 0.5
"""So much of its weight, where other blocks see a surface at all, must hang before that surface."""

Marks = dict[int, Bool[Tensor, "_"]]
"""Some of the Gaussians of each block, by its number."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What all views say about the Gaussians of one block: ten bytes each, fourteen without photographs."""

    in_air: Float[Tensor, "n"]
    """Weight before a surface that another block sees, summed over pixels and views."""

    witnessed: Float[Tensor, "n"]
    """Weight where another block sees a surface, be it before or behind."""

    num_views: Int16[Tensor, "n"]
    """Views with enough weight in the air."""

    strongest: Float[Tensor, "n"] | None
    """Largest blending weight in the block's own model; None unless asked for."""

    def suspects(self, min_views: int) -> Bool[Tensor, "n"]:
        """Gaussians that enough views speak against; they are the block's own, for no others were looked at."""
        return (self.num_views >= min_views) & (self.in_air > MIN_AIR_SHARE * self.witnessed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditScene:
    """The blocks that exist, and the views that several of them were trained with."""

    plan: BlockPlan
    crops: Mapping[int, Crop]
    """By number of the block."""

    shelf: BlockShelf
    views: Sequence[SharedView]


def gather_evidence(
    scene: AuditScene, settings: MergeSettings, *, cautious: bool, reporter: Reporter
) -> dict[int, Evidence]:
    """What the views say about each block's Gaussians.

    Args:
        cautious: A block speaks only of surfaces that it owns, and each Gaussian's largest weight is found as well.
    """
    found = {owner: _nothing_yet(len(crop.core), cautious) for owner, crop in scene.crops.items()}
    reporter.start("audit", len(scene.views))
    for step, view in enumerate(scene.views):
        looks = [_look(scene, owner, view, found[owner]) for owner in view.blocks]
        layers, surfaces = [layer for layer, _ in looks], [surface for _, surface in looks]
        _weigh_layers(view.camera, layers, surfaces, found, settings)
        reporter.advance("audit", step + 1)
    reporter.finish("audit")
    return found


def _nothing_yet(num_gaussians: int, cautious: bool) -> Evidence:
    return Evidence(
        in_air=torch.zeros(num_gaussians),
        witnessed=torch.zeros(num_gaussians),
        num_views=torch.zeros(num_gaussians, dtype=torch.int16),
        strongest=torch.zeros(num_gaussians) if cautious else None,
    )


def _look(scene: AuditScene, owner: int, view: SharedView, evidence: Evidence) -> tuple[Layer, Float[Tensor, "h w"]]:
    """What a block gives to the merged image, and the surface that its own full model shows.

    The block itself is not kept, so that no more of them than the shelf allows are in memory.
    """
    gaussians = scene.shelf.load(owner)
    surface = find_surface(gaussians, view.camera)
    if evidence.strongest is not None:
        surface = keep_owned(surface, owner, view.camera, scene.plan)
        evidence.strongest.copy_(evidence.strongest.maximum(max_blending_weights(gaussians, [view.camera])))
    return make_layer(owner, gaussians, scene.crops[owner].core, view.camera), surface


def _weigh_layers(
    camera: Camera,
    layers: Sequence[Layer],
    surfaces: Sequence[Float[Tensor, "h w"]],
    found: Mapping[int, Evidence],
    settings: MergeSettings,
) -> None:
    """Adds what one view says.

    Each layer is judged by the nearest surface of the other blocks only: its own block would confirm what it made.
    """
    merged = Gaussians.concatenate([layer.gaussians for layer in layers])
    nearness = 1 - settings.audit_tolerance
    depths = depths_of(merged, camera)
    start = 0
    for place, layer in enumerate(layers):
        # Three channels at a time: the backward pass keeps them for every Gaussian in every tile it reaches.
        ones, image, depth = weigh(merged, camera, 3)
        others = torch.stack([*surfaces[:place], *surfaces[place + 1 :]]).amin(dim=0)
        before = depth < nearness * others
        masks = torch.stack([(before & others.isfinite()).float(), before / others, others.isfinite().float()], dim=-1)
        weights = torch.autograd.grad((image * masks).sum(), ones)[0]
        rows = slice(start, start := start + len(layer.rows))
        in_air, over_surface, witnessed = weights[rows].unbind(dim=1)
        # Of all that such a pixel shows, only what itself lies before the surface hangs in the air.
        in_air = in_air.where(depths[rows] * over_surface < nearness * in_air, 0)
        evidence = found[layer.owner]
        evidence.in_air[layer.rows] += in_air
        evidence.witnessed[layer.rows] += witnessed
        evidence.num_views[layer.rows] += (in_air > settings.audit_weight).to(torch.int16)
