"""Owns rectangles of ground along the axes of a ground frame, and the trees of cuts that make them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from blocks.cells import Cut, Tree
from scene3d.errors import InputError


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle of ground along the axes of a ground frame."""

    low: tuple[float, float]
    high: tuple[float, float]

    @property
    def sides(self) -> tuple[float, float]:
        """Its lengths along u and v."""
        return self.high[0] - self.low[0], self.high[1] - self.low[1]

    @property
    def aspect(self) -> float:
        """Longer side over shorter."""
        return max(self.sides) / min(self.sides)

    def cut(self, axis: int, at: float) -> tuple["Rectangle", "Rectangle"]:
        """What lies below a coordinate, and the rest."""
        edge = (at, self.low[1]), (at, self.high[1])
        if axis == 1:
            edge = (self.low[0], at), (self.high[0], at)
        return Rectangle(self.low, edge[1]), Rectangle(edge[0], self.high)

    def span(self, axis: int, expand_ratio: float) -> tuple[float, float]:
        """From where to where it reaches along an axis, its margins included."""
        margin = expand_ratio * self.sides[axis]
        return self.low[axis] - margin, self.high[axis] + margin

    def covers(self, uv: Float[np.ndarray, "n 2"], expand_ratio: float) -> Bool[np.ndarray, "n"]:
        """Which ground points lie in it or in its margins."""
        inside = np.ones(len(uv), bool)
        for axis in (0, 1):
            low, high = self.span(axis, expand_ratio)
            inside &= (uv[:, axis] >= low) & (uv[:, axis] <= high)
        return inside


def rectangles_of(tree: Tree, rectangle: Rectangle) -> list[Rectangle]:
    """The rectangle of each cell, by its number, inside the whole one."""
    found: dict[int, Rectangle] = {}
    pending: list[tuple[Tree, Rectangle]] = [(tree, rectangle)]
    while pending:
        node, around = pending.pop()
        if isinstance(node, int):
            found[node] = around
        else:
            low, high = around.cut(node.axis, node.at)
            pending += [(node.low, low), (node.high, high)]
    return [found[number] for number in range(len(found))]


def tree_from_rectangles(rectangles: Sequence[Rectangle], *, tolerance: float = 1e-9) -> Tree:
    """The cuts that tell given rectangles apart; leaf i is rectangle i.

    Args:
        rectangles: They do not overlap.
        tolerance: By how much, relative to all of them, two may overlap or be apart through rounding.

    Raises:
        InputError: No straight cut leaves all of them whole.
    """
    low = np.array([each.low for each in rectangles])
    high = np.array([each.high for each in rectangles])
    slack = tolerance * float((high.max(axis=0) - low.min(axis=0)).max())
    return _tree_of(np.arange(len(rectangles)), low, high, slack)


def _tree_of(
    rows: Int[np.ndarray, "r"], low: Float[np.ndarray, "n 2"], high: Float[np.ndarray, "n 2"], slack: float
) -> Tree:
    if len(rows) == 1:
        return int(rows[0])
    for axis in (0, 1):
        for at in np.unique(high[rows, axis]):
            below = high[rows, axis] <= at + slack
            if below.all() or (low[rows[~below], axis] < at - slack).any():
                continue
            middle = (high[rows[below], axis].max() + low[rows[~below], axis].min()) / 2
            parts = (_tree_of(part, low, high, slack) for part in (rows[below], rows[~below]))
            return Cut(axis, float(middle), *parts)
    raise InputError(f"no straight cut leaves {len(rows)} rectangles whole")
