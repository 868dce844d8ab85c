"""Owns the parts of pixels that are painted at one stroke, so that smooth edges do not cost more painting."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from scene3d.world.raster import SampleBuffer


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Parts of pixels that see one part of the scene: each is painted once, however many samples it has."""

    position: Float[np.ndarray, "n 2"]
    """Middle of the patch, pixels of the camera that is photographed."""

    key: Float[np.ndarray, "n"]
    index: Int[np.ndarray, "n"]
    share: Float[np.ndarray, "n"]
    """Of the pixel."""

    pixel: Int[np.ndarray, "n"]


def find_patches(buffer: SampleBuffer, per_side: int) -> Patches:
    """Group the samples of each pixel by what they see."""
    height, width, count = buffer.height // per_side, buffer.width // per_side, per_side**2

    def by_pixel(values: np.ndarray) -> np.ndarray:
        shape = (height, per_side, width, per_side)
        return values.reshape(shape).transpose(0, 2, 1, 3).reshape(-1, count)

    index, key = by_pixel(buffer.index), by_pixel(buffer.key)
    row, column = np.divmod(np.arange(count), per_side)
    offset = (np.stack([column, row], axis=1) + 0.5) / per_side  # [count, 2]
    parts = []
    for sample in range(count):
        same = index == index[:, sample : sample + 1]
        first = np.flatnonzero(~same[:, :sample].any(axis=1))
        members = same[first].astype(np.float64)
        number = members.sum(axis=1)
        pixel_row, pixel_column = np.divmod(first, width)
        position = members @ offset / number[:, None] + np.stack([pixel_column, pixel_row], axis=1)
        mean_key = (members * key[first]).sum(axis=1) / number
        parts.append((position, mean_key, index[first, sample], number / count, first))
    return Patches(*(np.concatenate(column) for column in zip(*parts, strict=True)))
