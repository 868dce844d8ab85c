"""Owns what a capture is divided by: the points its training views see, from tracks or, without them, by projection."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from blocks.visibility import ROWS_AT_ONCE, Observations
from scene3d.cameras.camera import Camera
from scene3d.data.capture import Capture, SparsePoints
from scene3d.data.frame import well_seen
from scene3d.data.split import Split
from scene3d.errors import InputError
from scene3d.gaussians.initialization import random_points_in_frustums
from scene3d.seeding import make_generator

logger = logging.getLogger(__name__)

MIN_POINTS = 100
"""Fewer points than this are filled up with random ones in front of the cameras, as training does."""

NUM_RANDOM_POINTS = 20_000

MIN_TRIANGULATION_DEG = 2.0
"""Points whose rays all lie within a cone of this opening have no sure depth."""

MAX_TRUSTED = 200_000
"""Points whose rays are looked at."""

MIN_TRUSTED_SHARE = 0.5
"""If fewer points than this pass the test of angles, the flight was far away and the test says nothing."""

NEAR = 0.01
"""Nearest depth at which a point counts as in front, in units of the median depth."""

MAX_PROJECTED = 100_000_000
"""Pairs of points and views tried without tracks; more points are thinned evenly."""

PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Survey:
    """Training views and the points they see, in a world whose z is up."""

    positions: Float[np.ndarray, "n 3"]
    observations: Observations
    """Of these points by the training views, in the order of `Split.train`."""

    trusted: Int[np.ndarray, "t"]
    """Points well enough triangulated to say where the scene is; an even sample of them where they are many."""

    num_pixels: Int[np.ndarray, "v"]
    """Of each training view's photograph at full size."""

    thinning: int = 1
    """Each point stands for this many."""

    findings: tuple[str, ...] = ()


def survey_capture(capture: Capture, split: Split) -> Survey:
    """What the training views see; held-out views count for nothing.

    Points with tracks where there are any; otherwise all points that fall into a view's image (nothing hides them);
    without points random ones in front of the cameras.
    """
    train = np.asarray(split.train, np.int64)
    points = capture.points.seen_by(split.train)
    finite = np.isfinite(points.positions).all(axis=1)
    points = points if finite.all() else points.subset(finite)
    num_pixels = np.array([capture.views[i].camera.width * capture.views[i].camera.height for i in train], np.int64)
    if np.count_nonzero(points.track_lengths) >= MIN_POINTS:
        return _from_tracks(capture, points, train, num_pixels)
    return _by_projection([capture.views[i].camera for i in train], points, num_pixels)


def _from_tracks(
    capture: Capture, points: SparsePoints, train: Int[np.ndarray, "v"], num_pixels: Int[np.ndarray, "v"]
) -> Survey:
    tracked = points.track_lengths > 0
    findings = []
    if not tracked.all():
        findings.append(f"{np.count_nonzero(~tracked):,} points without a track were not counted")
        points = points.subset(tracked)
    renumber = np.zeros(len(capture.views), np.int32)
    renumber[train] = np.arange(len(train), dtype=np.int32)
    observations = Observations(num_views=len(train), offsets=points.track_offsets, views=renumber[points.track_views])
    centers = np.stack([capture.views[i].camera.center for i in train])
    good = np.flatnonzero(well_seen(points))
    good = good if len(good) >= MIN_POINTS else np.arange(len(points))
    good = good[:: max(1, -(-len(good) // MAX_TRUSTED))]
    sure = good[_have_baseline(points.positions, observations, centers, good)]
    return Survey(
        positions=points.positions,
        observations=observations,
        trusted=sure if len(sure) >= MIN_TRUSTED_SHARE * len(good) else good,
        num_pixels=num_pixels,
        findings=tuple(findings),
    )


def _have_baseline(
    positions: Float[np.ndarray, "n 3"],
    observations: Observations,
    centers: Float[np.ndarray, "v 3"],
    rows: Int[np.ndarray, "r"],
) -> Bool[np.ndarray, "r"]:
    """Whether the rays of some points differ in direction.

    The mean of unit vectors is as long as the cosine of their spread: 1 where all are parallel.
    """
    lengths = np.zeros(len(rows))
    for part, counts, views in observations.in_parts(rows):
        rays = np.repeat(positions[rows[part]], counts, axis=0) - centers[views]
        rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-300)
        starts = np.cumsum(counts) - counts
        lengths[part] = np.linalg.norm(np.add.reduceat(rays, starts, axis=0), axis=1) / counts
    return np.asarray(lengths <= np.cos(np.radians(MIN_TRIANGULATION_DEG / 2)))


def _by_projection(cameras: Sequence[Camera], points: SparsePoints, num_pixels: Int[np.ndarray, "v"]) -> Survey:
    positions = points.positions
    num_tracked = np.count_nonzero(points.track_lengths)
    known = f"only {num_tracked} points have a track" if num_tracked else "there are no tracks"
    findings = [f"{known}: which view sees which point was found by projection, as if nothing hid it"]
    if len(positions) < MIN_POINTS:
        findings = [
            f"only {len(positions)} points: divided by {NUM_RANDOM_POINTS:,} random ones in front of the cameras"
        ]
        generator = make_generator(0, "partition")
        extra, _ = random_points_in_frustums(cameras, NUM_RANDOM_POINTS, generator=generator)
        positions = np.concatenate([positions, extra])
    thinning = max(1, -(-len(positions) * len(cameras) // MAX_PROJECTED))
    if thinning > 1:
        findings.append(f"one point in {thinning} was counted")
        positions = positions[::thinning]
    seeing, views = find_projected(cameras, positions)
    if not len(seeing):
        raise InputError("no training view sees any point", remedy="check the poses with `scene3d doctor`")
    observations, seen = Observations.of_pairs(seeing, views, num_points=len(positions), num_views=len(cameras))
    logger.info("projection: %d observations of %d points", len(views), len(observations))
    return Survey(
        positions=positions[seen],
        observations=observations,
        trusted=np.arange(len(observations)),
        num_pixels=num_pixels,
        thinning=thinning,
        findings=tuple(findings),
    )


def find_projected(
    cameras: Sequence[Camera], positions: Float[np.ndarray, "n 3"]
) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]:
    """Pairs of a point and a view in whose image it falls, points ascending."""
    pixel_from_world = np.stack([camera.K @ camera.cam_from_world[:3] for camera in cameras])  # [v, 3, 4]
    sizes = np.array([(camera.width, camera.height) for camera in cameras], np.float64)
    step = max(1, min(ROWS_AT_ONCE, PAIRS_AT_ONCE // len(cameras)))
    found = [(np.zeros(0, np.int32), np.zeros(0, np.int32))]
    for start in range(0, len(positions), step):
        part = positions[start : start + step]
        homogeneous = np.concatenate([part, np.ones((len(part), 1))], axis=1)
        x, y, depth = np.tensordot(pixel_from_world, homogeneous, axes=(2, 1)).transpose(1, 2, 0)  # [points, views]
        inside = (depth > NEAR) & (x >= 0) & (y >= 0) & (x < sizes[:, 0] * depth) & (y < sizes[:, 1] * depth)
        rows, views = np.nonzero(inside)
        found.append(((rows + start).astype(np.int32), views.astype(np.int32)))
    rows, views = (np.concatenate(each) for each in zip(*found, strict=True))
    return rows, views
