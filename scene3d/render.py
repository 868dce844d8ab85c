"""Owns rendering one view of a Gaussian set through the rasterizer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rasterizer import rasterization
from scene3d.cameras.camera import Camera
from scene3d.gaussians.gaussians import Gaussians

NEAR_PLANE = 0.01
"""Nearest depth drawn, in world units; the world is scaled so that its median depth is 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rendering:
    """What one camera sees."""

    image: Float[Tensor, "h w 3"]
    """sRGB as captured, at least 0; may exceed 1 where the model is over-bright."""

    alpha: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"]
    """Expected depth along z, divided by alpha; 0 where nothing is."""

    median_depth: Float[Tensor, "h w"] | None = None
    """Depth at which half of the light is gone; 0 where it never is."""


def render_view(
    gaussians: Gaussians,
    camera: Camera,
    *,
    sh_degree: int | None = None,
    background: Float[Tensor, "3"] | None = None,
    backend: str | None = None,
    median_depth: bool = False,
    near_plane: float = NEAR_PLANE,
) -> Rendering:
    """Render the Gaussians as one camera sees them.

    Args:
        sh_degree: Degree of view-dependent colour in use; all that is stored if not given.
        background: Colour behind the scene; black if not given.
        backend: Rasterizer by name; chosen automatically if not given.
        median_depth: Also give the median depth.
        near_plane: Nearest depth drawn, in world units.

    Returns:
        Image, alpha and depth, differentiable in all parameters of the Gaussians.
    """
    viewmats, Ks = camera_tensors([camera], gaussians.means.device)
    colors, alphas, meta = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.sh,
        viewmats,
        Ks,
        camera.width,
        camera.height,
        near_plane=near_plane,
        sh_degree=gaussians.sh_degree if sh_degree is None else min(sh_degree, gaussians.sh_degree),
        packed=False,
        backgrounds=None if background is None else background[None],
        render_mode="RGB+ED",
        backend=backend,
        median_depth=median_depth,
    )
    return Rendering(
        image=colors[0, :, :, :3],
        alpha=alphas[0, :, :, 0],
        depth=colors[0, :, :, 3],
        median_depth=meta["median_depth"][0, :, :, 0] if median_depth else None,
    )


@torch.no_grad()
def max_blending_weights(
    gaussians: Gaussians, cameras: Sequence[Camera], *, backend: str | None = None
) -> Float[Tensor, "n"]:
    """The largest weight with which each Gaussian enters any pixel of any of the cameras' images."""
    largest = gaussians.means.new_zeros(len(gaussians))
    for camera in cameras:
        viewmats, Ks = camera_tensors([camera], gaussians.means.device)
        meta = rasterization(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            gaussians.sh[:, 0],
            viewmats,
            Ks,
            camera.width,
            camera.height,
            near_plane=NEAR_PLANE,
            packed=False,
            backend=backend,
            weights=True,
        )[2]
        largest = torch.maximum(largest, meta["weight_max"][0])
    return largest


def camera_tensors(
    cameras: Sequence[Camera], device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "c 4 4"], Float[Tensor, "c 3 3"]]:
    """World-to-camera transforms and intrinsics as float32, for the rasterizer."""
    viewmats = torch.stack([torch.from_numpy(camera.cam_from_world) for camera in cameras])
    Ks = torch.stack([torch.from_numpy(camera.K) for camera in cameras])
    return viewmats.to(device, torch.float32), Ks.to(device, torch.float32)
