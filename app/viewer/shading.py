"""Owns the ways a scene can be shown: colour, depth, normals, opacity, blocks, photographed or grown."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from app.viewer.contribution import can_be_measured
from app.viewer.legends import GROWN_TINT, PHOTOGRAPHED_TINT, contribution_colors
from app.viewer.seams import SeamSide, seam_colors
from app.viewer.stage import Stage
from blocks.extension_seam import SeamPlaces
from blocks.plan_map import choose_colors
from scene3d.cameras.camera import Camera
from scene3d.gaussians.cleaning import CleaningSettings
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.render import Rendering, render_view
from scene3d.video import colorize, picture_of

Shown = Literal[
    "image", "depth", "normal", "alpha", "blocks", "contribution", "origin", "before", "seam_step", "seam_color"
]
SHOWN: tuple[Shown, ...] = get_args(Shown)

VISIBLE_ALPHA = 0.5
FAR_GREY = (110, 114, 120)
"""What no block owns: sky and horizon."""

TINT_SHARE = 0.55
GREY_SHARE = 0.55
"""How bright the scene is behind its seams."""

USELESS_OPACITY_LOGIT = 0.85
"""Opacity of 0.7."""


def list_shown(stage: Stage, grown: Bool[Tensor, "n"] | None, seams: Sequence[SeamPlaces] = ()) -> list[Shown]:
    """What can be shown of a scene: blocks, photographs and what has grown only where there are any."""
    left_out = {"blocks"} if stage.plan is None else set()
    left_out |= set() if can_be_measured(stage) else {"contribution"}
    left_out |= {"origin", "before"} if grown is None else set()
    left_out |= set() if seams else {"seam_step", "seam_color"}
    return [shown for shown in SHOWN if shown not in left_out]


def shade(gaussians: Gaussians, camera: Camera, shown: Shown, *, backend: str | None = None) -> Float[Tensor, "h w 3"]:
    """The picture of one camera, values 0..1; some ways are colours of Gaussians painted beforehand."""
    with torch.no_grad():
        rendering = render_view(gaussians, camera, backend=backend)
    if shown == "depth":
        return picture_of(rendering, _depth_range(rendering))
    if shown == "normal":
        return _normals(rendering, camera)
    if shown == "alpha":
        return colorize(rendering.alpha, low=0.0, high=1.0)
    return picture_of(rendering)


def paint_blocks(stage: Stage) -> Gaussians:
    """The Gaussians in the colours of the blocks that own them, as on the map of the plan."""
    assert stage.plan is not None
    owners = stage.plan.owners(stage.scene.gaussians.means.double().numpy())
    palette = np.array([*choose_colors(stage.plan), FAR_GREY], np.float32) / 255  # owner -1 is the last
    return _tinted(stage.scene.gaussians, torch.from_numpy(palette[owners]), 0.75)


def paint_origin(gaussians: Gaussians, grown: Bool[Tensor, "n"]) -> Gaussians:
    """The Gaussians tinted by whether photographs or the generator made them."""
    tints = torch.tensor([PHOTOGRAPHED_TINT, GROWN_TINT], dtype=torch.float32) / 255
    return _tinted(gaussians, tints[grown.long()], TINT_SHARE)


def paint_contribution(gaussians: Gaussians, weights: Float[Tensor, "n"]) -> Gaussians:
    """The Gaussians in the colours of their largest blending weights, with nothing left of their own.

    Those that `scene3d clean` would take are drawn as solid as others: most are useless because they are faint, and
    would hide by it.
    """
    painted = _tinted(gaussians, contribution_colors(weights), 1.0)
    useless = weights < CleaningSettings().min_weight
    raised = painted.opacity_logits.clamp_min(USELESS_OPACITY_LOGIT)
    return replace(painted, opacity_logits=torch.where(useless, raised, painted.opacity_logits))


def paint_seams(gaussians: Gaussians, seams: Sequence[SeamPlaces], side: SeamSide) -> Gaussians:
    """The scene in dark grey, and over its seams how they show."""
    colors, on_seam = seam_colors(gaussians, seams, side)
    greyed = _tinted(gaussians, torch.zeros(len(gaussians), 3), 1 - GREY_SHARE)
    painted = _tinted(gaussians, colors, 1.0)
    return replace(greyed, sh=torch.where(on_seam[:, None, None] > 0, painted.sh, greyed.sh))


def _tinted(gaussians: Gaussians, tints: Float[Tensor, "n 3"], share: float) -> Gaussians:
    """The same Gaussians mixed with a colour each, without what depends on the view."""
    colors = (gaussians.sh[:, 0] * SH_C0 + 0.5).clamp(0, 1)
    grey = colors.mean(dim=1, keepdim=True).expand_as(colors)
    mixed = (1 - share) * grey + share * tints
    return Gaussians(
        means=gaussians.means,
        quats=gaussians.quats,
        log_scales=gaussians.log_scales,
        opacity_logits=gaussians.opacity_logits,
        sh=((mixed - 0.5) / SH_C0)[:, None],
    )


def _depth_range(rendering: Rendering) -> tuple[float, float]:
    """The depths of this picture but for the outermost 2 % at both ends."""
    seen = rendering.depth[rendering.alpha > VISIBLE_ALPHA]
    if len(seen) == 0:
        return 1.0, 2.0
    near, far = np.quantile(seen.numpy(), [0.02, 0.98]).tolist()
    return max(near, 1e-6), max(far, near * 1.01, 2e-6)


def _normals(rendering: Rendering, camera: Camera) -> Float[Tensor, "h w 3"]:
    """World normals of the rendered depth as colours: x, y, z from -1..1 to 0..1; black where nothing is."""
    depth = rendering.depth.double()
    height, width = depth.shape
    if min(height, width) < 3:
        return torch.zeros(height, width, 3)
    u = (torch.arange(width, dtype=torch.float64) + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
    v = (torch.arange(height, dtype=torch.float64) + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
    points = torch.stack([depth * u, depth * v[:, None], depth], dim=2)
    across, down = torch.zeros_like(points), torch.zeros_like(points)
    across[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[1:-1] = points[2:] - points[:-2]
    # x right and y down: down x across points back at the camera.
    normals = torch.linalg.cross(down, across, dim=2)
    normals = torch.nn.functional.normalize(normals, dim=2) @ torch.from_numpy(camera.cam_from_world[:3, :3])
    return torch.where((rendering.alpha > VISIBLE_ALPHA)[:, :, None], normals.float() * 0.5 + 0.5, 0.0)
