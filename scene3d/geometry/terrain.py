"""Owns the smooth height of the ground under a scene, and what it does beyond the scene."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

GROUND_QUANTILE = 0.25
"""The trend lies above this share of the lowest things of each place: some places show roofs and trees only."""

_ROUNDS = 40
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terrain:
    """z = quadratic in u and v over a convex piece of ground; outside it goes on straight and levels out."""

    coefficients: Float[np.ndarray, "6"]
    """Of 1, a, b, a^2, a b, b^2 with a = u / reach, b = v / reach."""

    reach: float
    hull: Float[np.ndarray, "k 2"]
    """Corners of the piece, counter-clockwise."""

    fade: float
    """Beyond the piece the slope falls off by 1/e in so much, world units."""

    def height(self, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
        """Of the ground at some places, world units."""
        inner = nearest_in_hull(uv, self.hull)
        step = uv - inner
        length = np.linalg.norm(step, axis=1)
        shrink = np.where(length > 1e-9, self.fade * -np.expm1(-length / self.fade) / np.maximum(length, 1e-9), 1.0)
        return self._quadratic(inner) + (self._slope(inner) * step).sum(axis=1) * shrink

    def to_record(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "coefficients": self.coefficients.tolist(),
            "reach": self.reach,
            "hull": self.hull.tolist(),
            "fade": self.fade,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Terrain":
        """The inverse of `to_record`."""
        return cls(
            coefficients=np.asarray(record["coefficients"], np.float64).reshape(6),
            reach=float(record["reach"]),
            hull=np.asarray(record["hull"], np.float64).reshape(-1, 2),
            fade=float(record["fade"]),
        )

    def _quadratic(self, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
        return _terms(uv / self.reach) @ self.coefficients

    def _slope(self, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        a, b = (uv / self.reach).T
        _, by_a, by_b, aa, ab, bb = self.coefficients
        return np.stack([by_a + 2 * aa * a + ab * b, by_b + ab * a + 2 * bb * b], axis=1) / self.reach


def fit_terrain(
    points: Float[np.ndarray, "n 3"], hull: Float[np.ndarray, "k 2"], *, bin_size: float, fade: float
) -> Terrain:
    """The ground below points of a scene: a low quantile of the lowest tenth of each bin (quantile regression).

    Args:
        points: u, v and height of solid things; at least one.
        hull: Where they lie, counter-clockwise.
        bin_size: Side of the bins, world units.
        fade: See `Terrain`.
    """
    places, heights = _lowest(points, bin_size)
    reach = float(np.abs(hull).max())
    terms = _terms(places / reach)
    ridge = _RIDGE * len(places) * np.diag([0, 1, 1, 10, 10, 10])
    coefficients = np.array([np.median(heights), 0, 0, 0, 0, 0])
    scale = max(float(np.median(np.abs(heights - np.median(heights)))), 1e-9)
    for _ in range(_ROUNDS):  # iteratively reweighted least squares
        residual = heights - terms @ coefficients
        weights = np.where(residual > 0, GROUND_QUANTILE, 1 - GROUND_QUANTILE) * scale
        weights /= np.maximum(np.abs(residual), 0.02 * scale)
        system = terms.T @ (weights[:, None] * terms) + ridge
        coefficients = np.linalg.solve(system, terms.T @ (weights * heights))
    return Terrain(coefficients=coefficients, reach=reach, hull=hull, fade=fade)


def nearest_in_hull(points: Float[np.ndarray, "n 2"], hull: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "n 2"]:
    """The nearest point of a convex polygon (counter-clockwise) to each point; points inside stay where they are."""
    edges = np.roll(hull, -1, axis=0) - hull
    outside = np.zeros(len(points), bool)
    for start, edge in zip(hull, edges, strict=True):
        outside |= (edge[0] * (points[:, 1] - start[1]) - edge[1] * (points[:, 0] - start[0])) < 0
    left = points[outside]
    best, least = left.copy(), np.full(len(left), np.inf)
    for start, edge in zip(hull, edges, strict=True):
        along = np.clip((left - start) @ edge / max(float(edge @ edge), 1e-300), 0, 1)
        nearest = start + along[:, None] * edge
        gap = ((left - nearest) ** 2).sum(axis=1)
        nearer = gap < least
        best[nearer], least[nearer] = nearest[nearer], gap[nearer]
    result = points.copy()
    result[outside] = best
    return result


def _terms(ab: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 6"]:
    a, b = ab.T
    return np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=1)


def _lowest(
    points: Float[np.ndarray, "n 3"], bin_size: float
) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "m"]]:
    """The middle of each bin that has points, and the tenth percentile of their heights."""
    bins = np.floor(points[:, :2] / bin_size).astype(np.int64)
    unique, owner = np.unique(bins, axis=0, return_inverse=True)
    order = np.lexsort((points[:, 2], owner.ravel()))
    counts = np.bincount(owner.ravel())
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    chosen = order[first + counts // 10]
    return (unique + 0.5) * bin_size, points[chosen, 2]
