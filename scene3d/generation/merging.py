"""Owns how blocks become one field: a partition of unity where they overlap, and no jump where the known begins."""

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage


def make_window_weights(side: int, overlap: int) -> Float32[np.ndarray, "k k"]:
    """Weight of each column of a block: 1 inside, falling smoothly to nearly 0 at its sides over the overlap."""
    place = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    ramp = np.clip(place / max(overlap, 1), 0.0, 1.0)
    along = ramp * ramp * (3.0 - 2.0 * ramp)
    return np.asarray(along[:, None] * along[None, :], np.float32)


class Canvas:
    """The field on its way: what was known, and the weighted sums of the blocks drawn so far."""

    def __init__(
        self,
        values: Float[np.ndarray, "x y z 4"],
        known: Bool[np.ndarray, "x y z"],
        window_weights: Float32[np.ndarray, "k k"],
    ) -> None:
        self._given, self._known, self._weights = values.astype(np.float32), known, window_weights
        self._sums = np.zeros(values.shape, np.float32)
        self._total = np.zeros(values.shape[:2], np.float32)

    def window(self, x: int, y: int) -> tuple[Float32[np.ndarray, "k k k 4"], Bool[np.ndarray, "k k k"]]:
        """Values and what is known of them in the window that begins at column (x, y)."""
        part = self._part(x, y)
        known = self._known[part]
        return np.where(known[..., None], self._given[part], self._mean(part)), known | self._covered(part)

    def add(self, x: int, y: int, values: Float32[np.ndarray, "k k k 4"]) -> None:
        """Put a block in."""
        part = self._part(x, y)
        self._sums[part] += values * self._weights[:, :, None, None]
        self._total[part] += self._weights

    def merge(self, fade_voxels: int) -> tuple[Float32[np.ndarray, "x y z 4"], Bool[np.ndarray, "x y z"]]:
        """The whole field, and where it is known or made.

        Known voxels keep their values. Beside them the drawn field is shifted by what it missed the nearest known
        voxel by, and the shift fades away over `fade_voxels`: the field does not jump.
        """
        whole = (slice(None), slice(None))
        drawn, covered = self._mean(whole), self._covered(whole)
        result = np.where(self._known[..., None], self._given, drawn)
        compared = self._known & covered
        if compared.any() and not compared.all():
            far, nearest = ndimage.distance_transform_edt(~compared, return_indices=True)
            beside = ~self._known & covered & (far < fade_voxels)
            source = tuple(axis[beside] for axis in nearest)
            missed = self._given[source] - drawn[source]
            fade = np.cos(0.5 * np.pi * far[beside] / fade_voxels) ** 2
            result[beside] += fade[:, None].astype(np.float32) * missed
        return result, self._known | covered

    def _part(self, x: int, y: int) -> tuple[slice, slice]:
        side = len(self._weights)
        return slice(x, x + side), slice(y, y + side)

    def _mean(self, part: tuple[slice, slice]) -> Float32[np.ndarray, "x y z 4"]:
        total = self._total[part][:, :, None, None]
        return np.divide(self._sums[part], total, out=np.zeros_like(self._sums[part]), where=total > 0)

    def _covered(self, part: tuple[slice, slice]) -> Bool[np.ndarray, "x y z"]:
        covered = self._total[part] > 0
        return np.broadcast_to(covered[:, :, None], self._known[part].shape)
