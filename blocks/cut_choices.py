"""Owns the weighing of possible cuts: what the two sides of each would load, hold and look like."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from blocks.partition_settings import PartitionSettings
from blocks.rectangle import Rectangle
from blocks.visibility import Observations, count_in_spans, count_loads, views_of_spans

MAX_SAMPLE = 100_000
"""Points that quantiles are taken of; more are thinned evenly."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """What is divided: points on the ground and who sees them."""

    uv: Float[np.ndarray, "n 2"]
    observations: Observations
    settings: PartitionSettings
    """With the minima of this capture."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenCell:
    """A cell that may still be cut."""

    rectangle: Rectangle
    rows: Int[np.ndarray, "r"]
    """Points in the rectangle and its margins."""

    load: int
    depth: int = 0
    """Cuts above it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """What some cuts of one cell across one axis would give; the first row is the low side, the second the high one."""

    axis: int
    positions: Float[np.ndarray, "k"]
    loads: Int[np.ndarray, "2 k"]
    num_points: Int[np.ndarray, "2 k"]
    num_views: Int[np.ndarray, "2 k"]
    aspects: Float[np.ndarray, "2 k"]

    def are_large_enough(self, settings: PartitionSettings) -> Bool[np.ndarray, "k"]:
        """Which cuts leave both sides enough views and points."""
        large = (self.num_points >= settings.min_points) & (self.num_views >= settings.min_views)
        return np.asarray(large.all(axis=0))


@dataclass(frozen=True, slots=True)
class Choice:
    """A cut that leaves both sides large enough."""

    outcomes: Outcomes
    index: int
    worst_load: int
    """The larger load of the two."""

    imbalance: int
    """Difference in points between its sides."""

    is_long: bool
    """Whether it makes a cell too long."""

    @property
    def by_load(self) -> tuple[int, int]:
        """Order of cuts, best first, that look at the loads."""
        return self.worst_load, self.imbalance

    @property
    def by_points(self) -> tuple[int, int]:
        """Order of cuts, best first, that look at the points."""
        return self.imbalance, self.worst_load


def find_choices(ground: Ground, cell: OpenCell, axis: int) -> list[Choice]:
    """The cuts across an axis that leave both sides large enough, at some quantiles of the cell's points."""
    outcomes = assess_cuts(ground, cell, axis, _quantiles(ground, cell, axis))
    limit = max(ground.settings.max_aspect, cell.rectangle.aspect)
    return [
        Choice(
            outcomes=outcomes,
            index=index,
            worst_load=int(outcomes.loads[:, index].max()),
            imbalance=int(np.ptp(outcomes.num_points[:, index])),
            is_long=bool(outcomes.aspects[:, index].max() > limit),
        )
        for index in np.flatnonzero(outcomes.are_large_enough(ground.settings)).tolist()
    ]


def _quantiles(ground: Ground, cell: OpenCell, axis: int) -> Float[np.ndarray, "k"]:
    """Positions that leave equal shares of the cell's own points between them, each midway between two points.

    Midway, so that rounding does not decide to which side a point belongs.
    """
    some = ground.uv[cell.rows[:: max(1, len(cell.rows) // MAX_SAMPLE)]]
    values = np.sort(some[cell.rectangle.covers(some, 0.0), axis])
    num = ground.settings.num_candidates
    upper = np.unique(np.arange(1, num + 1) * len(values) // (num + 1))
    upper = upper[upper > 0]
    positions = np.unique((values[upper - 1] + values[upper]) / 2)
    low, high = cell.rectangle.low[axis], cell.rectangle.high[axis]
    return positions[(positions > low) & (positions < high)]


def assess_cuts(ground: Ground, cell: OpenCell, axis: int, positions: Float[np.ndarray, "k"]) -> Outcomes:
    """Loads, points and views of both sides of all cuts, in one pass over the cell's observations and one over all."""
    settings = ground.settings
    sides = [[cell.rectangle.cut(axis, at)[side] for at in positions.tolist()] for side in (0, 1)]
    spans = np.array([part.span(axis, settings.expand_ratio) for side in sides for part in side]).reshape(-1, 2)
    counts, sizes = count_in_spans(ground.observations, cell.rows, ground.uv[cell.rows, axis], spans)
    assigned = views_of_spans(
        counts,
        sizes,
        ground.observations.num_seen,
        cover_view=settings.cover_view,
        cover_block=settings.cover_block,
    )
    return Outcomes(
        axis=axis,
        positions=positions,
        loads=count_loads(ground.observations, assigned).reshape(2, -1),
        num_points=sizes.reshape(2, -1),
        num_views=assigned.sum(axis=1).reshape(2, -1),
        aspects=np.array([part.aspect for side in sides for part in side], np.float64).reshape(2, -1),
    )
