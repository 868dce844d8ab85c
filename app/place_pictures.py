"""Owns what a generated place looks like: its surface as Gaussians, and pictures of it from above and from the side."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import look_at
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.surface_sampling import SurfaceSamples, make_flat_gaussians, sample_surface
from scene3d.geometry.mesh import TriangleMesh
from scene3d.seeding import make_numpy_generator
from scene3d.video import render_frames

SIZE_PX = 640
FIELD_OF_VIEW_DEG = 30.0
_VIEWS = ((0.0, -0.02, 1.0), (-0.55, -0.75, 0.55))
"""From where the pictures are taken: straight above with north up, and from the south-west."""

_SUN = np.array([-0.45, -0.55, 0.70])
_SHADOW = 0.45
"""Light on what is turned away from the sun; the colours themselves have none."""


def sample_place(mesh: TriangleMesh, spacing: float, seed: int) -> SurfaceSamples:
    """Even samples of a place's surface."""
    return sample_surface(mesh, spacing, generator=make_numpy_generator(seed, "surface samples"))


def draw_place(samples: SurfaceSamples) -> Float[Tensor, "h w 3"]:
    """The surface from above and from the side, next to each other, lit by a sun."""
    facing = np.clip(samples.normals @ (_SUN / np.linalg.norm(_SUN)), 0.0, 1.0)
    lit = samples.colors * (_SHADOW + (1.2 - _SHADOW) * facing[:, None])
    gaussians = make_flat_gaussians(replace(samples, colors=lit.clip(0.0, 1.0)), sh_degree=0)
    frames = render_frames(gaussians, make_cameras(gaussians), background=torch.ones(3))
    return torch.cat(list(frames), dim=1)


def make_cameras(gaussians: Gaussians) -> list[Camera]:
    """Cameras that see everything."""
    means = gaussians.means.double().numpy()
    low, high = means.min(axis=0), means.max(axis=0)
    middle, radius = 0.5 * (low + high), 0.5 * float(np.linalg.norm(high - low))
    half_angle = np.radians(FIELD_OF_VIEW_DEG / 2)
    focal = SIZE_PX / 2 / np.tan(half_angle)
    K = np.array([[focal, 0.0, SIZE_PX / 2], [0.0, focal, SIZE_PX / 2], [0.0, 0.0, 1.0]])
    cameras = []
    for direction in np.array(_VIEWS):
        position = middle + direction / np.linalg.norm(direction) * radius * 0.85 / np.sin(half_angle)
        pose = look_at(position, middle)
        cameras.append(Camera(width=SIZE_PX, height=SIZE_PX, K=K, cam_from_world=pose))
    return cameras
