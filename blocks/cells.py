"""Owns the cells of a partition: where they lie on the ground, and which one owns a place."""

from dataclasses import dataclass
from typing import Any, Union

import numpy as np
from jaxtyping import Bool, Float, Int

from scene3d.errors import InputError

LOW_U, LOW_V, HIGH_U, HIGH_V = range(4)
"""Sides of a cell, in the order of `Cell.shared`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundFrame:
    """Axes u and v on the ground of a world whose z is up: the directions of a turned rectangle."""

    center: tuple[float, float]
    """Where u = v = 0, world units."""

    angle_rad: float
    """From the world's x to u, counter-clockwise seen from above."""

    def from_world(self, points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
        """u and v of world points; of each only x and y count."""
        return (np.asarray(points, np.float64)[:, :2] - self.center) @ self._axes().T

    def to_world(self, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """x and y of ground points."""
        return np.asarray(uv, np.float64) @ self._axes() + self.center

    def _axes(self) -> Float[np.ndarray, "2 2"]:
        """u and v as rows."""
        cosine, sine = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return np.array([[cosine, sine], [-sine, cosine]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A bounded rectangle of ground and a range of heights; what a block sees, loads and grows in."""

    low: tuple[float, float]
    high: tuple[float, float]
    bottom: float
    top: float
    """Heights between which Gaussians may grow, world units."""

    margin: tuple[float, float]
    """How far the block looks past its faces along u and along v, world units."""

    shared: tuple[bool, bool, bool, bool]
    """Which of the faces LOW_U, LOW_V, HIGH_U, HIGH_V has a neighbour behind it."""

    def __post_init__(self) -> None:
        ordered = all(low < high for low, high in zip(self.low, self.high, strict=True)) and self.bottom < self.top
        if not ordered or min(self.margin) < 0:
            raise InputError(f"a cell from {self.low} to {self.high}, {self.bottom} to {self.top} high, is empty")

    def covers(self, uv: Float[np.ndarray, "n 2"], *, expanded: bool = True) -> Bool[np.ndarray, "n"]:
        """Which ground points lie in the rectangle: half-open as it is, closed once it is expanded by its margin."""
        if expanded:
            inside = (uv >= np.subtract(self.low, self.margin)) & (uv <= np.add(self.high, self.margin))
        else:
            inside = (uv >= self.low) & (uv < self.high)
        return np.asarray(inside.all(axis=1))

    def covers_height(self, heights: Float[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Which heights lie in the cell's range."""
        return np.asarray((heights >= self.bottom) & (heights <= self.top))

    def is_near_shared_face(self, uv: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n"]:
        """Which places, on either side, lie within the margin of a face that has a neighbour behind it."""
        beyond = self.covers(uv)
        near = np.zeros(len(uv), bool)
        for axis in (0, 1):
            if self.shared[axis]:
                near |= np.abs(uv[:, axis] - self.low[axis]) <= self.margin[axis]
            if self.shared[axis + 2]:
                near |= np.abs(uv[:, axis] - self.high[axis]) <= self.margin[axis]
        return near & beyond

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "low": list(self.low),
            "high": list(self.high),
            "bottom": self.bottom,
            "top": self.top,
            "margin": list(self.margin),
            "shared": list(self.shared),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Cell":
        """The inverse of `to_record`."""
        low, high, margin = ((float(a), float(b)) for a, b in (record["low"], record["high"], record["margin"]))
        first, second, third, fourth = (bool(each) for each in record["shared"])
        return cls(
            low=low,
            high=high,
            bottom=float(record["bottom"]),
            top=float(record["top"]),
            margin=margin,
            shared=(first, second, third, fourth),
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """A straight cut through the ground: what lies below `at` along an axis is `low`, the rest is `high`."""

    axis: int
    """0 cuts across u, 1 across v."""

    at: float
    low: "Tree"
    high: "Tree"


Tree = Union[Cut, int]  # noqa: UP007  (a forward reference cannot stand in X | Y)
"""A cut, or the number of the cell that is left when nothing is cut any more."""


def find_leaves(tree: Tree, uv: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n"]:
    """The cell of each ground point. Cuts are half-open and the outer cells unbounded: every point has exactly one."""
    found = np.zeros(len(uv), np.int64)
    pending: list[tuple[Tree, Int[np.ndarray, m]]] = [(tree, np.arange(len(uv)))]
    while pending:
        node, rows = pending.pop()
        if isinstance(node, int):
            found[rows] = node
            continue
        below = uv[rows, node.axis] < node.at
        pending += [(node.low, rows[below]), (node.high, rows[~below])]
    return found


def leaves_of(tree: Tree) -> list[int]:
    """Numbers of all cells, low before high."""
    return [tree] if isinstance(tree, int) else [*leaves_of(tree.low), *leaves_of(tree.high)]


def tree_to_record(tree: Tree) -> Any:
    """Plain values for JSON."""
    if isinstance(tree, int):
        return tree
    return {"axis": tree.axis, "at": tree.at, "low": tree_to_record(tree.low), "high": tree_to_record(tree.high)}


def tree_from_record(record: Any) -> Tree:
    """The inverse of `tree_to_record`."""
    if isinstance(record, int):
        return record
    if record["axis"] not in (0, 1):
        raise InputError(f"a cut has axis {record['axis']!r}; it is 0 or 1")
    low, high = tree_from_record(record["low"]), tree_from_record(record["high"])
    return Cut(int(record["axis"]), float(record["at"]), low, high)
