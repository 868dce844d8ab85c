"""Owns bringing a fresh model into a level frame, in metres where GPS allows it."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scene3d.data.capture import Capture
from scene3d.data.frame import estimate_frame
from scene3d.data.reading import capture_from_colmap
from scene3d.data.sfm.exif import PhotoTags
from scene3d.data.sfm.georeference import Georeference, east_north_up, find_inliers, fit_level_similarity
from scene3d.geometry.similarity import Similarity
from scene3d.io.colmap import read_colmap, transform_colmap, write_colmap

FOOTPRINT = 10.0
"""Width of the points' 5 to 95 % footprint in a frame without a scale of its own."""


def level_model(source: Path, target: Path, gps: dict[str, PhotoTags]) -> Georeference | None:
    """Writes the model of `source` to `target`, z up.

    With agreeing GPS positions x is east, y north, in metres, and the origin is their median; else the scale is
    arbitrary. Returns how it hangs on the Earth, if it does.
    """
    model = read_colmap(source)
    capture = capture_from_colmap(model, source)
    frame = estimate_frame(capture)
    level = capture.transformed(frame)
    fitted = _fit_gps(level, gps)
    target.mkdir(parents=True)
    to_world = fitted[0] if fitted else _plain_scale(level)
    write_colmap(target, transform_colmap(model, to_world @ frame))
    return fitted[1] if fitted else None


def _fit_gps(level: Capture, gps: dict[str, PhotoTags]) -> tuple[Similarity, Georeference] | None:
    views = [view for view in level.views if view.name in gps]
    if not views:
        return None
    tags = [gps[view.name] for view in views]
    latitudes = np.array([tag.latitude_deg for tag in tags], np.float64)
    longitudes = np.array([tag.longitude_deg for tag in tags], np.float64)
    altitudes = np.array([tag.altitude_m or 0.0 for tag in tags], np.float64)
    centers = np.stack([view.camera.center for view in views])
    fit = fit_level_similarity(centers, east_north_up(latitudes, longitudes, altitudes))
    if fit is None:
        return None
    similarity, residuals = fit
    return similarity, Georeference(
        latitude_deg=float(np.median(latitudes)),
        longitude_deg=float(np.median(longitudes)),
        altitude_m=float(np.median(altitudes)),
        residual_m=float(np.median(residuals)),
        num_positions=len(views),
        num_inliers=int(find_inliers(residuals).sum()),
    )


def _plain_scale(level: Capture) -> Similarity:
    """Level, centred, the footprint ten units wide."""
    positions = level.points.positions
    low, high = np.percentile(positions[:, :2], [5, 95], axis=0)
    scale = FOOTPRINT / max(float((high - low).max()), 1e-9)
    center = np.array([*((low + high) / 2), np.percentile(positions[:, 2], 5)])
    return replace(Similarity.identity(), scale=scale, translation=-scale * center)
