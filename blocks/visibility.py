"""Owns who sees what: observations of sparse points by training views, and the counts a partition is made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, UInt
from scipy.sparse import csc_array, csr_array

ROWS_AT_ONCE = 500_000
"""Points looked at together: bounds the memory of a pass over millions of tracks."""

WORDS_AT_ONCE = 64
"""Groups of views whose loads are counted in one pass: one bit each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Observations:
    """Which training views see each point (compressed rows). Every point is seen by at least one view."""

    num_views: int
    offsets: Int[np.ndarray, "n1"]
    """[n + 1]: views of point i are `views[offsets[i]:offsets[i + 1]]`."""

    views: Int[np.ndarray, "m"]
    """Training views, 0 to `num_views` - 1; none twice for one point."""

    num_seen: Int[np.ndarray, "v"] = field(init=False)
    """Points that each view sees."""

    def __post_init__(self) -> None:
        assert (np.diff(self.offsets) > 0).all(), "a point that no view sees tells a partition nothing"
        object.__setattr__(self, "num_seen", np.bincount(self.views, minlength=self.num_views))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of_pairs(
        cls, points: Int[np.ndarray, "m"], views: Int[np.ndarray, "m"], *, num_points: int, num_views: int
    ) -> tuple["Observations", Bool[np.ndarray, "n"]]:
        """From pairs in ascending order of points, and which points are seen at all: the others have no row."""
        counts = np.bincount(points, minlength=num_points)
        seen = counts > 0
        offsets = np.concatenate([[0], np.cumsum(counts[seen])])
        return cls(num_views=num_views, offsets=offsets, views=views.astype(np.int32)), seen

    def in_parts(
        self, rows: Int[np.ndarray, "r"]
    ) -> Iterator[tuple[slice, Int[np.ndarray, "p"], Int[np.ndarray, "k"]]]:
        """What is known of some points, a bounded number at a time.

        Yields a slice of `rows`, which ascend, how many views see each of these points, and these views, one point
        after the other.
        """
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            first, lengths = self.offsets[part], self.offsets[part + 1] - self.offsets[part]
            if part[-1] - part[0] == len(part) - 1:  # rows ascend: these follow one another
                entries = slice(first[0], first[-1] + lengths[-1])
            else:
                ends = np.cumsum(lengths)
                entries = np.arange(ends[-1]) + np.repeat(first - (ends - lengths), lengths)
            yield slice(start, start + len(part)), lengths, self.views[entries]

    @cached_property
    def _by_view(self) -> csc_array:
        """The points of each view."""
        entries = np.ones(len(self.views), np.int8)
        return csr_array((entries, self.views, self.offsets), (len(self), self.num_views)).tocsc()

    def rows_seen_by(self, views: Bool[np.ndarray, "v"]) -> Int[np.ndarray, "r"]:
        """Points that at least one of some views sees, ascending; all of them where that is no less work."""
        if self.num_seen[views].sum() > len(self.views) / 2:
            return np.arange(len(self))
        seen = np.zeros(len(self), bool)
        by_view = self._by_view
        for view in np.flatnonzero(views):
            seen[by_view.indices[by_view.indptr[view] : by_view.indptr[view + 1]]] = True
        return np.flatnonzero(seen)


def count_in_spans(
    observations: Observations,
    rows: Int[np.ndarray, "r"],
    coordinates: Float[np.ndarray, "r"],
    spans: Float[np.ndarray, "s 2"],
) -> tuple[Int[np.ndarray, "s v"], Int[np.ndarray, "s"]]:
    """How many points in each closed span of a coordinate each view sees, and how many there are, in one pass.

    Args:
        observations: Of all points.
        rows: The points that count.
        coordinates: Of these points.
        spans: Lowest and highest coordinate of each.
    """
    # Just past its upper end a closed span becomes half-open, so that one sorted list of edges tells all apart.
    edges = np.stack([spans[:, 0], np.nextafter(spans[:, 1], np.inf)], axis=1)
    levels, place = np.unique(edges, return_inverse=True)
    first, last = place.reshape(-1, 2).T
    buckets = np.searchsorted(levels, coordinates, side="right")
    num_buckets = len(levels) + 1
    counts = np.zeros(observations.num_views * num_buckets, np.int64)
    for part, lengths, views in observations.in_parts(rows):
        index = views.astype(np.int64) * num_buckets + np.repeat(buckets[part], lengths)
        counts += np.bincount(index, minlength=len(counts))
    # below[j]: in buckets 0 to j, which are the points under levels[j].
    below = counts.reshape(-1, num_buckets).cumsum(axis=1)
    sizes_below = np.bincount(buckets, minlength=num_buckets).cumsum()
    return (below[:, last] - below[:, first]).T, sizes_below[last] - sizes_below[first]


def count_seen(observations: Observations, groups: Sequence[Int[np.ndarray, "_"]]) -> Int[np.ndarray, "v g"]:
    """How many of the points of each group each view sees: the product of two sparse matrices."""
    entries = np.ones(len(observations.views), np.int32)
    seen_by = csr_array(
        (entries, observations.views, observations.offsets), (len(observations), observations.num_views)
    )
    ends = np.concatenate([[0], np.cumsum([len(rows) for rows in groups])])
    rows = np.concatenate([*groups, np.zeros(0, np.int32)]).astype(np.int32)
    members = csc_array((np.ones(len(rows), np.int32), rows, ends), (len(observations), len(groups)))
    return (seen_by.T @ members).toarray().astype(np.int64)


def count_loads(observations: Observations, assigned: Bool[np.ndarray, "g v"]) -> Int[np.ndarray, "g"]:
    """How many distinct points each group of views sees.

    One bit per group in a word per view; the words of a point's views, joined by OR, tell which groups see it.
    """
    return np.concatenate(
        [_count_loads(observations, assigned[i : i + WORDS_AT_ONCE]) for i in range(0, len(assigned), WORDS_AT_ONCE)]
        or [np.zeros(0, np.int64)]
    )


def _count_loads(observations: Observations, assigned: Bool[np.ndarray, "g v"]) -> Int[np.ndarray, "g"]:
    num_groups = len(assigned)
    kind = next(kind for kind in (np.uint16, np.uint32, np.uint64) if num_groups <= 8 * kind().itemsize)
    bits = np.left_shift(np.ones(num_groups, kind), np.arange(num_groups, dtype=kind))
    words = np.bitwise_or.reduce(np.where(assigned, bits[:, None], kind(0)), axis=0)
    num_bits = min(num_groups, 16)
    halves = np.zeros((-(-num_groups // 16), 1 << num_bits), np.int64)
    for _, lengths, views in observations.in_parts(observations.rows_seen_by(np.asarray(assigned.any(axis=0)))):
        joined = np.bitwise_or.reduceat(words[views], np.cumsum(lengths) - lengths)
        _count_patterns(joined, halves)
    # The patterns in which a bit is set, for each bit, without a table of them all.
    sums = [halves.reshape(len(halves), -1, 2, 1 << bit)[:, :, 1].sum(axis=(1, 2)) for bit in range(num_bits)]
    return np.stack(sums, axis=1).reshape(-1)[:num_groups]


def _count_patterns(words: UInt[np.ndarray, "n"], halves: Int[np.ndarray, "h p"]) -> None:
    """Add up how often each pattern of 16 bits occurs: much cheaper than looking at every bit of every word."""
    for half, counts in enumerate(halves):
        pattern = (words >> words.dtype.type(16 * half)).astype(np.uint16)
        counts += np.bincount(pattern, minlength=len(counts))


def views_of_spans(
    counts: Int[np.ndarray, "s v"],
    sizes: Int[np.ndarray, "s"],
    num_seen: Int[np.ndarray, "v"],
    *,
    cover_view: float,
    cover_block: float,
) -> Bool[np.ndarray, "s v"]:
    """Which views belong to which part of the ground.

    A view does that has more than a share of its own points there, or sees more than a share of the part's points.
    """
    return np.asarray((counts > cover_view * num_seen) | (counts > cover_block * sizes[:, None]))
