"""Owns the pseudo-view term: the scene seen from a little beside a camera must still explain its photograph.

After BlockGaussian (Wu et al. 2025), whose published code compares the pixels that fall outside the pseudo image and
shifts in world axes; here the shift lies in the image plane and the comparison where the pseudo camera does see.
"""

from dataclasses import dataclass, replace
from math import ceil, cos, pi, sin, sqrt

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from scene3d.cameras.camera import Camera
from scene3d.render import NEAR_PLANE
from scene3d.training.geometry_settings import PseudoViewSettings
from scene3d.training.schedules import log_linear
from scene3d.training.terms import StepView

MIN_ALPHA = 0.5
"""Pixels that the scene covers less have no depth to speak of."""

OCCLUSION_TOLERANCE = 1.05
"""How much farther than the nearest surface around it a point may lie and still count as seen."""

MEDIAN_SAMPLES = 16_384
"""Pixels on a regular grid that the median depth is taken of; all of a large image would cost as much as the warp."""

_OUTSIDE = -2.0
"""A place outside of every image, in the normalised coordinates of `grid_sample`."""

PixelPlanes = tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]
"""One place per pixel, x and y apart (twice as fast as pairs); pixels, centres at half-integers."""


@dataclass(frozen=True, slots=True)
class PseudoViewTerm:
    """The photograph against the pseudo view warped back to it by the rendered depth; one more rendering per use."""

    settings: PseudoViewSettings

    def is_due(self, iteration: int, iterations: int) -> bool:
        """Every `every`-th iteration from the start share on."""
        every = self.settings.every or 0
        return every > 0 and iteration % every == 0 and iteration >= self.settings.start_share * iterations

    def __call__(self, step: StepView) -> Float[Tensor, ""]:
        """Weighted mean absolute difference over the pixels seen from both places; exactly 0 where there is none."""
        settings, photo, depth = self.settings, step.photo, step.rendered.depth
        progress, now = step.iteration / step.iterations, depth.detach()
        draws = torch.rand(3, generator=step.generator, dtype=torch.float64).tolist()
        known = (step.rendered.alpha.detach() > MIN_ALPHA) & (now > NEAR_PLANE)
        median = find_median_depth(now, known)
        if median is None:
            return depth.new_zeros(())
        offset = choose_offset(photo.camera, median, settings, draws)
        # Early on depth is too rough to be trusted with a gradient of its own.
        moves_depth = progress >= 2 * settings.start_share
        pixels = warp_to_pseudo(depth if moves_depth else now, photo.camera, offset)
        mask = visible_mask(pixels, now, known)
        if photo.mask is not None:
            mask = mask & photo.mask
        # Rendered after the mask is made, whose intermediate images are then gone: less memory at the peak.
        pseudo = step.expose(step.render(shift_camera(photo.camera, offset)))
        weight = log_linear(settings.weight, settings.final_weight, progress)
        return weight * warped_difference(photo.image, pseudo, pixels, mask)


def find_median_depth(depth: Float[Tensor, "h w"], known: Bool[Tensor, "h w"]) -> float | None:
    """Median depth of the known pixels; None where there is none."""
    stride = ceil(sqrt(depth.numel() / MEDIAN_SAMPLES))
    sample = depth[::stride, ::stride][known[::stride, ::stride]]
    return float(sample.median()) if len(sample) else None


def choose_offset(
    camera: Camera, median_depth: float, settings: PseudoViewSettings, draws: list[float]
) -> Float[np.ndarray, "2"]:
    """Where the pseudo camera stands, along the camera's own x and y, in world units.

    delta = rho W median(D) / fx times a place in the unit disk: at median depth the image moves by up to the share rho
    of its width, whatever way the camera looks.

    Args:
        camera: The camera of the photograph.
        median_depth: Of what it sees, in world units.
        settings: Bounds of rho.
        draws: Three numbers from 0 to 1, evenly distributed: rho between its bounds, radius and angle in the disk.
    """
    rho = settings.min_shift_share + draws[0] * (settings.max_shift_share - settings.min_shift_share)
    reach = rho * camera.width * median_depth / float(camera.K[0, 0])
    radius, angle = reach * sqrt(draws[1]), 2 * pi * draws[2]  # the root makes places even by area
    return np.array([radius * cos(angle), radius * sin(angle)])


def shift_camera(camera: Camera, offset: Float[np.ndarray, "2"]) -> Camera:
    """The camera moved in its own image plane: C' = C + R^T (dx, dy, 0), the same R and K."""
    cam_from_world = camera.cam_from_world.copy()
    cam_from_world[:2, 3] -= offset  # t' = -R C' = t - (dx, dy, 0)
    return replace(camera, cam_from_world=cam_from_world)


def warp_to_pseudo(depth: Float[Tensor, "h w"], camera: Camera, offset: Float[np.ndarray, "2"]) -> PixelPlanes:
    """Where each pixel's surface point lies in the image of the shifted camera.

    With X = C + R^T (D K^-1 u~) and u' = pi(K, R (X - C')), R (X - C') = D K^-1 u~ - (dx, dy, 0): depth stays, and
    u' = u - K[:2, :2] (dx, dy) / D. The principal point has cancelled out.

    Args:
        depth: Along z, in world units; what is nearer than the near plane counts as lying there.
        camera: The camera that the depth belongs to.
        offset: The shift along its x and y, in world units.

    Returns:
        x and y in the pseudo image; differentiable in the depth.
    """
    height, width = depth.shape
    parallax = (camera.K[:2, :2] @ offset).tolist()
    inverse = depth.clamp_min(NEAR_PLANE).reciprocal()
    x = torch.arange(width, device=depth.device, dtype=depth.dtype) + 0.5
    y = torch.arange(height, device=depth.device, dtype=depth.dtype)[:, None] + 0.5
    return x - parallax[0] * inverse, y - parallax[1] * inverse


def visible_mask(pixels: PixelPlanes, depth: Float[Tensor, "h w"], known: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Which pixels the shifted camera sees, as far as the reference depth can tell: in bounds and z' <= 1.05 Z(u').

    Z is the 3x3 minimum of the depth warped forward. The pseudo view's own depth is not asked: a floater there would
    mask itself.

    Args:
        pixels: Where each pixel goes in the pseudo image.
        depth: Along z, the same in both cameras.
        known: Pixels whose depth means something; only they see and hide.
    """
    x, y, depth = pixels[0].detach(), pixels[1].detach(), depth.detach()
    height, width = depth.shape
    # Half a pixel inside the border, so that bilinear sampling finds all its neighbours.
    inside = known & (x >= 0.5) & (x <= width - 0.5) & (y >= 0.5) & (y <= height - 0.5)
    nowhere = height * width
    places = torch.where(inside, y.int() * width + x.int(), nowhere).flatten().long()
    nearest = depth.new_full((nowhere + 1,), torch.inf)
    nearest.scatter_reduce_(0, places, depth.flatten(), "amin")
    nearest[:-1] = _smallest_around(nearest[:-1].view(height, width)).flatten()
    return inside & (depth <= OCCLUSION_TOLERANCE * nearest.index_select(0, places).view(height, width))


def warped_difference(
    target: Float[Tensor, "h w 3"],
    pseudo: Float[Tensor, "h w 3"],
    pixels: PixelPlanes,
    mask: Bool[Tensor, "h w"],
) -> Float[Tensor, ""]:
    """L = mean over the mask and three channels of |target(u) - pseudo(u')|, bilinear; exactly 0 for an empty mask.

    Args:
        target: The photograph.
        pseudo: The pseudo view, exposed like it.
        pixels: Where each pixel of the photograph lies in the pseudo view.
        mask: Pixels to compare.

    Returns:
        The difference; differentiable in `pseudo` and `pixels`.
    """
    height, width = mask.shape
    # Pixel centres at half-integers are what grid_sample calls align_corners=False. Pixels outside the mask are sent
    # off the image, where it gives 0 and no gradient: cheaper than picking the others out.
    x = torch.where(mask, pixels[0] * (2 / width) - 1, _OUTSIDE)
    y = pixels[1] * (2 / height) - 1
    grid = torch.view_as_real(torch.complex(x, y))  # [h, w, 2]; a stack takes six times as long
    sampled = F.grid_sample(
        pseudo.permute(2, 0, 1)[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )[0]
    difference = torch.addcmul(sampled, target.permute(2, 0, 1), mask.to(sampled.dtype), value=-1)
    return torch.linalg.vector_norm(difference, 1) / (3 * mask.sum().clamp_min(1))


def _smallest_around(values: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Minimum over each pixel and its eight neighbours; along rows, then columns, a sixth of the cost of pooling."""
    padded = F.pad(values, (1, 1, 1, 1), value=torch.inf)
    rows = torch.minimum(torch.minimum(padded[:-2], padded[1:-1]), padded[2:])
    return torch.minimum(torch.minimum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
