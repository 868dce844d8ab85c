"""Owns what must be true between the files of a COLMAP model; what does not matter is left out and counted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from scene3d.cameras.models import CameraModel
from scene3d.errors import InputError
from scene3d.io.colmap_model import NO_POINT, ColmapImage, ColmapModel, ColmapPoints, find_indices
from scene3d.io.findings import Finding, Severity
from scene3d.io.opening import check_relative_name
from scene3d.limits import MAX_COORDINATE, MAX_NONFINITE_SHARE

_REMEDY = "export the model again"
_SMALLEST_QUAT, _LARGEST_QUAT = 1e-6, 1e6
_LARGEST_IMAGE_ID = 2**32 - 1


def checked_model(
    cameras: dict[int, CameraModel], images: list[ColmapImage], points: ColmapPoints, folder: Path
) -> ColmapModel:
    """A model whose references all lead somewhere.

    Raises:
        InputError: Ids or names appear twice, an image has no camera, a pose is no pose, or more than 1 % of the
            points are not finite.
    """
    images = [_checked_image(image, cameras, folder) for image in images]
    _check_unique([image.id for image in images], "images have the id", folder)
    _check_unique([image.name for image in images], "images have the name", folder)
    _check_point_ids(points, folder)
    findings: list[Finding] = []
    points = _finite_points(points, findings, folder)
    keypoints = _Keypoints(images, points)
    points = _existing_tracks(points, keypoints, findings, folder)
    images = _existing_points(images, keypoints, findings, folder)
    return ColmapModel(cameras=cameras, images=tuple(images), points=points, findings=tuple(findings))


class _Keypoints:
    """The keypoints of all images as one list, and which of the points each one names (-1 for none)."""

    def __init__(self, images: list[ColmapImage], points: ColmapPoints) -> None:
        self.image_ids = np.array([image.id for image in images], np.int64)
        self.counts = np.array([len(image.point_ids) for image in images], np.int64)
        self.starts = np.cumsum(self.counts) - self.counts
        self.point_ids = np.concatenate([np.zeros(0, np.int64), *(image.point_ids for image in images)])
        self.point_indices = find_indices(points.ids, self.point_ids)


def _checked_image(image: ColmapImage, cameras: dict[int, CameraModel], folder: Path) -> ColmapImage:
    name = check_relative_name(image.name, where=folder)
    if not 0 <= image.id <= _LARGEST_IMAGE_ID:
        raise InputError(f"image {name!r} has the impossible id {image.id}", where=folder, remedy=_REMEDY)
    if image.camera_id not in cameras:
        what = f"image {name!r} uses camera {image.camera_id}, which is not among the cameras"
        raise InputError(what, where=folder, remedy=_REMEDY)
    turns = _SMALLEST_QUAT < np.abs(image.qvec).max() < _LARGEST_QUAT  # NaN fails this too
    if not (turns and (np.abs(image.tvec) <= MAX_COORDINATE).all()):
        raise InputError(f"the pose of image {name!r} is not finite or turns nowhere", where=folder, remedy=_REMEDY)
    return replace(image, name=name, qvec=image.qvec / np.linalg.norm(image.qvec))


def _check_unique(values: list[int] | list[str], what: str, folder: Path) -> None:
    seen: set[int | str] = set()
    for value in values:
        if value in seen:
            raise InputError(f"two {what} {value!r}", where=folder, remedy=_REMEDY)
        seen.add(value)


def _check_point_ids(points: ColmapPoints, folder: Path) -> None:
    ids = np.sort(points.ids)
    twice = ids[:-1][ids[1:] == ids[:-1]]
    if len(twice):
        raise InputError(f"two points have the id {twice[0]}", where=folder, remedy=_REMEDY)
    if len(ids) and ids[0] < 0:
        raise InputError(f"a point has the impossible id {ids[0]}", where=folder, remedy=_REMEDY)


def _finite_points(points: ColmapPoints, findings: list[Finding], folder: Path) -> ColmapPoints:
    finite = np.asarray((np.abs(points.positions) <= MAX_COORDINATE).all(axis=1))  # NaN fails this too
    num_bad = int(np.count_nonzero(~finite))
    if num_bad == 0:
        return points
    if num_bad > MAX_NONFINITE_SHARE * len(points):
        what = f"{num_bad:,} of {len(points):,} points are not finite"
        raise InputError(what, where=folder, remedy=_REMEDY)
    findings.append(_left_out(num_bad, len(points), "points are not finite", folder))
    lengths = np.diff(points.track_offsets)
    kept_entries = np.repeat(finite, lengths)
    return _with_tracks(
        replace(
            points,
            ids=points.ids[finite],
            positions=points.positions[finite],
            colors=points.colors[finite],
            errors_px=points.errors_px[finite],
        ),
        np.repeat(np.cumsum(finite) - 1, lengths)[kept_entries],
        kept_entries,
    )


def _with_tracks(points: ColmapPoints, owners: Int[np.ndarray, "k"], kept: Bool[np.ndarray, "m"]) -> ColmapPoints:
    """The points with only the kept track entries; `owners` are the point indices of those."""
    lengths = np.bincount(owners, minlength=len(points))
    return replace(
        points,
        track_offsets=np.concatenate([[0], np.cumsum(lengths)]),
        track_image_ids=points.track_image_ids[kept],
        track_keypoints=points.track_keypoints[kept],
    )


def _existing_tracks(
    points: ColmapPoints, keypoints: _Keypoints, findings: list[Finding], folder: Path
) -> ColmapPoints:
    owners = np.repeat(np.arange(len(points)), np.diff(points.track_offsets))
    image_indices = find_indices(keypoints.image_ids, points.track_image_ids)
    kept = image_indices >= 0
    # Converters often write no keypoints at all; then the image alone is what a track can name.
    detailed = kept & (np.append(keypoints.counts, 0)[image_indices] > 0)
    named = points.track_keypoints[detailed]
    kept[detailed] = (named >= 0) & (named < keypoints.counts[image_indices[detailed]])
    detailed &= kept
    places = keypoints.starts[image_indices[detailed]] + points.track_keypoints[detailed]
    kept[detailed] = keypoints.point_indices[places] == owners[detailed]
    num_bad = int(np.count_nonzero(~kept))
    if num_bad == 0:
        return points
    findings.append(_left_out(num_bad, len(kept), "track entries lead to no keypoint of their point", folder))
    return _with_tracks(points, owners[kept], kept)


def _existing_points(
    images: list[ColmapImage], keypoints: _Keypoints, findings: list[Finding], folder: Path
) -> list[ColmapImage]:
    pixels = np.concatenate([np.zeros((0, 2)), *(image.keypoints for image in images)])
    good = (keypoints.point_indices >= 0) & (np.abs(pixels) <= MAX_COORDINATE).all(axis=1)
    bad = ~good & (keypoints.point_ids != NO_POINT)
    num_bad = int(np.count_nonzero(bad))
    if num_bad == 0:
        return images
    what = "keypoints name a point that does not exist or are not finite"
    findings.append(_left_out(num_bad, len(bad), what, folder))
    cleaned = np.where(bad, NO_POINT, keypoints.point_ids)
    parts = np.split(cleaned, keypoints.starts[1:]) if images else []
    return [replace(image, point_ids=part) for image, part in zip(images, parts, strict=True)]


def _left_out(num_bad: int, num_all: int, what: str, folder: Path) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        what=f"{num_bad:,} of {num_all:,} {what}; they are left out",
        where=str(folder),
        remedy=f"{_REMEDY} if this is unexpected",
    )
