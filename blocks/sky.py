"""Owns what lies behind everything: a dome of Gaussians for the sky, where photographs show any."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float

from blocks.plan import FAR_RADII, BlockPlan
from scene3d.cameras.camera import Camera
from scene3d.gaussians.gaussians import SH_C0, Gaussians

LOWEST_SKY_DEG = 1.0
"""Directions nearer to the horizon belong to hills and houses."""

DOME_RADII = 1.5 * FAR_RADII
"""Radius of the dome, in radii of the region of interest: beyond what any block may own."""

SKY_OPACITY = 0.5
SKY_GREY = 0.7


def make_sky(plan: BlockPlan, cameras: Sequence[Camera], max_gaussians: int) -> Gaussians | None:
    """Round grey Gaussians on the part of a dome that some camera sees; None where none looks above the horizon.

    Args:
        plan: Gives middle and size of the scene.
        cameras: Those that are trained on.
        max_gaussians: Density of the whole dome; the part that is seen has fewer.
    """
    directions = _upper_hemisphere(max_gaussians)
    seen = np.zeros(len(directions), bool)
    for camera in cameras:
        seen |= _sees(camera, directions)
    directions = directions[seen]
    if len(directions) == 0:
        return None
    radius = DOME_RADII * plan.radius
    # The hemisphere's area shared out evenly, and half as much again, so that no gaps show.
    spacing = 1.5 * radius * np.sqrt(2 * np.pi / max_gaussians)
    count = len(directions)
    sh = torch.full((count, 1, 3), (SKY_GREY - 0.5) / SH_C0)
    return Gaussians(
        means=torch.from_numpy(np.asarray(plan.middle) + radius * directions).float(),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        log_scales=torch.full((count, 3), float(np.log(spacing / 2))),
        opacity_logits=torch.full((count,), float(np.log(SKY_OPACITY / (1 - SKY_OPACITY)))),
        sh=sh,
    )


def _upper_hemisphere(count: int) -> Float[np.ndarray, "m 3"]:
    """Evenly spread directions above the horizon: a golden-angle spiral."""
    if count == 0:
        return np.zeros((0, 3))
    low = np.sin(np.radians(LOWEST_SKY_DEG))
    z = low + (1 - low) * (np.arange(count) + 0.5) / count
    angle = np.arange(count) * np.pi * (3 - np.sqrt(5))
    level = np.sqrt(1 - z * z)
    return np.stack([level * np.cos(angle), level * np.sin(angle), z], axis=1)


def _sees(camera: Camera, directions: Float[np.ndarray, "m 3"]) -> Bool[np.ndarray, "m"]:
    """Which directions at infinity project into the camera's image."""
    in_camera = directions @ camera.cam_from_world[:3, :3].T
    ahead = in_camera[:, 2] > 1e-6
    pixels = in_camera @ camera.K.T
    pixels = pixels[:, :2] / np.where(ahead, pixels[:, 2], 1.0)[:, None]
    inside = (pixels >= 0).all(axis=1) & (pixels <= [camera.width, camera.height]).all(axis=1)
    return np.asarray(ahead & inside)
