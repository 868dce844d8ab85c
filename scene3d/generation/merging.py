"""Owns how blocks become one field: a partition of unity where they overlap, and no jump where the known begins."""

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from scene3d.generation.blending import spread_shift

CUT_OFF = 0.999
"""Distances from here on are cut off, in units of the truncation."""


def make_window_weights(side: int, overlap: int) -> Float32[np.ndarray, "k k"]:
    """Weight of each column of a block: 1 inside, falling smoothly to nearly 0 at its sides over the overlap."""
    place = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    ramp = np.clip(place / max(overlap, 1), 0.0, 1.0)
    along = ramp * ramp * (3.0 - 2.0 * ramp)
    return np.asarray(along[:, None] * along[None, :], np.float32)


class Canvas:
    """The field on its way: what was known, and the weighted sums of the blocks drawn so far.

    Values are a distance, -1 to 1, and a colour, which means something only where the distance is not cut off.
    """

    def __init__(
        self,
        values: Float[np.ndarray, "x y z 4"],
        known: Bool[np.ndarray, "x y z"],
        window_weights: Float32[np.ndarray, "k k"],
    ) -> None:
        self._given, self._known, self._weights = values.astype(np.float32), known, window_weights
        self._sums = np.zeros(values.shape, np.float32)
        self._total = np.zeros(values.shape[:2], np.float32)
        self._color_total = np.zeros(values.shape[:3], np.float32)

    def window(self, x: int, y: int) -> tuple[Float32[np.ndarray, "k k k 4"], Bool[np.ndarray, "k k k"]]:
        """Values and what is known of them in the window that begins at column (x, y)."""
        part = self._part(x, y)
        known = self._known[part]
        return np.where(known[..., None], self._given[part], self._mean(part)), known | self._covered(part)

    def add(self, x: int, y: int, values: Float32[np.ndarray, "k k k 4"]) -> None:
        """Put a block in."""
        part = self._part(x, y)
        weights = self._weights[:, :, None]
        colored = weights * has_color(values[..., 0])
        self._sums[part][..., 0] += values[..., 0] * weights
        self._sums[part][..., 1:] += values[..., 1:] * colored[..., None]
        self._total[part] += self._weights
        self._color_total[part] += colored

    def merge(self, fade_voxels: int) -> tuple[Float32[np.ndarray, "x y z 4"], Bool[np.ndarray, "x y z"]]:
        """The whole field, and where it is known or made.

        Known voxels keep their values. Beside them the drawn field is shifted by what it missed them by; the shift
        fades away over `fade_voxels`, so that the field does not jump. Of colours, only those beside a surface are
        compared.
        """
        whole = (slice(None), slice(None))
        drawn, covered = self._mean(whole), self._covered(whole)
        new, colored = ~self._known & covered, self._color_total > 0
        compared = self._known & colored & has_color(self._given[..., 0])
        missed = self._given - _continued(drawn, covered[:, :, 0])
        result = np.where(self._known[..., None], self._given, drawn)
        result[..., :1] += spread_shift(missed[..., :1], self._known, new, fade_voxels=float(fade_voxels))
        result[..., 1:] += spread_shift(missed[..., 1:], compared, new & colored, fade_voxels=float(fade_voxels))
        return result, self._known | covered

    def _part(self, x: int, y: int) -> tuple[slice, slice]:
        side = len(self._weights)
        return slice(x, x + side), slice(y, y + side)

    def _mean(self, part: tuple[slice, slice]) -> Float32[np.ndarray, "x y z 4"]:
        totals = np.broadcast_to(self._total[part][..., None, None], (*self._sums[part].shape[:3], 4)).copy()
        totals[..., 1:] = self._color_total[part][..., None]
        return np.divide(self._sums[part], totals, out=np.zeros_like(self._sums[part]), where=totals > 0)

    def _covered(self, part: tuple[slice, slice]) -> Bool[np.ndarray, "x y z"]:
        covered = self._total[part] > 0
        return np.broadcast_to(covered[:, :, None], self._known[part].shape)


def has_color(tsdf: Float[np.ndarray, "*s"]) -> Bool[np.ndarray, "*s"]:
    """Where a surface is near enough for a colour."""
    return np.abs(tsdf) < CUT_OFF


def _continued(
    values: Float32[np.ndarray, "x y z c"], covered: Bool[np.ndarray, "x y"]
) -> Float32[np.ndarray, "x y z c"]:
    """Values whose columns without a block repeat the nearest with one."""
    if covered.all() or not covered.any():
        return values
    nearest = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return values[tuple(nearest)]
