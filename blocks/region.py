"""Owns the region of interest: where on the ground the scene is, and the turned rectangle that is divided."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, Delaunay, QhullError, cKDTree

from blocks.cells import GroundFrame
from blocks.rectangle import Rectangle

MAX_SAMPLE = 50_000
"""Points looked at; more are thinned evenly."""

NUM_NEIGHBOURS = 10
LONELY_SHARE = 0.01
"""Share of the points, those farthest from their neighbours, that do not belong to the scene."""

LINK_RATIO = 4.0
"""Points belong together when they are no farther apart than this many times the loneliest kept point's reach."""

MIN_PATCH_SHARE = 0.05
"""Patches with a smaller share of the points, away from all others, are background."""

DILATION = 1.05
MIN_WIDTH_SHARE = 0.05
"""A region is at least this wide, as a share of its length: points along a line are no region yet."""

LEAST_SIDE = 1e-3
"""Shortest side of a region, in units of the median depth."""

EQUAL = 1e-9
"""Relative difference below which rounding decides, which it must not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Region:
    """Where the scene is."""

    corners: Float[np.ndarray, "k 2"]
    """Of a convex polygon, world x and y, counter-clockwise."""

    frame: GroundFrame
    """Its middle is that of the rectangle; u runs along the longer side."""

    rectangle: Rectangle
    """Of the frame; the smallest that holds all corners."""

    num_left_out: int = 0
    """Points that were looked at and lie outside: loners and background."""

    @property
    def radius(self) -> float:
        """Half the rectangle's diagonal."""
        return 0.5 * float(np.hypot(*self.rectangle.sides))


def find_region(ground: Float[np.ndarray, "n 2"]) -> Region:
    """The region that well-seen points cover, whatever way they are turned; at least one point is needed.

    Left out are the loneliest points and small patches far from the rest. The hull of what remains, a little larger, is
    the region.

    Args:
        ground: x and y of the points.
    """
    sample = ground[:: max(1, -(-len(ground) // MAX_SAMPLE))]
    kept = sample[_belongs(sample)]
    corners = _hull(kept)
    middle = _centroid(corners)
    region = make_region(middle + DILATION * (corners - middle), kept)
    return Region(
        corners=region.corners,
        frame=region.frame,
        rectangle=region.rectangle,
        num_left_out=len(sample) - len(kept),
    )


def make_region(corners: Float[np.ndarray, "k 2"], ground: Float[np.ndarray, "n 2"]) -> Region:
    """The region of a polygon: its hull, and the smallest turned rectangle around it.

    Args:
        corners: At least one; points along a line make a narrow region.
        ground: Points of the scene: they tell the two ends of the rectangle apart.
    """
    corners = _hull(corners)
    angle_rad = _best_angle(corners)
    turned = GroundFrame(center=(0.0, 0.0), angle_rad=angle_rad)
    uv = turned.from_world(corners)
    low, high = uv.min(axis=0), uv.max(axis=0)
    x, y = turned.to_world((low + high)[None] / 2)[0].tolist()
    frame = GroundFrame(center=(x, y), angle_rad=angle_rad)
    if _points_backwards(frame.from_world(ground)):
        frame = GroundFrame(center=(x, y), angle_rad=float(np.remainder(angle_rad, 2 * np.pi) - np.pi))
    half = (high - low) / 2
    least = max(MIN_WIDTH_SHARE * half.max(), LEAST_SIDE / 2)
    u, v = np.maximum(half, least).tolist()
    return Region(corners=corners, frame=frame, rectangle=Rectangle((-u, -v), (u, v)))


def _belongs(points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n"]:
    """Which points are neither loners nor part of a small patch far from the rest."""
    if len(points) <= 3 * NUM_NEIGHBOURS:
        return np.ones(len(points), bool)
    tree = cKDTree(points)
    reach = np.asarray(tree.query(points, k=NUM_NEIGHBOURS + 1)[0])[:, -1]
    # Two points are each other's neighbours at one distance: they stay or go together, however it was rounded.
    limit = np.quantile(reach, 1 - LONELY_SHARE) * (1 + EQUAL)
    near = np.flatnonzero(reach <= limit)
    patch = _patches(points[near], LINK_RATIO * limit)
    sizes = np.bincount(patch)
    large = sizes >= min(MIN_PATCH_SHARE * len(points), sizes.max())
    belongs = np.zeros(len(points), bool)
    belongs[near[large[patch]]] = True
    return belongs


def _patches(points: Float[np.ndarray, "n 2"], link: float) -> Int[np.ndarray, "n"]:
    """Numbers of groups of points that hang together by steps of at most `link`."""
    places, place_of_point = np.unique(points, axis=0, return_inverse=True)
    try:
        # The shortest steps between groups are edges of the Delaunay triangulation: no other pair has to be looked at.
        corners = Delaunay(places - places.mean(axis=0)).simplices
    except (QhullError, ValueError):  # too few places, or all on one line
        return np.zeros(len(points), np.int64)
    pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    pairs = pairs[np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1) <= link]
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(places),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1][place_of_point.reshape(-1)], np.int64)


def _hull(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "k 2"]:
    """Corners of the convex hull, counter-clockwise; a narrow rectangle around points that have none."""
    offsets = points - points.mean(axis=0)
    axes = np.linalg.svd(offsets, full_matrices=False)[2] if len(points) > 1 else np.eye(2)
    along = axes[0] if np.abs(offsets).max() > 0 else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    reach = offsets @ np.stack([along, across], axis=1)
    length, width = np.ptp(reach, axis=0)
    if len(points) >= 3 and width > 1e-6 * length:
        try:
            return points[ConvexHull(points - points.mean(axis=0)).vertices]
        except QhullError:  # thinner than it can tell
            pass
    half_width = max(0.5 * MIN_WIDTH_SHARE * length, LEAST_SIDE / 2)
    ends = reach[:, 0].min() - half_width / 2, reach[:, 0].max() + half_width / 2
    corners = [(ends[0], -half_width), (ends[1], -half_width), (ends[1], half_width), (ends[0], half_width)]
    return points.mean(axis=0) + np.array(corners) @ np.stack([along, across])


def _centroid(corners: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "2"]:
    """Of a polygon's area: unlike the mean of its corners it does not care how many lie on one side."""
    origin = corners.mean(axis=0)
    first, second = corners - origin, np.roll(corners - origin, -1, axis=0)
    areas = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return origin + ((first + second) * areas[:, None]).sum(axis=0) / (3 * areas.sum())


def _best_angle(corners: Float[np.ndarray, "k 2"]) -> float:
    """Direction of u of the smallest rectangle around a convex polygon: along one of its edges (Freeman, Shapira)."""
    edges = np.roll(corners, -1, axis=0) - corners
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    axes = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    middle = corners.mean(axis=0)
    lengths = np.ptp((corners - middle) @ axes.T, axis=0)
    widths = np.ptp((corners - middle) @ (axes @ [[0.0, 1.0], [-1.0, 0.0]]).T, axis=0)
    best = int(np.argmin(lengths * widths))
    return float(angles[best] + (0.0 if lengths[best] >= widths[best] else np.pi / 2))


def _points_backwards(uv: Float[np.ndarray, "n 2"]) -> bool:
    """Whether most of the scene lies at negative u (at negative v where both halves weigh the same)."""
    u, v = uv.mean(axis=0)
    return bool(v < 0 if abs(u) <= EQUAL * np.abs(uv).max() else u < 0)
