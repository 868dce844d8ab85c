"""Owns a flat grid that finds the solids near a point."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

BIN_SIDE_M = 8.0
PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class SolidBins:
    """For each square of ground, the solids whose box, grown by the reach, touches it (compressed rows)."""

    origin: Float[np.ndarray, "2"]
    columns: int
    rows: int
    offsets: Int[np.ndarray, "k1"]
    members: Int[np.ndarray, "m"]
    """Ascending within each bin."""

    def pairs(
        self, points: Float[np.ndarray, "n 3"], first: int, last: int
    ) -> Iterator[tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]]:
        """Point and solid numbers of every near pair, for solids first..last-1, some at a time."""
        cell = np.floor((points[:, :2] - self.origin) / BIN_SIDE_M).astype(np.int64)
        inside = ((cell >= 0) & (cell < [self.columns, self.rows])).all(axis=1)
        where = np.flatnonzero(inside)
        index = cell[where, 1] * self.columns + cell[where, 0]
        count = self.offsets[index + 1] - self.offsets[index]
        batch = np.cumsum(count) // PAIRS_AT_ONCE
        starts = np.append(np.flatnonzero(np.diff(batch, prepend=-1)), len(where))
        for low, high in pairwise(starts):
            number = count[low:high]
            row = np.repeat(where[low:high], number)
            step = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
            solid = self.members[np.repeat(self.offsets[index[low:high]], number) + step]
            wanted = (solid >= first) & (solid < last)
            yield row[wanted], solid[wanted]


def bin_boxes(low: Float[np.ndarray, "n 3"], high: Float[np.ndarray, "n 3"], reach_m: float) -> SolidBins:
    """Bins of boxes, each grown by the reach on all sides."""
    if not len(low):
        return SolidBins(np.zeros(2), 0, 0, np.zeros(1, np.int64), np.zeros(0, np.int64))
    origin = low[:, :2].min(axis=0) - reach_m
    first = np.floor((low[:, :2] - reach_m - origin) / BIN_SIDE_M).astype(np.int64)
    last = np.floor((high[:, :2] + reach_m - origin) / BIN_SIDE_M).astype(np.int64)
    columns, rows = (int(side) + 1 for side in last.max(axis=0))
    span = last - first + 1
    count = span[:, 0] * span[:, 1]
    solid = np.repeat(np.arange(len(low)), count)
    step = np.arange(len(solid)) - np.repeat(np.cumsum(count) - count, count)
    row, column = np.divmod(step, span[solid, 0])
    cell = (first[solid, 1] + row) * columns + first[solid, 0] + column
    order = np.argsort(cell, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=columns * rows))])
    return SolidBins(origin, columns, rows, offsets, solid[order])
