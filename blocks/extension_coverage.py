"""Owns how well an extension covers its ground: views of it from all sides."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from scipy.ndimage import binary_erosion

from blocks.audit_views import back_project
from blocks.extension_border import Canvas
from blocks.extension_grid import MAX_SCALE_SHARE
from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import look_at
from scene3d.events import Reporter
from scene3d.gaussians.cleaning import scene_radius
from scene3d.gaussians.gaussians import Gaussians
from scene3d.geometry.voxels import VoxelField
from scene3d.render import render_view

NUM_COVERAGE_VIEWS = 20
COVERAGE_SIZE_WH = (240, 180)
_GOLDEN_TURN = np.pi * (3 - np.sqrt(5))


@torch.no_grad()
def measure_coverage(
    gaussians: Gaussians, canvas: Canvas, known: VoxelField, filled: VoxelField, *, reporter: Reporter
) -> dict[str, Any]:
    """Opacity of the new ground from virtual views around it, from steep to flat.

    Args:
        gaussians: The scene with the extension.
        canvas: Where it lies.
        known: The canvas as it was.
        filled: The canvas with new cells.
        reporter: Hears of the progress.

    Returns:
        Mean and 1st percentile of alpha over all pixels that look at new ground, and the lowest mean of a view.
    """
    new = new_ground(canvas, known, filled)
    values, means = [], []
    reporter.start("coverage", NUM_COVERAGE_VIEWS)
    for step, (camera, height) in enumerate(coverage_cameras(canvas, new)):
        alpha = render_view(gaussians, camera).alpha
        shown = alpha[torch.from_numpy(_shows(camera, height, canvas, new))].numpy()
        if len(shown):
            values.append(shown)
            means.append(float(shown.mean()))
        reporter.advance("coverage", step + 1)
    reporter.finish("coverage")
    if not values:
        return {"num_views": 0, "mean": None, "quantile_01": None, "lowest_view": None}
    together = np.concatenate(values)
    return {
        "num_views": len(means),
        "mean": float(together.mean()),
        "quantile_01": float(np.quantile(together, 0.01)),
        "lowest_view": min(means),
    }


def find_fog(scene: Gaussians, after: Gaussians, canvas: Canvas) -> dict[str, Any]:
    """Photographed Gaussians that hang as fog before what has grown, and how `scene3d clean` leaves them out of a copy.

    Args:
        scene: The photographed ones.
        after: The scene with the extension.
        canvas: Where it lies.

    Returns:
        Their number, and the share of the scene's radius that they are longer than.
    """
    longest = MAX_SCALE_SHARE * canvas.grid.cell_edge
    return {
        "num_gaussians": int((scene.scales.amax(1) >= longest).sum()),
        "max_scale_share": longest / scene_radius(after.means),
    }


def new_ground(canvas: Canvas, known: VoxelField, filled: VoxelField) -> Bool[np.ndarray, "x y"]:
    """Columns of a canvas whose ground is new."""
    level = round(-float(canvas.box.origin[2]) / canvas.box.voxel_size)
    layers = slice(max(level - 1, 0), level + 1)
    # The surface ends at the last voxels' centres: columns at the edge are half empty, and nobody's fault.
    whole = binary_erosion(filled.known[:, :, layers].all(axis=2), np.ones((3, 3)))
    return np.asarray(~known.known[:, :, layers].any(axis=2) & whole)


def coverage_cameras(canvas: Canvas, new: Bool[np.ndarray, "x y"]) -> Iterator[tuple[Camera, float]]:
    """Cameras that look at new ground from all sides, and the height of the ground each looks at."""
    columns = np.argwhere(new)
    width, height = COVERAGE_SIZE_WH
    K = np.array([[width, 0.0, width / 2], [0.0, width, height / 2], [0.0, 0.0, 1.0]])
    edge = canvas.grid.cell_edge
    for number in range(NUM_COVERAGE_VIEWS if len(columns) else 0):
        column = columns[(2 * number + 1) * len(columns) // (2 * NUM_COVERAGE_VIEWS)]
        place = canvas.box.origin[:2] + (column + 0.5) * canvas.box.voxel_size
        target = canvas.lift(np.array([[*place, 0.0]]))[0]
        elevation, azimuth = np.radians(30 + 50 * ((number * 7) % 20) / 19), number * _GOLDEN_TURN
        level = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
        position = target + 1.5 * edge * (np.cos(elevation) * level + np.array([0.0, 0.0, np.sin(elevation)]))
        yield Camera(width=width, height=height, K=K, cam_from_world=look_at(position, target)), float(target[2])


def _shows(camera: Camera, height: float, canvas: Canvas, new: Bool[np.ndarray, "x y"]) -> Bool[np.ndarray, "h w"]:
    """Pixels whose ray meets level ground at a new column."""
    points = back_project(torch.ones(camera.height, camera.width), camera)
    rays = points - camera.center
    down = np.minimum(rays[..., 2], -1e-6)
    ground = camera.center + rays * ((height - camera.center[2]) / down)[..., None]
    places = canvas.grid.frame.from_world(ground.reshape(-1, 3))
    columns = np.floor((places - canvas.box.origin[:2]) / canvas.box.voxel_size).astype(int)
    inside = ((columns >= 0) & (columns < new.shape)).all(axis=1) & (rays[..., 2] < -1e-6).ravel()
    shown = np.zeros(len(columns), bool)
    shown[inside] = new[tuple(columns[inside].T)]
    return shown.reshape(camera.height, camera.width)
