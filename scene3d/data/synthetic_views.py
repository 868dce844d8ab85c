"""Owns the lens of synthetic captures: photographs through it, sensor noise, and depth maps read back."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

from scene3d.cameras.camera import Camera
from scene3d.cameras.models import CameraModel, unproject
from scene3d.world.photograph import Studio, photograph

_DISTORTION = (-0.11, 0.025, 0.0008, -0.0006)
"""k1, k2, p1, p2 of the distorted lens: a mild barrel, like a drone's."""

_FINENESS = 2
"""A distorted photograph is taken from a pinhole picture this much finer, so that resampling does not blur it."""


def make_lens(width: int, height: int, field_of_view_deg: float, *, distorted: bool) -> CameraModel:
    """A pinhole with the principal point in the middle, or an OPENCV lens with it a little aside.

    Args:
        width: Image width, pixels.
        height: Image height, pixels.
        field_of_view_deg: Horizontal field of view, without the distortion.
        distorted: Which of the two.
    """
    focal = 0.5 * width / float(np.tan(np.radians(0.5 * field_of_view_deg)))
    if not distorted:
        params = (focal, focal, 0.5 * width, 0.5 * height)
        return CameraModel(name="PINHOLE", width=width, height=height, params=params)
    params = (focal, focal, 0.508 * width, 0.493 * height)
    return CameraModel(name="OPENCV", width=width, height=height, params=params + _DISTORTION)


def photograph_through(
    studio: Studio, lens: CameraModel, camera: Camera, *, gain: float
) -> Float32[np.ndarray, "h w 3"]:
    """The picture as the lens makes it; `camera` is the pinhole that replaces the lens and gives the pose."""
    if lens.is_pinhole:
        return photograph(studio, camera, gain=gain)
    wide, places = _wide_pinhole(lens)
    fine = Camera(width=wide.width, height=wide.height, K=wide.K, cam_from_world=camera.cam_from_world)
    picture = photograph(studio, fine, samples_per_side=1, gain=gain)
    channels = [
        ndimage.map_coordinates(picture[:, :, channel], places, order=1, mode="nearest") for channel in range(3)
    ]
    image = np.stack(channels, axis=-1).reshape(lens.height, _FINENESS, lens.width, _FINENESS, 3)
    return image.mean(axis=(1, 3), dtype=np.float32)


def add_noise(
    image: Float32[np.ndarray, "h w 3"], deviation: float, generator: np.random.Generator
) -> Float32[np.ndarray, "h w 3"]:
    """Sensor noise; none drawn where the deviation is zero."""
    if deviation == 0:
        return image
    noise = generator.normal(0, deviation, image.shape).astype(np.float32)
    return np.clip(image + noise, 0, 1)


def load_depth(path: Path, scale: float) -> Float32[np.ndarray, "h w"]:
    """A depth map of a capture in metres, given how many capture units one is."""
    depth = np.load(path, allow_pickle=False)
    return np.asarray(depth / np.float32(scale), np.float32)


@lru_cache(maxsize=4)
def _wide_pinhole(lens: CameraModel) -> tuple[CameraModel, Float[np.ndarray, "2 k"]]:
    """A finer pinhole that sees all the lens sees, and the (row, column) there of each part of the lens's pixels."""
    columns, rows = np.arange(lens.width * _FINENESS), np.arange(lens.height * _FINENESS)
    x, y = np.meshgrid((columns + 0.5) / _FINENESS, (rows + 0.5) / _FINENESS)
    rays = unproject(lens, np.stack([x.ravel(), y.ravel()], axis=1))
    plane = rays[:, :2] / rays[:, 2:] * lens.focal[0] * _FINENESS
    low = np.floor(plane.min(axis=0)) - 1
    width, height = (int(side) for side in np.ceil(plane.max(axis=0)) + 1 - low)
    focal = lens.focal[0] * _FINENESS
    wide = CameraModel(name="PINHOLE", width=width, height=height, params=(focal, focal, -low[0], -low[1]))
    places = plane - low - 0.5
    return wide, places[:, ::-1].T.copy()
