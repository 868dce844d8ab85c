"""Owns how much brighter each photograph is than the others, measured where several show the same points."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import uniform_filter
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg

from scene3d.data.capture import Capture, Finding, Severity, SparsePoints, View
from scene3d.data.photos import Photo, read_photo
from scene3d.errors import InputError

logger = logging.getLogger(__name__)

LOOK_SIDE_PX = 512
"""Photographs are looked at this large: a sparse point's error in place matters little there."""

WINDOW_PX = 3
"""A point's colour is the mean of so many pixels across, for most points are corners."""

DARKEST, BRIGHTEST = 10, 245
"""Of 255: what lies outside was cut off by the camera and tells nothing of its exposure."""

MAX_POINTS = 200_000
"""Points looked at; an even sample where there are more."""

MIN_SHARED = 20
"""Two photographs are connected by at least so many points of both."""

ROUNDS = 12
"""Of reweighting; the first half by Huber's rule, so that the second, Tukey's, begins near the truth."""

HUBER, TUKEY = 1.345, 4.685
"""In standard deviations: 95 % as good as least squares if there is no outlier (Huber 1981)."""

MEDIAN_LENGTH = 1.5382
"""Median length of a vector of three standard normal numbers."""

RIDGE = 1e-9
"""Added to each photograph's weight, as a share of the mean one: one of outliers alone keeps the gain 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhotoGains:
    """What photographs multiply the scene's colours by."""

    gains: Float[np.ndarray, "v 3"]
    """Of each view's red, green and blue, as encoded in the photograph; their mean logarithm is 0."""

    connected: Bool[np.ndarray, "v"]
    """Views that could be compared with the others; the gains of the rest are 1."""

    findings: tuple[Finding, ...] = ()

    @property
    def spread(self) -> float:
        """Standard deviation of the logarithm of brightness over the views that could be compared."""
        if not self.connected.any():
            return 0.0
        return float(np.log(self.gains[self.connected]).mean(axis=1).std())


def measure_gains(capture: Capture, views: Sequence[int]) -> PhotoGains:
    """Compare the photographs of some views where they show the same sparse points.

    Where a photograph shows a point, log colour = log scene colour + log gain. Both are fitted, per channel, by
    least squares whose weights are found anew (first Huber's, then Tukey's), so that glints, shadows, what moves and
    wrong matches count for nothing.

    Args:
        capture: Whose points have tracks; without tracks nothing can be compared.
        views: Indices of at least one view. Others are not looked at.

    Returns:
        Gains in the order of `views`, and what a person should know.
    """
    points = _choose_points(capture.points, views)
    rows, places, colors = _look_at_points(capture, views, points)
    connected = find_connected(rows, places, num_points=len(points), num_views=len(views))
    gains = np.ones((len(views), 3))
    if connected.any():
        known = connected[places]
        number = np.cumsum(connected) - 1
        logs = fit_log_gains(rows[known], number[places[known]], np.log(colors[known]), num_points=len(points))
        gains[connected] = np.exp(logs)
    found = PhotoGains(gains=gains, connected=connected, findings=_describe(connected))
    logger.info("%d of %d photographs compared, spread %.3f", connected.sum(), len(views), found.spread)
    return found


def fit_log_gains(
    rows: Int[np.ndarray, "m"],
    views: Int[np.ndarray, "m"],
    logs: Float[np.ndarray, "m 3"],
    *,
    num_points: int,
) -> Float[np.ndarray, "v 3"]:
    """Robust logarithms of the gains of connected views, their mean 0.

    Args:
        rows: The point of each observation.
        views: Its view, 0 to v - 1, each of which occurs.
        logs: Logarithms of its colours.
        num_points: Of all points; those without an observation do no harm.
    """
    num_views = int(views.max()) + 1
    weights = np.ones(len(rows))
    gains = np.zeros((num_views, 3))
    for number in range(ROUNDS):
        gains, residuals = _solve(rows, views, logs, weights, (num_points, num_views))
        lengths = np.linalg.norm(residuals, axis=1)
        # A point that one view alone shows fits exactly and says nothing about the scatter.
        told = lengths[np.bincount(rows, minlength=num_points)[rows] > 1]
        sigma = max(float(np.median(told)) / MEDIAN_LENGTH, 1e-6)
        weights = _reweight(lengths / (sigma * np.sqrt(3)), robust=2 * number + 2 >= ROUNDS)
    return gains - gains.mean(axis=0)


def find_connected(
    rows: Int[np.ndarray, "m"], views: Int[np.ndarray, "m"], *, num_points: int, num_views: int
) -> Bool[np.ndarray, "v"]:
    """The largest set of two or more views that are joined, one by one, by `MIN_SHARED` common points."""
    if not len(rows):
        return np.zeros(num_views, bool)
    seen = csr_array((np.ones(len(rows), np.int32), (rows, views)), (num_points, num_views))
    shared = (seen.T @ seen).tocsr()
    shared.data = (shared.data >= MIN_SHARED).astype(np.int32)
    shared.eliminate_zeros()
    labels = connected_components(shared, directed=False)[1]
    sizes = np.bincount(labels)
    largest = int(sizes.argmax())
    return np.asarray((labels == largest) & (sizes[largest] > 1))


def _choose_points(points: SparsePoints, views: Sequence[int]) -> SparsePoints:
    """Points that at least two of the views saw."""
    points = points.seen_by(views, min_views=2)
    points = points.subset((points.track_lengths >= 2) & np.isfinite(points.positions).all(axis=1))
    return points.thinned(MAX_POINTS)


def _look_at_points(
    capture: Capture, views: Sequence[int], points: SparsePoints
) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"], Float[np.ndarray, "m 3"]]:
    """Point, place of the view in `views`, and colours in 0..1 of everything that can be seen well."""
    order = np.argsort(points.track_views, kind="stable")
    in_order, track_points = points.track_views[order], points.track_points[order]
    rows, places, colors = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 3))]
    for place, view in enumerate(views):
        first, last = np.searchsorted(in_order, [view, view + 1])
        mine = track_points[first:last]
        found, seen = _sample(capture.views[view], points.positions[mine])
        rows.append(mine[found])
        places.append(np.full(len(seen), place, np.int64))
        colors.append(seen)
    return np.concatenate(rows), np.concatenate(places), np.concatenate(colors)


def _sample(view: View, positions: Float[np.ndarray, "n 3"]) -> tuple[Int[np.ndarray, "k"], Float[np.ndarray, "k 3"]]:
    """Which of the points a photograph shows well, and their colours; none where it cannot be read."""
    nothing = np.zeros(0, np.int64), np.zeros((0, 3))
    if not len(positions):
        return nothing
    try:
        photo = read_photo(view, min(1.0, LOOK_SIDE_PX / max(view.camera.width, view.camera.height)))
    except InputError as error:
        logger.warning("%s", error)
        return nothing
    camera = photo.camera
    in_camera = positions @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    front = np.flatnonzero(in_camera[:, 2] > 0)
    pixels = in_camera[front] @ camera.K.T
    column, row = np.floor(pixels[:, :2] / pixels[:, 2:]).T
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    column, row = column[inside].astype(np.int64), row[inside].astype(np.int64)
    usable = _usable_pixels(photo)[row, column]
    means = uniform_filter(photo.image.astype(np.float32), (WINDOW_PX, WINDOW_PX, 0), mode="nearest")
    return front[inside][usable], means[row, column][usable].astype(np.float64) / 255


def _usable_pixels(photo: Photo) -> Bool[np.ndarray, "h w"]:
    """Pixels whose window lies within the mask and was neither too dark nor too bright for the camera."""
    good = ((photo.image > DARKEST) & (photo.image < BRIGHTEST)).all(axis=2)
    if photo.mask is not None:
        good &= photo.mask
    return np.asarray(uniform_filter(good.astype(np.float32), WINDOW_PX, mode="nearest") > 1 - 1e-3)


def _solve(
    rows: Int[np.ndarray, "m"],
    views: Int[np.ndarray, "m"],
    logs: Float[np.ndarray, "m 3"],
    weights: Float[np.ndarray, "m"],
    shape: tuple[int, int],
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "m 3"]]:
    """Weighted least squares and what it leaves; the points' own colours are eliminated (Schur complement)."""
    num_points, num_views = shape
    joined = csr_array((weights, (rows, views)), shape)
    of_point = np.maximum(np.bincount(rows, weights, minlength=num_points), 1e-12)
    of_view = np.bincount(views, weights, minlength=num_views)
    ridge = RIDGE * max(float(of_view.mean()), 1e-12)
    normal = (diags_array(of_view + ridge) - joined.T @ (diags_array(1 / of_point) @ joined)).tocsr()
    preconditioner = diags_array(1 / np.maximum(normal.diagonal(), ridge))
    gains = np.zeros((num_views, 3))
    scene = np.zeros((num_points, 3))
    for channel in range(3):
        seen = np.bincount(rows, weights * logs[:, channel], minlength=num_points) / of_point
        target = np.bincount(views, weights * (logs[:, channel] - seen[rows]), minlength=num_views)
        gains[:, channel] = cg(normal, target, rtol=1e-8, atol=1e-12, maxiter=20 * num_views, M=preconditioner)[0]
        scene[:, channel] = seen - (joined @ gains[:, channel]) / of_point
    return gains, logs - scene[rows] - gains[views]


def _reweight(lengths: Float[np.ndarray, "m"], *, robust: bool) -> Float[np.ndarray, "m"]:
    """Weights of observations by how far they are off, in standard deviations."""
    if robust:
        return np.square(np.maximum(1 - np.square(lengths / TUKEY), 0))
    return HUBER / np.maximum(lengths, HUBER)


def _describe(connected: Bool[np.ndarray, "v"]) -> tuple[Finding, ...]:
    num_lost = int((~connected).sum())
    if not num_lost:
        return ()
    what = f"{num_lost} of {len(connected)} photographs share too few points with the others to compare brightness"
    return (Finding(severity=Severity.INFO, what=what, remedy="they are taken to be as bright as the others"),)
