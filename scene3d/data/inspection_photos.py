"""Owns the doctor's look into the photographs: what cannot be decoded, is blank, blurred, hidden or lit differently."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import laplace

from scene3d.data.capture import Capture, Finding, Severity, View
from scene3d.data.inspection_rig import several
from scene3d.data.photos import read_photo
from scene3d.errors import Scene3dError
from scene3d.events import Quiet, Reporter

LOOK_SIDE_PX = 512
"""Photographs are looked at this large: sharpness becomes comparable, sensor noise fades."""

BLANK_DEVIATION = 2.0 / 255
HIDDEN_SHARE = 0.01
BLUR_RATIO = 0.1
"""Sharpness (variance of the Laplacian) over the median of all, below which a photograph is an outlier."""

EXPOSURE_RATIO = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one photograph looks like."""

    name: str
    usable_share: float
    brightness: float
    deviation: float
    sharpness: float


def inspect_photos(capture: Capture, reporter: Reporter | None = None) -> Iterator[Finding]:
    """Decodes every photograph once, at a small size."""
    reporter = reporter or Quiet()
    looks: list[_Look] = []
    broken: dict[str, Scene3dError] = {}
    reporter.start("inspect photographs", len(capture.views))
    for index, view in enumerate(capture.views):
        try:
            looks.append(_look(view))
        except Scene3dError as error:
            broken[view.name] = error
        reporter.advance("inspect photographs", index + 1)
    reporter.finish("inspect photographs")
    first = next((error.what for error in broken.values()), "")
    what = f"photographs cannot be loaded; {first}"
    yield from _all_or_several(list(broken), capture, what, "copy them again or leave them out")
    hidden = [look.name for look in looks if look.usable_share < HIDDEN_SHARE]
    yield from _all_or_several(
        hidden, capture, "photographs are hidden by their masks", "nonzero mask pixels are used; invert the masks"
    )
    blank = [look.name for look in looks if look.usable_share >= HIDDEN_SHARE and look.deviation < BLANK_DEVIATION]
    yield from _all_or_several(blank, capture, "photographs are of one colour", "leave them out")
    good = [look for look in looks if look.name not in {*hidden, *blank}]
    if len(good) >= 3:
        yield from _blurred(good, capture)
        yield from _exposures(good, capture)


def _look(view: View) -> _Look:
    scale = min(1.0, LOOK_SIDE_PX / max(view.camera.width, view.camera.height))
    photo = read_photo(view, scale)
    grey = photo.image.mean(axis=2, dtype=np.float32) / 255
    mask = np.ones(grey.shape, bool) if photo.mask is None else photo.mask
    seen = grey[mask]
    if not len(seen):
        return _Look(name=view.name, usable_share=0.0, brightness=0.0, deviation=0.0, sharpness=0.0)
    edges = laplace(grey, mode="nearest")[mask]
    return _Look(
        name=view.name,
        usable_share=float(mask.mean()),
        brightness=float(seen.mean()),
        deviation=float(seen.std()),
        # Over the contrast: a dull sky is not blurred, and a darker exposure is not either.
        sharpness=float(edges.var() / max(float(seen.var()), 1e-12)),
    )


def _blurred(looks: list[_Look], capture: Capture) -> Iterator[Finding]:
    typical = float(np.median([look.sharpness for look in looks]))
    names = [look.name for look in looks if look.sharpness < BLUR_RATIO * typical]
    yield from several(names, capture, "photographs are much less sharp than the others", "leave them out")


def _exposures(looks: list[_Look], capture: Capture) -> Iterator[Finding]:
    low, high = np.percentile([look.brightness for look in looks], [5, 95])
    if high > EXPOSURE_RATIO * max(low, 1e-6):
        what = f"brightness differs {high / max(low, 1e-6):.1f} times between photographs"
        remedy = "keep the exposure correction on; next time fix the exposure"
        yield Finding(severity=Severity.WARNING, what=what, where=str(capture.root), remedy=remedy)


def _all_or_several(names: list[str], capture: Capture, what: str, remedy: str) -> Iterator[Finding]:
    if names and len(names) == len(capture.views):
        yield Finding(severity=Severity.ERROR, what=f"all {len(names)} {what}", where=str(capture.root), remedy=remedy)
    else:
        yield from several(names, capture, what, remedy)
