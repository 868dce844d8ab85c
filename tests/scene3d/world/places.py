"""Crops of the world that several tests look at, each made once."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import look_at
from scene3d.world.crop import Crop, World
from scene3d.world.photograph import Studio, make_studio
from scene3d.world.terrain import Bounds

SEED = 3


@lru_cache(maxsize=1)
def town_center() -> tuple[float, float]:
    return World(SEED).find_town()


@lru_cache(maxsize=1)
def town() -> Crop:
    """Two hundred metres of town."""
    return World(SEED).crop(Bounds.around(town_center(), 100.0))


@lru_cache(maxsize=1)
def town_studio() -> Studio:
    return make_studio(town())


def town_camera(
    offset: tuple[float, float, float], target: tuple[float, float, float] = (0, 0, 0), *, width: int = 96
) -> Camera:
    """A camera at a place relative to the middle of the town, on the ground there."""
    x, y = town_center()
    middle = np.array([x, y, float(town().height(np.array([[x, y]]))[0])])
    place, at = middle + np.array(offset, float), middle + np.array(target, float)
    K = np.array([[0.9 * width, 0, width / 2], [0, 0.9 * width, width * 3 / 8], [0, 0, 1]])
    return Camera(width=width, height=width * 3 // 4, K=K, cam_from_world=look_at(place, at))


def pixel_rays(camera: Camera) -> Float[np.ndarray, "n 3"]:
    """World directions of depth one through every pixel centre, row after row."""
    row, column = np.divmod(np.arange(camera.width * camera.height), camera.width)
    pixels = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], axis=1)
    return pixels @ np.linalg.inv(camera.K).T @ camera.cam_from_world[:3, :3]
