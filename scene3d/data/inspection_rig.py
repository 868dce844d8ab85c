"""Owns the doctor's look at the cameras: how many, where, how different, how plausible."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from scene3d.data.capture import Capture, Finding, Severity, View
from scene3d.data.frame import unit_length
from scene3d.data.photo_sizes import photographed_size

MIN_SIDE_PX = 16
LARGE_SIDE_PX = 1600
COMFORTABLE_SIDE_PX = 1000

OFF_CENTRE = 0.2
"""Distance of the principal point from the middle, as a share of the side, that is remarkable."""

NARROW_DEG, WIDE_DEG = 5.0, 140.0

SAME_PLACE = 1e-4
"""Spread of the cameras over the depth of the scene below which nothing can be told about depth."""

NARROW_BASELINE = 1e-2
LINE = 0.01
"""Width of the rig over its length below which it is a line."""

FAR_FROM_ORIGIN = 1e4
"""Distance from the origin over extent at which single precision would begin to show."""

PROBE_BYTES = 65536


def check_number_of_views(capture: Capture) -> Iterator[Finding]:
    """None, one and two are too few."""
    count, where = len(capture.views), str(capture.root)
    if count == 0:
        yield _error("there is no view", where, "give photographs with poses, or run scene3d prepare")
    elif count == 1:
        yield _error("there is only one view; depth needs at least two", where, "take more photographs that overlap")
    elif count < 8:
        yield _warning(f"there are only {count} views", where, "take more; each place should be in at least three")


def check_places(capture: Capture) -> Iterator[Finding]:
    """Cameras in one place, hardly apart, or on one line."""
    if len(capture.views) < 2:
        return
    centers = camera_centers(capture.views)
    offsets = centers - centers.mean(axis=0)
    spread = float(np.linalg.norm(offsets, axis=1).max())
    # Unit length falls back to the spread itself where there are no points.
    ratio = spread / unit_length(capture)
    if ratio < SAME_PLACE:
        what = "all cameras are in one place: turning shows no depth"
        yield _error(what, str(capture.root), "move between the photographs")
    elif ratio < NARROW_BASELINE:
        what = f"the cameras are hardly apart: {ratio:.2%} of the distance to the scene"
        yield _warning(what, str(capture.root), "move further between the photographs")
    elif len(capture.views) >= 3:
        widths = np.linalg.svd(offsets, compute_uv=False)
        if widths[1] < LINE * widths[0]:
            what = "all cameras are on one line: surfaces along it are seen from one side only"
            yield _warning(what, str(capture.root), "add a second line beside the first")


def check_duplicates(capture: Capture) -> Iterator[Finding]:
    """The same pose or the same file twice; a copy in the held-out part makes the figures worthless."""
    poses = (
        np.stack([view.camera.cam_from_world[:3] for view in capture.views]) if capture.views else np.zeros((0, 3, 4))
    )
    unit = unit_length(capture) if capture.views else 1.0
    keys = np.round(np.concatenate([poses[:, :, :3], poses[:, :, 3:] / unit], axis=2), 7)
    groups = defaultdict(list)
    for view, key in zip(capture.views, keys, strict=True):
        groups[(key + 0.0).tobytes()].append(view.name)
    yield from _copies(groups.values(), "views have the same pose as another", "remove the copies")
    files = _equal_files(capture.views)
    yield from _copies(
        files, "photographs are copies of another", "remove the copies: one may be held out, one trained on"
    )


def check_names(capture: Capture) -> Iterator[Finding]:
    """Names that are one on systems that ignore case."""
    groups = defaultdict(list)
    for view in capture.views:
        groups[view.name.casefold()].append(view.name)
    yield from _copies(groups.values(), "names differ from another by case only", "rename them")


def check_sizes(capture: Capture) -> Iterator[Finding]:
    """Images that are too small, larger than useful, or of many sizes."""
    sizes = Counter(photographed_size(view) for view in capture.views)
    if not sizes:
        return
    tiny = sum(count for size, count in sizes.items() if min(size) < MIN_SIDE_PX)
    if tiny:
        what = f"{tiny} of {len(capture.views)} photographs are smaller than {MIN_SIDE_PX} pixels"
        make = _error if tiny == len(capture.views) else _warning
        yield make(what, str(capture.root), "use the photographs at full size")
    if len(sizes) > 1:
        common = ", ".join(f"{count} of {width} x {height}" for (width, height), count in sizes.most_common(3))
        more = ", ..." if len(sizes) > 3 else ""
        yield _info(f"there are {len(sizes)} image sizes ({common}{more})")
    longest = max(max(size) for size in sizes)
    if longest > LARGE_SIDE_PX:
        scale = 2.0 ** -round(np.log2(longest / COMFORTABLE_SIDE_PX))
        what = f"photographs are up to {longest:,} pixels long; training at full size takes long"
        yield _info(what, remedy=f"use --image-scale {scale:g} to begin with")


def check_intrinsics(capture: Capture) -> Iterator[Finding]:
    """Lenses that are undistorted, fields of view and principal points that are hard to believe."""
    models = Counter(view.lens.name for view in capture.views if view.lens is not None)
    if models:
        kinds = ", ".join(f"{count} {name}" for name, count in models.most_common())
        yield _info(f"{sum(models.values())} views are undistorted on loading ({kinds})")
    odd_field, off_centre = [], []
    for view in capture.views:
        K, sides = view.camera.K, np.array([view.camera.width, view.camera.height])
        field_deg = np.degrees(2 * np.arctan(sides / 2 / np.diagonal(K)[:2]))
        if field_deg.max() < NARROW_DEG or field_deg.max() > WIDE_DEG:
            odd_field.append(view.name)
        if (np.abs(K[:2, 2] / sides - 0.5) > OFF_CENTRE).any():
            off_centre.append(view.name)
    yield from several(
        odd_field, capture, "views have an odd field of view", "check the focal lengths of the calibration"
    )
    yield from several(
        off_centre,
        capture,
        "views have a principal point far from the middle",
        "fine if they were cropped; else calibrate",
    )


def check_numbers(capture: Capture) -> Iterator[Finding]:
    """Coordinates far from the origin, and units far from ordinary."""
    if not capture.views:
        return
    centers = camera_centers(capture.views)
    unit = unit_length(capture)
    extent = max(unit, float(np.ptp(centers, axis=0).max()))
    distance = float(np.linalg.norm(np.median(centers, axis=0)))
    if distance > FAR_FROM_ORIGIN * extent:
        what = f"coordinates are far from the origin ({distance:,.0f} units): they are recentred in double precision"
        yield _info(what, remedy="files in single precision keep local coordinates and the offset beside them")
    if not 1e-3 < unit < 1e5:
        yield _info(f"the unit is unusual (the scene is {unit:.3g} units away): it is normalised inside")


def camera_centers(views: Sequence[View]) -> Float[np.ndarray, "n 3"]:
    """Positions of the cameras."""
    return np.stack([view.camera.center for view in views])


def several(names: Sequence[str], capture: Capture, what: str, remedy: str) -> Iterator[Finding]:
    """A warning about some of the views, with their number and the first of their names; nothing if there are none."""
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        yield _warning(f"{len(names)} of {len(capture.views)} {what} ({shown})", "", remedy)


def _copies(groups: Iterable[list[str]], what: str, remedy: str) -> Iterator[Finding]:
    doubled = [group for group in groups if len(group) > 1]
    if doubled:
        count = sum(len(group) - 1 for group in doubled)
        yield _warning(f"{count} {what} (such as {doubled[0][1]} of {doubled[0][0]})", "", remedy)


def _equal_files(views: Sequence[View]) -> list[list[str]]:
    """Groups of views whose files have equal length, beginning and end."""
    by_size: dict[int, list[View]] = defaultdict(list)
    for view in views:
        if view.image_path.is_file():
            by_size[view.image_path.stat().st_size].append(view)
    by_probe: dict[tuple[int, bytes], list[str]] = defaultdict(list)
    for size, same_size in by_size.items():
        for view in same_size if len(same_size) > 1 else ():
            by_probe[size, _probe(view.image_path, size)].append(view.name)
    return list(by_probe.values())


def _probe(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(PROBE_BYTES)
            stream.seek(max(0, size - PROBE_BYTES))
            return hashlib.sha256(head + stream.read(PROBE_BYTES)).digest()
    except OSError:
        return str(path).encode()  # what cannot be read is no copy of anything


def _error(what: str, where: str = "", remedy: str = "") -> Finding:
    return Finding(severity=Severity.ERROR, what=what, where=where, remedy=remedy)


def _warning(what: str, where: str = "", remedy: str = "") -> Finding:
    return Finding(severity=Severity.WARNING, what=what, where=where, remedy=remedy)


def _info(what: str, where: str = "", remedy: str = "") -> Finding:
    return Finding(severity=Severity.INFO, what=what, where=where, remedy=remedy)
