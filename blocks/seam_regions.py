"""Owns which pixels of a view show a seam between blocks, and which the inside of one."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blocks.plan import BlockPlan
from scene3d.cameras.camera import Camera
from scene3d.training.evaluation import RegionFinder

SEAM_BAND, INTERIOR = "seam_band", "interior"

MIN_ALPHA = 0.5
"""Pixels with less coverage show no surface."""


def make_regions(plan: BlockPlan) -> RegionFinder:
    """How a plan tells the pixels of a rendered view apart, for `evaluate_views`.

    `seam_band` are those whose surface lies within a margin of a face between two blocks, `interior` all others whose
    surface lies in the region of interest. Sky, far surroundings and holes are in neither.
    """

    def find_regions(
        camera: Camera, depth: Float[Tensor, "h w"], alpha: Float[Tensor, "h w"]
    ) -> dict[str, Bool[Tensor, "h w"]]:
        depths = depth.detach().cpu().double().numpy()
        surface = (alpha.detach().cpu().numpy() > MIN_ALPHA) & np.isfinite(depths)
        points = back_project(camera, depths)[surface]
        band = plan.in_seam_band(points)
        masks = {SEAM_BAND: band, INTERIOR: in_polygon(points[:, :2], plan.region) & ~band}
        return {name: _spread(mask, surface).to(depth.device) for name, mask in masks.items()}

    return find_regions


def back_project(camera: Camera, depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """World points that the pixels of a depth map show."""
    height, width = depth.shape
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([across, down, np.ones_like(across)], axis=-1) @ np.linalg.inv(camera.K).T
    pose = camera.world_from_cam
    return np.asarray(rays * depth[:, :, None] @ pose[:3, :3].T + pose[:3, 3])


def in_polygon(places: Float[np.ndarray, "n 2"], corners: Float[np.ndarray, "k 2"]) -> Bool[np.ndarray, "n"]:
    """Which places lie in a polygon: those from where a ray crosses its outline an odd number of times."""
    x, y = places.T
    inside = np.zeros(len(places), bool)
    for (x0, y0), (x1, y1) in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True):
        if y0 != y1:
            # Half-open in y, so that a ray through a corner crosses one of its two edges.
            inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _spread(chosen: Bool[np.ndarray, "n"], surface: Bool[np.ndarray, "h w"]) -> Bool[Tensor, "h w"]:
    """The choice among surface pixels as a mask of all."""
    mask = np.zeros(surface.shape, bool)
    mask[surface] = chosen
    return torch.from_numpy(mask)
