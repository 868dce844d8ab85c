"""Owns the nearest point on triangles, and points spread over them by area."""

import numpy as np
from jaxtyping import Float, Int


def nearest_on_triangles(
    points: Float[np.ndarray, "n 3"], corners: Float[np.ndarray, "f 3 3"], candidates: Int[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, "n"], Int[np.ndarray, "n"], Float[np.ndarray, "n 3"]]:
    """The nearest of some candidate triangles to each point.

    Args:
        points: In the triangles' frame.
        corners: Of all triangles.
        candidates: Rows of `corners`; a number past the last means none, and the first of a row always is one.

    Returns:
        Distance, row of `corners`, and the barycentric weights of the nearest point.
    """
    best = np.full(len(points), np.inf)
    face = np.zeros(len(points), np.int64)
    weights = np.zeros((len(points), 3))
    for column in candidates.T:
        chosen = np.where(column < len(corners), column, candidates[:, 0])
        triangle = corners[chosen]
        found = closest_weights(points, triangle)
        gap = np.linalg.norm(np.einsum("nc,nck->nk", found, triangle) - points, axis=1)
        better = gap < best
        best[better], face[better], weights[better] = gap[better], chosen[better], found[better]
    return best, face, weights


def sample_by_area(
    corners: Float[np.ndarray, "f 3 3"], count: int, generator: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points spread over triangles, uniform by area, and the unit normals there.

    Args:
        corners: Of triangles that are anticlockwise seen from outside; some of them must have an area.
        count: How many points.
        generator: Of the choice.
    """
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = np.linalg.norm(across, axis=1)
    rows = generator.choice(len(corners), count, p=doubled / doubled.sum())
    weights = generator.random((count, 2))
    flip = weights.sum(axis=1) > 1.0
    weights[flip] = 1.0 - weights[flip]
    first, second = weights[:, :1], weights[:, 1:]
    chosen = corners[rows]
    points = chosen[:, 0] + first * (chosen[:, 1] - chosen[:, 0]) + second * (chosen[:, 2] - chosen[:, 0])
    return points, across[rows] / doubled[rows, None]


def closest_weights(
    points: Float[np.ndarray, "n 3"], triangles: Float[np.ndarray, "n 3 3"]
) -> Float[np.ndarray, "n 3"]:
    """Barycentric weights of the point of each triangle that is nearest to each point (Ericson 2005, 5.1.5)."""
    a = triangles[:, 0]
    ab, ac, ap = triangles[:, 1] - a, triangles[:, 2] - a, points - a
    d1, d2 = (ab * ap).sum(1), (ac * ap).sum(1)
    bb, cc, bc = (ab * ab).sum(1), (ac * ac).sum(1), (ab * ac).sum(1)
    det = np.maximum(bb * cc - bc * bc, 1e-300)
    v, w = (cc * d1 - bc * d2) / det, (bb * d2 - bc * d1) / det
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    # Outside, the nearest point lies on one of the three edges.
    on_ab = np.clip(d1 / np.maximum(bb, 1e-300), 0, 1)
    on_ac = np.clip(d2 / np.maximum(cc, 1e-300), 0, 1)
    edge = ac - ab
    on_bc = np.clip(((ap - ab) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-300), 0, 1)
    zeros = np.zeros_like(v)
    choices = np.stack(
        [
            np.stack([on_ab, zeros], 1),
            np.stack([zeros, on_ac], 1),
            np.stack([1 - on_bc, on_bc], 1),
        ]
    )  # [3, n, 2]
    gaps = np.linalg.norm(choices[..., :1] * ab + choices[..., 1:] * ac - ap, axis=2)
    edges = choices[gaps.argmin(axis=0), np.arange(len(points))]
    vw = np.where(inside[:, None], np.stack([v, w], 1), edges)
    return np.concatenate([1 - vw.sum(1, keepdims=True), vw], axis=1)
