"""Owns the doctor's look at the sparse points: how many, where, how well seen."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scene3d.data.capture import Capture, Finding, Severity
from scene3d.data.frame import unit_length
from scene3d.data.inspection_rig import camera_centers, several

MIN_POINTS = 100
FEW_POINTS_PER_VIEW = 30
LARGE_ERROR_PX = 2.0
SHORT_TRACK = 2.5
HELD_OUT_FOLDERS = ("test/", "val/")

MAX_CHECKED = 5_000_000
"""Pairs of points and views looked at; larger captures are thinned evenly."""


def check_number_of_points(capture: Capture) -> Iterator[Finding]:
    """None or nearly none."""
    count = len(capture.points)
    if count == 0 and capture.views:
        # A structure-from-motion model without points has gone wrong; exporters of known poses never write any.
        failed = capture.source == "colmap"
        what = (
            "there are no sparse points" if failed else "there are no sparse points: training starts at random places"
        )
        remedy = "run scene3d prepare, or export the points with the poses"
        yield Finding(
            severity=Severity.ERROR if failed else Severity.WARNING, what=what, where=str(capture.root), remedy=remedy
        )
    elif 0 < count < MIN_POINTS:
        what = f"there are only {count} sparse points: training starts at random places beside them"
        yield Finding(
            severity=Severity.WARNING, what=what, where=str(capture.root), remedy="take photographs that overlap more"
        )


def check_cloud(capture: Capture) -> Iterator[Finding]:
    """Points that are all in one place, or all on one line."""
    positions = capture.points.positions
    if len(positions) < 2:
        return
    offsets = positions - np.median(positions, axis=0)
    remedy = "run structure from motion again"
    spread = float(np.percentile(np.linalg.norm(offsets, axis=1), 90))
    if spread < 1e-6 * unit_length(capture):
        what = f"all {len(positions):,} sparse points are in one place"
        yield Finding(severity=Severity.ERROR, what=what, where=str(capture.root), remedy=remedy)
    elif len(positions) >= 3:
        widths = np.linalg.svd(offsets[:: max(1, len(offsets) // 10_000)], compute_uv=False)
        if widths[1] < 1e-3 * widths[0]:
            what = "the sparse points are all on one line"
            yield Finding(severity=Severity.WARNING, what=what, where=str(capture.root), remedy=remedy)


def check_tracks(capture: Capture) -> Iterator[Finding]:
    """Views that see no or few points; nothing is said where no point has a track or a view is held out by folder."""
    if not len(capture.points.track_views):
        return
    counts = np.bincount(capture.points.track_views, minlength=len(capture.views))
    views = [
        (view.name, count)
        for view, count in zip(capture.views, counts.tolist(), strict=True)
        if not view.name.startswith(HELD_OUT_FOLDERS)
    ]
    remedy = "their poses are unsafe; take more photographs around them or leave them out"
    yield from several([name for name, count in views if count == 0], capture, "views see none of the points", remedy)
    few = [name for name, count in views if 0 < count < FEW_POINTS_PER_VIEW]
    if len(capture.points) >= MIN_POINTS:
        yield from several(few, capture, f"views see fewer than {FEW_POINTS_PER_VIEW} points", remedy)


def check_in_front(capture: Capture) -> Iterator[Finding]:
    """Views that have most of their points behind them: wrong poses, or another axis convention."""
    views = _views_facing_away(capture)
    if not views:
        return
    remedy = "check the axis convention of the poses (OpenCV: +z looks forward)"
    if len(views) == len(capture.views):
        what = "all points lie behind all cameras"
        yield Finding(severity=Severity.ERROR, what=what, where=str(capture.root), remedy=remedy)
    else:
        names = [capture.views[index].name for index in views]
        yield from several(names, capture, "views have their points behind them", remedy)


def check_view_groups(capture: Capture) -> Iterator[Finding]:
    """Groups of views that share no point: nothing holds them in place against each other."""
    points = capture.points
    seeing = np.unique(points.track_views)
    if len(seeing) < 2:
        return
    shape = (len(points) + len(capture.views),) * 2
    ones = np.ones(len(points.track_views), np.int8)
    graph = coo_array((ones, (points.track_points, len(points) + points.track_views)), shape=shape)
    labels = connected_components(graph, directed=False)[1][len(points) + seeing]
    sizes = np.bincount(labels)
    sizes = np.sort(sizes[sizes > 0])[::-1]
    if len(sizes) > 1:
        counts = ", ".join(str(size) for size in sizes[:4]) + (", ..." if len(sizes) > 4 else "")
        what = f"the views fall into {len(sizes)} groups that share no point ({counts} views)"
        remedy = "take photographs that connect them"
        yield Finding(severity=Severity.WARNING, what=what, where=str(capture.root), remedy=remedy)


def check_quality_of_points(capture: Capture) -> Iterator[Finding]:
    """A summary, and warnings about large errors and short tracks."""
    points = capture.points
    if not capture.views:
        return
    lengths = points.track_lengths
    mean_length = float(lengths.mean()) if len(points.track_views) else float("nan")
    errors = points.errors_px[np.isfinite(points.errors_px)]
    error_px = float(np.median(errors)) if len(errors) else float("nan")
    figures = [f"{len(capture.views):,} views", f"{len(points):,} points"]
    figures += [f"{mean_length:.1f} views per point"] if np.isfinite(mean_length) else []
    figures += [f"error {error_px:.2f} px"] if np.isfinite(error_px) else []
    yield Finding(severity=Severity.INFO, what=", ".join(figures), where=str(capture.root))
    if mean_length < SHORT_TRACK and len(points) >= MIN_POINTS and len(capture.views) > 2:
        what = f"points are seen by {mean_length:.1f} views on average: depths are unsure"
        yield Finding(severity=Severity.WARNING, what=what, remedy="take photographs that overlap more")
    if error_px > LARGE_ERROR_PX:
        what = f"points miss their pixels by {error_px:.1f} in the median: poses are imprecise"
        yield Finding(severity=Severity.WARNING, what=what, remedy="calibrate the camera and run scene3d prepare again")


def _views_facing_away(capture: Capture) -> list[int]:
    points = capture.points
    if not len(points) or not capture.views:
        return []
    centers = camera_centers(capture.views)
    axes = np.stack([view.camera.cam_from_world[2, :3] for view in capture.views])
    if len(points.track_views):
        step = -(-len(points.track_views) // MAX_CHECKED)
        seen, views = points.track_points[::step], points.track_views[::step]
    else:
        step = -(-len(points) * len(capture.views) // MAX_CHECKED)
        some = np.arange(0, len(points), step)
        seen, views = np.tile(some, len(capture.views)), np.repeat(np.arange(len(capture.views)), len(some))
    behind = np.einsum("mk,mk->m", points.positions[seen] - centers[views], axes[views]) <= 0
    num_seen = np.bincount(views, minlength=len(capture.views))
    num_behind = np.bincount(views[behind], minlength=len(capture.views))
    # Without tracks points behind a camera are ordinary, unless all of them are.
    share = 0.5 if len(points.track_views) else 0.999
    return np.nonzero((num_seen > 0) & (num_behind > share * num_seen))[0].tolist()
