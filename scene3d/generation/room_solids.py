"""Owns the solids that rooms are built of: upright boxes with holes, and upright cylinders, with exact distances."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Hole = tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]
"""Low and high corner of a box that is taken away."""


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """A box along the axes, or an upright cylinder in it."""

    kind: Literal["box", "cylinder"]
    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]
    color: Float[np.ndarray, "3"]
    class_id: int
    holes: tuple[Hole, ...] = ()

    def thickened(self, least: float) -> "Solid":
        """The same, nowhere thinner than this: voxels do not show what slips through between their centres."""
        across = least * np.sqrt(2.0) if self.kind == "cylinder" else least  # a round one must reach a square's corners
        grow = np.maximum(np.array([across, across, least]) - (self.high - self.low), 0.0) / 2
        return Solid(self.kind, self.low - grow, self.high + grow, self.color, self.class_id, self.holes)

    def distance(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        """Signed distance; around holes a lower bound."""
        found = _box_distance(points, self.low, self.high) if self.kind == "box" else self._round_distance(points)
        for low, high in self.holes:
            found = np.maximum(found, -_box_distance(points, low, high))
        return found

    def _round_distance(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        beside = np.linalg.norm(points[..., :2] - middle[:2], axis=-1) - half[:2].min()
        above = np.abs(points[..., 2] - middle[2]) - half[2]
        outside = np.hypot(np.maximum(beside, 0.0), np.maximum(above, 0.0))
        return outside + np.minimum(np.maximum(beside, above), 0.0)


def make_box(
    low: Float[np.ndarray, "3"],
    high: Float[np.ndarray, "3"],
    color: Float[np.ndarray, "3"],
    class_id: int,
    *,
    holes: tuple[Hole, ...] = (),
) -> Solid:
    """A box with holes."""
    return Solid("box", low, high, color, class_id, holes)


def _box_distance(
    points: Float[np.ndarray, "*n 3"], low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*n"]:
    beyond = np.abs(points - (low + high) / 2) - (high - low) / 2
    return np.linalg.norm(np.maximum(beyond, 0.0), axis=-1) + np.minimum(beyond.max(axis=-1), 0.0)
