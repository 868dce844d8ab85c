"""Owns the world frame of a scene: which way is up, where the origin lies, and how long one unit is."""

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from scene3d.data.capture import Capture, SparsePoints
from scene3d.data.ground import Plane, Rig, find_plane
from scene3d.errors import InputError
from scene3d.geometry.rotations import rotation_between
from scene3d.geometry.similarity import Similarity

logger = logging.getLogger(__name__)

UP = np.array([0.0, 0.0, 1.0])

FLOOR_AND_UP_DEG = 12.0
"""How far a floor may be from the cameras' up when the largest plane is a wall."""

LEVEL_ALREADY_DEG = 5.0
"""A capture this close to z up was levelled by somebody who knew better (GPS, survey): it keeps its axis."""

MAX_OBSERVATIONS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UpEstimate:
    """Which way is up in a capture's frame, and how that was found."""

    up: Float[np.ndarray, "3"]
    """Unit vector."""

    source: str
    """`ground plane`, `level cameras`, `camera up`, `viewing direction` or `z axis`."""

    ground: Plane | None
    """The plane the scene stands on, if there is one; its normal is within a few degrees of `up`."""


def estimate_frame(capture: Capture) -> Similarity:
    """`world_from_capture` of a normalised world: z up, median camera-to-point depth 1, origin amid the points.

    With a ground plane its height is z = 0. The heading of the capture is kept: the turn is the smallest one that
    brings up to +z. Without points the cameras' own spread gives the scale; a single view without points keeps it.
    Deterministic: the same capture gives the same bits.

    Raises:
        InputError: There is no view.
    """
    estimate = estimate_up(capture)
    rotation = rotation_between(estimate.up, UP)
    middle = _middle(capture)
    if estimate.ground is not None:
        # Slide along up, not along the normal: the origin stays amid the points.
        middle = middle - estimate.up * estimate.ground.height(middle) / float(estimate.ground.normal @ estimate.up)
    scale = 1.0 / unit_length(capture)
    logger.info("world frame: up by %s, one unit is %.6g of the capture's", estimate.source, 1 / scale)
    return Similarity(scale, rotation, -scale * (rotation @ middle))


def estimate_up(capture: Capture) -> UpEstimate:
    """The up direction: normal of the ground plane, else from the way the cameras were held, else against their view.

    A plane counts as ground when the cameras are on one side of it, it holds enough of the well-seen points, and it is
    no wall. Flights straight down and photographs of a facade look alike (a plane across the view, image up along it);
    what tells them apart is how the cameras turn: over ground about the plane's normal, before a wall about their up.

    Raises:
        InputError: There is no view.
    """
    if not capture.views:
        raise InputError("there is no view to find a world frame from", where=capture.root)
    rig = Rig.of([view.camera for view in capture.views])
    points = capture.points.positions[well_seen(capture.points)]
    up, source = rig.find_up()
    ground = _find_ground(points, rig, up, 0.02 * unit_length(capture))
    if ground is not None:
        up, source = ground.normal, "ground plane"
    if up @ UP > np.cos(np.radians(LEVEL_ALREADY_DEG)):
        up = UP
    return UpEstimate(up=up, source=source, ground=ground)


def well_seen(points: SparsePoints) -> Bool[np.ndarray, "n"]:
    """Points seen by three views or more (by two where none is) whose error is no outlier.

    Where tracks are unknown every finite point counts.
    """
    good = np.isfinite(points.positions).all(axis=1)
    if len(points.track_views):
        lengths = points.track_lengths
        good &= lengths >= min(3, int(lengths.max()))
    errors = points.errors_px[np.isfinite(points.errors_px)]
    if len(errors):
        median = np.median(errors)
        limit = median + 2 * np.median(np.abs(errors - median))
        # Written so that unknown errors (NaN) pass; equal errors have no spread and pass too.
        good &= ~(points.errors_px > limit)
    return np.asarray(good)


def _find_ground(
    points: Float[np.ndarray, "n 3"], rig: Rig, up: Float[np.ndarray, "3"], tolerance: float
) -> Plane | None:
    largest = find_plane(points, rig.centers, tolerance=tolerance)
    if largest is None or rig.stands_on(largest.normal):
        return largest
    return find_plane(points, rig.centers, tolerance=tolerance, near=(up, FLOOR_AND_UP_DEG))


def _middle(capture: Capture) -> Float[np.ndarray, "3"]:
    good = well_seen(capture.points)
    if good.any():
        return np.median(capture.points.positions[good], axis=0)
    return np.median([view.camera.center for view in capture.views], axis=0)


def unit_length(capture: Capture) -> float:
    """Median depth of the points in the views that saw them; else the spread of the cameras; else 1."""
    depths = _depths(capture)
    depths = depths[depths > 0]
    if len(depths):
        return float(np.median(depths))
    centers = np.stack([view.camera.center for view in capture.views])
    spread = float(np.median(np.linalg.norm(centers - np.median(centers, axis=0), axis=1)))
    # What rounding leaves of equal places is no spread.
    return spread if spread > 1e-9 * float(np.abs(centers).max()) else 1.0


def _depths(capture: Capture) -> Float[np.ndarray, "m"]:
    points, views = _observations(capture)
    centers = np.stack([view.camera.center for view in capture.views])
    axes = np.stack([view.camera.cam_from_world[2, :3] for view in capture.views])
    depths = np.einsum("mk,mk->m", capture.points.positions[points] - centers[views], axes[views])
    return depths[np.isfinite(depths)]


def _observations(capture: Capture) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]:
    """Pairs (point, view); every point with every view where no track says which saw which. Thinned evenly if many."""
    points, num_views = capture.points, len(capture.views)
    total = len(points.track_views) or len(points) * num_views
    picked = np.arange(0, total, max(1, -(-total // MAX_OBSERVATIONS)))
    if len(points.track_views):
        return np.searchsorted(points.track_offsets, picked, side="right") - 1, points.track_views[picked]
    return picked // num_views, picked % num_views
