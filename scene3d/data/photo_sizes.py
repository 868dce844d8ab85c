"""Owns bringing cameras and photographs of different sizes together, from the files' headers alone."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from scene3d.cameras.camera import Camera
from scene3d.data.capture import Capture, Finding, Severity, SparsePoints, View
from scene3d.data.masks import is_same_shape
from scene3d.errors import InputError, Scene3dError
from scene3d.io.images import read_image_size

Size = tuple[int, int]


def fit_to_photos(capture: Capture) -> Capture:
    """The capture with every camera at its photograph's size; views with unreadable photographs are left out.

    Raises:
        InputError: No photograph can be read, or one has another shape than its camera.
    """
    sizes: list[Size | None] = []
    errors: list[Scene3dError] = []
    for view in capture.views:
        try:
            sizes.append(read_image_size(view.image_path))
        except Scene3dError as error:
            sizes.append(None)
            errors.append(error)
    if errors and len(errors) == len(capture.views):
        raise InputError(
            f"none of the {len(errors):,} photographs can be read; the first {errors[0].what}",
            where=capture.root,
            remedy=errors[0].remedy or "copy them again",
        )
    readable = [(view, size) for view, size in zip(capture.views, sizes, strict=True) if size is not None]
    _check_shapes(readable)
    views = tuple(_at_size(view, size) for view, size in readable)
    findings = [*capture.findings, *_scaled_finding(readable), *_unreadable_finding(errors)]
    kept = [index for index, size in enumerate(sizes) if size is not None]
    points = capture.points if len(kept) == len(sizes) else _renumbered(capture.points, kept, len(sizes))
    return replace(capture, views=views, points=points, findings=tuple(findings))


def photographed_size(view: View) -> Size:
    """Width and height of the photograph that a view's camera or lens was calibrated for."""
    owner = view.camera if view.lens is None else view.lens
    return owner.width, owner.height


def _check_shapes(views: list[tuple[View, Size]]) -> None:
    wrong = [(view, size) for view, size in views if not is_same_shape(size, photographed_size(view))]
    if not wrong:
        return
    view, size = wrong[0]
    expected = photographed_size(view)
    turned = is_same_shape(size[::-1], expected)
    what = f"the photograph is {size[0]} x {size[1]} pixels, its camera {expected[0]} x {expected[1]}"
    what += " (upright after its EXIF turn)" if turned else ""
    what += f"; so are {len(wrong) - 1} more" if len(wrong) > 1 else ""
    remedy = "use the photographs that the poses were made from"
    if turned:
        remedy = "the poses were made from unturned pixels: remove the EXIF orientation tags, or run scene3d prepare"
    raise InputError(what, where=view.image_path, remedy=remedy)


def _at_size(view: View, size: Size) -> View:
    expected = photographed_size(view)
    if size == expected:
        return view
    if view.lens is None:
        return replace(view, camera=view.camera.resized(*size))
    lens = view.lens.resized(*size)
    return replace(view, camera=Camera.behind(lens, view.camera.cam_from_world), lens=lens)


def _scaled_finding(views: list[tuple[View, Size]]) -> list[Finding]:
    pairs = Counter((size, photographed_size(view)) for view, size in views if size != photographed_size(view))
    if not pairs:
        return []
    (size, expected), _ = pairs.most_common(1)[0]
    what = (
        f"{sum(pairs.values()):,} of {len(views):,} photographs are of another resolution than their cameras "
        f"({size[0]} x {size[1]} for {expected[0]} x {expected[1]}); the cameras are scaled to them"
    )
    return [Finding(severity=Severity.INFO, what=what)]


def _unreadable_finding(errors: list[Scene3dError]) -> list[Finding]:
    if not errors:
        return []
    what = f"{len(errors):,} photographs cannot be read and are left out; the first {errors[0].what}"
    where = "" if errors[0].where is None else Path(errors[0].where).name
    return [Finding(severity=Severity.WARNING, what=what, where=where, remedy=errors[0].remedy or "")]


def _renumbered(points: SparsePoints, kept: list[int], num_views: int) -> SparsePoints:
    """The same points after some views are gone."""
    place = np.full(num_views, -1, np.int64)
    place[kept] = np.arange(len(kept))
    views = place[points.track_views]
    counts = np.bincount(points.track_points[views >= 0], minlength=len(points))
    return replace(points, track_offsets=np.concatenate([[0], np.cumsum(counts)]), track_views=views[views >= 0])
