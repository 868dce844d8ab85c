"""Owns the filling of triangles and balls into a buffer that keeps the nearest, by spans."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

SAMPLES_AT_ONCE = 3_000_000
_SPAN_SLACK = 1e-7
"""Pixels; two triangles that share an edge both claim a sample on it, so that rounding leaves no crack."""


@dataclass(frozen=True, slots=True, eq=False)
class SampleBuffer:
    """The nearest thing at each sample, row after row."""

    width: int
    height: int
    key: Float[np.ndarray, "s"]
    """Larger is nearer; 0 where nothing is."""

    index: Int[np.ndarray, "s"]
    """-1 where nothing is."""

    @classmethod
    def empty(cls, width: int, height: int) -> "SampleBuffer":
        """Nothing anywhere."""
        return cls(width, height, np.zeros(width * height), np.full(width * height, -1, np.int64))

    def keep_nearest(
        self, sample: Int[np.ndarray, "f"], key: Float[np.ndarray, "f"], index: Int[np.ndarray, "f"]
    ) -> None:
        """Put fragments in; of equal ones the one drawn later stays."""
        np.maximum.at(self.key, sample, key)
        won = self.key[sample] == key
        self.index[sample[won]] = index[won]


@dataclass(frozen=True, slots=True, eq=False)
class ProjectedTriangles:
    """Triangles as affine functions of pixel (x, y): three that are >= 0 inside, and the key."""

    edges: Float[np.ndarray, "t 3 3"]
    keys: Float[np.ndarray, "t 3"]
    boxes: Float[np.ndarray, "t 4"]
    """x low, y low, x high, y high, pixels."""

    index: Int[np.ndarray, "t"]


def draw_triangles(buffer: SampleBuffer, triangles: ProjectedTriangles, *, key_limit: float = np.inf) -> None:
    """Fill triangles; fragments with a key above the limit are too near to be seen."""
    boxes = _clip_boxes(triangles.boxes, buffer)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    seen = np.flatnonzero((width > 0) & (height > 0))
    for some in _batches(seen, (width * height)[seen]):
        _fill(buffer, triangles, some, boxes, key_limit)


def _fill(
    buffer: SampleBuffer,
    triangles: ProjectedTriangles,
    some: Int[np.ndarray, "k"],
    boxes: Int[np.ndarray, "t 4"],
    key_limit: float,
) -> None:
    rows = boxes[some, 3] - boxes[some, 1]
    triangle, step = expand(some, rows)
    y = boxes[triangle, 1] + step
    first, last = boxes[triangle, 0].astype(np.float64), boxes[triangle, 2].astype(np.float64) - 1.0
    for edge in range(3):
        slope = triangles.edges[triangle, edge, 0]
        rest = triangles.edges[triangle, edge, 1] * (y + 0.5) + triangles.edges[triangle, edge, 2]
        flat = slope == 0
        crossing = -rest / np.where(flat, 1.0, slope) - 0.5
        first = np.where(slope > 0, np.maximum(first, crossing - _SPAN_SLACK), first)
        last = np.where(slope < 0, np.minimum(last, crossing + _SPAN_SLACK), last)
        last = np.where(flat & (rest < 0), -1.0, last)
    start = np.ceil(first).astype(np.int64)
    count = np.maximum(np.floor(last).astype(np.int64) - start + 1, 0)
    slope = triangles.keys[triangle, 0]
    key_at_start = triangles.keys[triangle, 1] * (y + 0.5) + triangles.keys[triangle, 2] + slope * (start + 0.5)
    span, step = expand(np.arange(len(count)), count)
    key = key_at_start[span] + slope[span] * step
    sample = (y * buffer.width + start)[span] + step
    index = triangles.index[triangle][span]
    if np.isfinite(key_limit):
        good = (key > 0) & (key <= key_limit)
        sample, key, index = sample[good], key[good], index[good]
    buffer.keep_nearest(sample, key, index)


def box_samples(
    buffer: SampleBuffer, boxes: Float[np.ndarray, "n 4"]
) -> Iterator[tuple[Int[np.ndarray, "f"], Int[np.ndarray, "f"], Int[np.ndarray, "f"]]]:
    """Box number, x and y of every sample inside each box, some boxes at a time."""
    clipped = _clip_boxes(boxes, buffer)
    width, height = clipped[:, 2] - clipped[:, 0], clipped[:, 3] - clipped[:, 1]
    seen = np.flatnonzero((width > 0) & (height > 0))
    for some in _batches(seen, (width * height)[seen]):
        box, step = expand(some, width[some] * height[some])
        row, column = np.divmod(step, width[box])
        yield box, clipped[box, 0] + column, clipped[box, 1] + row


def expand(values: Int[np.ndarray, "k"], counts: Int[np.ndarray, "k"]) -> tuple[np.ndarray, np.ndarray]:
    """Each value repeated its count of times, and the running number within each repetition."""
    repeated = np.repeat(values, counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return repeated, np.arange(len(repeated)) - starts


def _clip_boxes(boxes: Float[np.ndarray, "t 4"], buffer: SampleBuffer) -> Int[np.ndarray, "t 4"]:
    """First and last + 1 sample whose centre lies in each box, inside the buffer."""
    limit = np.array([buffer.width, buffer.height])
    low = np.clip(np.ceil(boxes[:, :2] - 0.5 - _SPAN_SLACK), 0, limit)
    high = np.clip(np.floor(boxes[:, 2:] - 0.5 + _SPAN_SLACK) + 1, 0, limit)
    return np.concatenate([low, high], axis=1).astype(np.int64)


def _batches(items: Int[np.ndarray, "k"], sizes: Int[np.ndarray, "k"]) -> Iterator[Int[np.ndarray, "m"]]:
    """Runs of items whose sizes stay together below SAMPLES_AT_ONCE, or single ones."""
    number = np.cumsum(sizes) // SAMPLES_AT_ONCE
    cuts = np.flatnonzero(np.diff(number)) + 1
    yield from (part for part in np.split(items, cuts) if len(part))
