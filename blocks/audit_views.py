"""Owns what one view of several blocks shows: where each block sees a surface, and what each gives to the image."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from blocks.plan import BlockPlan
from rasterizer import rasterization
from scene3d.cameras.camera import Camera
from scene3d.data.capture import Capture
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import NEAR_PLANE, camera_tensors, render_view

SOLID_ALPHA = 0.5
"""Where a block covers less of a pixel than this, it sees no surface there."""

_REACH_SIGMAS = 3.5
"""The rasterizer draws no Gaussian farther from its centre than this."""

_BLUR_PX = 2.0
"""More than what the rasterizer's blur adds to that."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedView:
    """A training view of several blocks."""

    index: int
    """In `Capture.views`."""

    camera: Camera
    blocks: tuple[int, ...]
    """Numbers of the blocks trained with it, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """What one block gives to one view of the merged scene."""

    owner: int
    rows: Int[Tensor, "m"]
    """Which of all the block's Gaussians they are."""

    gaussians: Gaussians


def find_shared_views(plan: BlockPlan, capture: Capture, owners: Collection[int], max_side_px: int) -> list[SharedView]:
    """The training views of two or more of some blocks, those of the same blocks side by side.

    Args:
        owners: The blocks that exist.
        max_side_px: No image is larger; all are scaled alike.
    """
    places = {view.name: index for index, view in enumerate(capture.views)}
    blocks_of: dict[int, list[int]] = {}
    for block in sorted(owners):
        for view in plan.blocks[block].views:
            blocks_of.setdefault(view, []).append(block)
    shared = {
        places[plan.views[view]]: tuple(blocks)
        for view, blocks in blocks_of.items()
        if len(blocks) > 1 and plan.views[view] in places
    }
    scale = find_image_scale(capture, shared, max_side_px)
    return [
        SharedView(index=index, camera=capture.views[index].camera.scaled(scale), blocks=shared[index])
        for index in sorted(shared, key=lambda index: (shared[index], index))
    ]


def find_image_scale(capture: Capture, views: Collection[int], max_side_px: int) -> float:
    """The share of their size, at most 1, at which none of these views has a longer side."""
    cameras = [capture.views[index].camera for index in views]
    return min(1.0, max_side_px / max((max(camera.width, camera.height) for camera in cameras), default=1))


def make_layer(owner: int, gaussians: Gaussians, core: Bool[Tensor, "n"], camera: Camera) -> Layer:
    """The Gaussians of a block's core that a camera may see."""
    rows = (core & may_be_seen(gaussians, camera)).nonzero()[:, 0]
    return Layer(owner=owner, rows=rows, gaussians=gaussians.select(rows))


def may_be_seen(gaussians: Gaussians, camera: Camera) -> Bool[Tensor, "n"]:
    """Which Gaussians may reach into an image: all that do, and a few more."""
    cam_from_world = torch.from_numpy(camera.cam_from_world).float()
    points = gaussians.means @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    depth = points[:, 2].clamp(min=NEAR_PLANE)
    largest = _REACH_SIGMAS * gaussians.scales.amax(dim=1) / depth
    seen = points[:, 2] >= NEAR_PLANE
    for axis, size in ((0, camera.width), (1, camera.height)):
        slope, focal = points[:, axis] / depth, float(camera.K[axis, axis])
        # The rasterizer's own bound: no row of the projection's Jacobian is longer than this.
        reach_px = focal * largest * (1 + slope**2).sqrt() + _BLUR_PX
        at_px = focal * slope + float(camera.K[axis, 2])
        seen &= (at_px >= -reach_px) & (at_px <= size + reach_px)
    return seen


@torch.no_grad()
def find_surface(gaussians: Gaussians, camera: Camera) -> Float[Tensor, "h w"]:
    """Expected depth of what a camera sees; infinite where it sees nothing solid."""
    rendering = render_view(gaussians, camera, sh_degree=0)
    return rendering.depth.where(rendering.alpha > SOLID_ALPHA, torch.inf)


def keep_owned(surface: Float[Tensor, "h w"], owner: int, camera: Camera, plan: BlockPlan) -> Float[Tensor, "h w"]:
    """A surface without what lies in other blocks, where its block saw less of it than they did."""
    solid = surface.isfinite()
    points = back_project(surface.where(solid, 0), camera).reshape(-1, 3)
    owned = torch.from_numpy(plan.owners(points) == owner).reshape(surface.shape)
    return surface.where(solid & owned, torch.inf)


def back_project(depth: Float[Tensor, "h w"], camera: Camera) -> Float[np.ndarray, "h w 3"]:
    """The world point at each pixel's centre and depth."""
    height, width = depth.shape
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(camera.K).T
    points = rays * depth.double().numpy()[:, :, None]
    return np.asarray(points @ camera.world_from_cam[:3, :3].T + camera.center)


def weigh(
    gaussians: Gaussians, camera: Camera, num_channels: int
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "h w c"], Float[Tensor, "h w"]]:
    """Colours of all ones, the image they make, and the expected depth.

    The gradient of `(image * mask).sum()` in a Gaussian's colour is the sum of its blending weights, alpha times
    transmittance, over the pixels of the mask: one backward pass weighs all Gaussians in as many masks as channels.
    The sum comes before the gradient: given a mask as the image's gradient, torch loads 23 MB of code to compare them.
    """
    ones = torch.ones(len(gaussians), num_channels, requires_grad=True)
    viewmats, Ks = camera_tensors([camera])
    images = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        ones,
        viewmats,
        Ks,
        camera.width,
        camera.height,
        near_plane=NEAR_PLANE,
        packed=False,
        render_mode="RGB+ED",
    )[0]
    return ones, images[0, :, :, :-1], images[0, :, :, -1].detach()


def depths_of(gaussians: Gaussians, camera: Camera) -> Float[Tensor, "n"]:
    """Depth of each centre along the camera's axis."""
    cam_from_world = torch.from_numpy(camera.cam_from_world).float()
    return gaussians.means @ cam_from_world[2, :3] + cam_from_world[2, 3]
