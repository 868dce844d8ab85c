"""A ground with a house and a dome on it, as a signed distance that is known exactly, as Gaussians, and as seen."""

from functools import cache

import numpy as np

from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import look_at
from scene3d.fusion.depth_views import DepthView, render_depth_view
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.surface_sampling import make_flat_gaussians, sample_surface
from scene3d.geometry.isosurface import extract_mesh
from scene3d.geometry.voxels import VoxelField
from scene3d.seeding import make_numpy_generator

HALF = 1.6
HOUSE_CENTER, HOUSE_HALF = np.array([-0.4, 0.1, 0.2]), np.array([0.3, 0.25, 0.2])
DOME_CENTER, DOME_RADIUS = np.array([0.5, -0.3, 0.1]), 0.35
VOXEL = 0.05


def true_sdf(points: np.ndarray) -> np.ndarray:
    """Signed distance, exact outside and a bound inside of what stands on the ground."""
    q = np.abs(points - HOUSE_CENTER) - HOUSE_HALF
    house = np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(axis=-1), 0)
    dome = np.linalg.norm(points - DOME_CENTER, axis=-1) - DOME_RADIUS
    return np.minimum(points[..., 2], np.minimum(house, dome))


def true_colors(points: np.ndarray) -> np.ndarray:
    """Different on the ground, the house and the dome."""
    grass = np.stack([0.3 + 0.1 * np.sin(4 * points[..., 0]), 0.5 + 0 * points[..., 0], 0.25 + 0 * points[..., 0]], -1)
    raised = points[..., 2:] > 0.03
    left = points[..., :1] < 0.1
    return np.where(raised, np.where(left, [0.7, 0.3, 0.2], [0.6, 0.6, 0.65]), grass)


def make_field(low: np.ndarray, high: np.ndarray, voxel: float) -> VoxelField:
    """The truth in a box, everything known."""
    shape = np.round((high - low) / voxel).astype(int)
    empty = np.zeros(shape)
    field = VoxelField(
        sdf=empty,
        rgb=np.zeros((*shape, 3)),
        known=np.ones(shape, bool),
        origin=low.astype(np.float64),
        voxel_size=voxel,
        truncation=4 * voxel,
    )
    centers = field.centers()
    field.sdf[:] = np.clip(true_sdf(centers), -field.truncation, field.truncation)
    field.rgb[:] = true_colors(centers)
    return field


@cache
def make_splats(half: float = HALF) -> Gaussians:
    """Flat Gaussians on the surface."""
    field = make_field(np.array([-half, -half, -0.3]), np.array([half, half, 0.9]), 0.05)
    samples = sample_surface(extract_mesh(field), 0.02, generator=make_numpy_generator(0, "splats"))
    return make_flat_gaussians(samples, sh_degree=0)


def make_cameras(count: int = 24, side_px: int = 256) -> list[Camera]:
    """Around and above, looking down at the middle."""
    K = np.array([[side_px, 0, side_px / 2], [0, side_px, side_px / 2], [0, 0, 1.0]])
    cameras = []
    for number in range(count):
        azimuth, elevation = 2.4 * number, np.radians(35 + 50 * number / count)
        direction = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        pose = look_at(2.4 * direction, np.array([0.0, 0.0, 0.1]))
        cameras.append(Camera(width=side_px, height=side_px, K=K, cam_from_world=pose))
    return cameras


@cache
def make_views(count: int = 24) -> tuple[DepthView, ...]:
    """What the cameras see of the splats."""
    return tuple(render_depth_view(make_splats(), camera, VOXEL) for camera in make_cameras(count))
