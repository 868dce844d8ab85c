"""Makes small synthetic cities whose sparse points crowd in one district, as real captures' points do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scene3d.data.synthetic import SyntheticSettings, make_capture
from scene3d.io.colmap import NO_POINT, read_colmap, write_colmap
from scene3d.seeding import make_numpy_generator

UNEVEN: dict[str, Any] = {
    "views": 90,
    "width": 96,
    "height": 72,
    "extent_m": 140.0,
    "points": 12_000,
    "thinned_to": 0.2,
}
"""One quarter of the ground keeps all its points, the rest every fifth."""


def make_uneven_city(folder: Path, seed: int) -> Path:
    """A flight over a town; only where it is dense structure from motion found many points."""
    done = folder / "uneven"
    if done.is_file():
        return folder
    settings = SyntheticSettings(
        num_views=UNEVEN["views"],
        width=UNEVEN["width"],
        height=UNEVEN["height"],
        extent_m=UNEVEN["extent_m"],
        num_points=UNEVEN["points"],
        seed=seed,
    )
    make_capture(folder, settings)
    thin_points(folder / "sparse" / "0", seed)
    done.touch()
    return folder


def thin_points(model_folder: Path, seed: int) -> None:
    """Takes points away outside one quarter of the ground."""
    model = read_colmap(model_folder)
    points = model.points
    east_and_north = (points.positions[:, :2] > np.median(points.positions[:, :2], axis=0)).all(axis=1)
    chosen = make_numpy_generator(seed, "thinning").random(len(points)) < UNEVEN["thinned_to"]
    keep = east_and_north | chosen
    lengths = np.diff(points.track_offsets)
    in_tracks = np.repeat(keep, lengths)
    thinned = replace(
        points,
        ids=points.ids[keep],
        positions=points.positions[keep],
        colors=points.colors[keep],
        errors_px=points.errors_px[keep],
        track_offsets=np.concatenate([[0], np.cumsum(lengths[keep])]),
        track_image_ids=points.track_image_ids[in_tracks],
        track_keypoints=points.track_keypoints[in_tracks],
    )
    images = tuple(
        replace(image, point_ids=np.where(np.isin(image.point_ids, thinned.ids), image.point_ids, NO_POINT))
        for image in model.images
    )
    write_colmap(model_folder, replace(model, images=images, points=thinned))
