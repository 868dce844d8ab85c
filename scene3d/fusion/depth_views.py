"""Owns what one camera says about where the surface of a Gaussian scene is: depth that can be trusted, and colour."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.errors import SettingsError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthTrust:
    """Which pixels of a rendered depth map count as a surface."""

    min_alpha: float = 0.8
    """Pixels that the scene covers less show no surface."""

    max_grazing_deg: float = 75.0
    """Between the ray and the surface's normal; flatter than this a depth says little."""

    agreement: float = 2.0
    """Median and expected depth may differ by this many voxels: farther apart they mean fog, or a floater."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_alpha <= 1 or not 0 < self.max_grazing_deg < 90 or not self.agreement > 0:
            raise SettingsError("min_alpha lies in 0..1, max_grazing_deg between 0 and 90, and agreement is positive")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthView:
    """A surface as one camera sees it."""

    camera: Camera
    depth: Float[Tensor, "h w"]
    """Along z, world units; 0 where it is not trusted."""

    cosine: Float[Tensor, "h w"]
    """Of the angle between ray and normal, 0 to 1."""

    alpha: Float[Tensor, "h w"]
    image: Float[Tensor, "h w 3"]


@torch.no_grad()
def render_depth_view(
    gaussians: Gaussians,
    camera: Camera,
    voxel_size: float,
    trust: DepthTrust | None = None,
    *,
    backend: str | None = None,
) -> DepthView:
    """Render the median depth, and keep it where it can be trusted.

    The expected depth of 3DGS is drawn towards the camera by what floats before a surface and behind it by what lies
    beyond; the median is not. Where they differ, there is no one surface.

    Args:
        voxel_size: Of the field the view is for, world units.
        trust: What counts as a surface.
        backend: Rasterizer by name; chosen automatically if not given.
    """
    trust = trust or DepthTrust()
    rendering = render_view(gaussians, camera, median_depth=True, backend=backend)
    median = rendering.median_depth
    assert median is not None, "the median was asked for"
    cosine = find_cosines(median, camera)
    trusted = (
        (rendering.alpha >= trust.min_alpha)
        & (median > 0)
        & ((median - rendering.depth).abs() < trust.agreement * voxel_size)
        & (cosine > float(np.cos(np.radians(trust.max_grazing_deg))))
    )
    return DepthView(
        camera=camera,
        depth=median.where(trusted, 0.0),
        cosine=cosine,
        alpha=rendering.alpha,
        image=rendering.image.clamp(0, 1),
    )


def find_cosines(depth: Float[Tensor, "h w"], camera: Camera) -> Float[Tensor, "h w"]:
    """Cosine between each pixel's ray and the normal of the depth map there; 0 at the image's edge.

    At the edge of a thing the map runs almost along the ray, so that the cosine is small there too.
    """
    points = camera_rays(camera, depth.device) * depth[:, :, None]
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    normals = torch.nn.functional.normalize(torch.linalg.cross(across, down), dim=-1)
    rays = torch.nn.functional.normalize(points[1:-1, 1:-1], dim=-1)
    cosine = torch.zeros_like(depth)
    cosine[1:-1, 1:-1] = (normals * rays).sum(-1).abs()
    return cosine


def camera_rays(camera: Camera, device: torch.device | str = "cpu") -> Float[Tensor, "h w 3"]:
    """The point at depth 1 behind each pixel's centre, in the camera's frame."""
    column = (torch.arange(camera.width, device=device) + 0.5 - float(camera.K[0, 2])) / float(camera.K[0, 0])
    row = (torch.arange(camera.height, device=device) + 0.5 - float(camera.K[1, 2])) / float(camera.K[1, 1])
    down, across = torch.meshgrid(row, column, indexing="ij")
    return torch.stack([across, down, torch.ones_like(across)], dim=-1).float()
