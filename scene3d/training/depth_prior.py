"""Owns the depth-prior term: the rendered depth against depth maps aligned to the sparse points."""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scene3d.data.capture import Capture, Finding, Severity, SparsePoints, View
from scene3d.errors import InputError, Scene3dError
from scene3d.render import NEAR_PLANE
from scene3d.training.depth_maps import (
    Alignment,
    find_depth_map,
    fit_alignment,
    match_points,
    read_depth_map,
    resize_map,
)
from scene3d.training.geometry_settings import DepthPriorSettings
from scene3d.training.schedules import log_linear
from scene3d.training.terms import StepView

logger = logging.getLogger(__name__)

MIN_ALPHA = 0.5
"""Pixels that the scene covers less have no depth to speak of."""

CACHE_BYTES = 256 << 20
"""Most bytes kept in maps at the size of training: 85 of a thousand by 750 pixels."""

_MAX_NAMES = 3
"""Views that a finding names."""

UNKNOWN = -1.0
"""Stands in a map of inverse depths, none of which is negative, where there is none to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedMap:
    """A depth map on disk, and how its numbers become inverse depth in world units."""

    path: Path
    alignment: Alignment


class MapCache:
    """Maps at the size of training; the least recently used go first when the bytes are full."""

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[Path, int, int], Tensor] = OrderedDict()
        self._kept_bytes = 0

    @property
    def cached_bytes(self) -> int:
        """Bytes kept now; never above the budget."""
        return self._kept_bytes

    def get(self, key: tuple[Path, int, int], make: Callable[[], Tensor]) -> Tensor:
        """The kept tensor of this key (file, width, height), made if there is none. Not to be written to."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = make()
        if made.nbytes <= self._max_bytes:
            while self._kept_bytes + made.nbytes > self._max_bytes:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
            self._kept[key] = made
            self._kept_bytes += made.nbytes
        return made


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthPriorTerm:
    """Mean difference between inverse depths, as rendered and as an aligned map gives them."""

    settings: DepthPriorSettings

    maps: Mapping[str, AlignedMap]
    """By view name; views without a usable map are left in peace."""

    findings: tuple[Finding, ...] = ()
    """What was left out."""

    cache: MapCache = field(default_factory=MapCache)
    """Only spares decoding: what the term says does not depend on it."""

    @classmethod
    def from_capture(cls, capture: Capture, views: Collection[int], settings: DepthPriorSettings) -> "DepthPriorTerm":
        """Aligns the maps of these views, each by the points that the view itself saw.

        Raises:
            InputError: The folder of maps is none.
        """
        if settings.folder is None:
            return cls(settings=settings, maps={})
        if not settings.folder.is_dir():
            remedy = "give the folder that the depth maps are in"
            raise InputError("is no folder", where=settings.folder, remedy=remedy)
        started_s = time.monotonic()
        stems = Counter(PurePosixPath(view.name).stem for view in capture.views)
        maps: dict[str, AlignedMap] = {}
        left_out: dict[_Problem, list[str]] = {}
        for index, positions in _points_by_view(capture.points, views):
            view = capture.views[index]
            # Two views of one stem in different subfolders must not share a map.
            path = find_depth_map(settings.folder, view.name, by_stem=stems[PurePosixPath(view.name).stem] == 1)
            found = _Problem.MISSING if path is None else _align(path, view, positions, settings)
            if isinstance(found, AlignedMap):
                maps[view.name] = found
            else:
                left_out.setdefault(found, []).append(view.name)
        logger.info("%d of %d depth maps aligned in %.1f s", len(maps), len(views), time.monotonic() - started_s)
        findings = tuple(_finding(problem, names, len(views), settings.folder) for problem, names in left_out.items())
        return cls(settings=settings, maps=maps, findings=findings)

    def is_due(self, iteration: int, iterations: int) -> bool:
        """Always, if there is any map."""
        return bool(self.maps)

    def __call__(self, step: StepView) -> Float[Tensor, ""]:
        """w(t) mean over M of |a m + b - 1 / D|; exactly 0 without a map or where M is empty.

        M: known in the map, covered by more than half in the rendering, allowed by the photograph's mask.
        """
        photo, depth = step.photo, step.rendered.depth
        if photo.name not in self.maps:
            return depth.new_zeros(())
        target = self.target(photo.name, photo.camera.width, photo.camera.height).to(depth.device)
        mask = (target != UNKNOWN) & (step.rendered.alpha.detach() > MIN_ALPHA) & (depth.detach() > NEAR_PLANE)
        if photo.mask is not None:
            mask = mask & photo.mask
        weight = log_linear(self.settings.weight, self.settings.final_weight, step.iteration / step.iterations)
        return weight * inverse_depth_difference(depth, target, mask)

    def target(self, name: str, width: int, height: int) -> Float[Tensor, "h w"]:
        """Inverse depth in world units that the view's map asks for, at this size; `UNKNOWN` where there is none."""
        aligned = self.maps[name]

        def make() -> Tensor:
            values = resize_map(read_depth_map(aligned.path, self.settings.kind), width, height)
            # Behind infinity there is nothing: a map may say "far" only.
            inverse = (aligned.alignment.scale * values + aligned.alignment.offset).clamp_min(0)
            return inverse.nan_to_num(UNKNOWN)

        return self.cache.get((aligned.path, width, height), make)


def inverse_depth_difference(
    depth: Float[Tensor, "h w"], target: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"]
) -> Float[Tensor, ""]:
    """Mean over the mask of |target - 1 / depth|; exactly 0 for an empty mask; differentiable in the depth."""
    inverse = depth.clamp_min(NEAR_PLANE).reciprocal()  # finite also where the mask will drop it
    return torch.linalg.vector_norm((inverse - target) * mask, 1) / mask.sum().clamp_min(1)


class _Problem(Enum):
    """Why a view trains without a map, as a person reads it."""

    MISSING = "have no depth map"
    UNREADABLE = "have a depth map that cannot be read"
    TOO_FEW_POINTS = "saw too few sparse points to align their depth map by"
    UNRELIABLE = "have a depth map that contradicts their sparse points"


_REMEDIES = {
    _Problem.MISSING: "name the maps like the photographs, with .png or .npy in place of their suffix",
    _Problem.UNREADABLE: "save them as grey PNG of 8 or 16 bits or as two-dimensional float32 .npy",
    _Problem.TOO_FEW_POINTS: "give a capture with tracks, or lower --depth-prior.min-matches",
    _Problem.UNRELIABLE: "check --depth-prior.kind, and that they were made from these photographs",
}


def _align(
    path: Path, view: View, positions: Float[np.ndarray, "n 3"], settings: DepthPriorSettings
) -> "AlignedMap | _Problem":
    try:
        values = read_depth_map(path, settings.kind)
    except Scene3dError as error:
        logger.warning("%s", error)
        return _Problem.UNREADABLE
    found, inverse_depths = match_points(values, view.camera, positions)
    if len(found) < settings.min_matches:
        return _Problem.TOO_FEW_POINTS
    alignment = fit_alignment(found, inverse_depths)
    return AlignedMap(path=path, alignment=alignment) if alignment.is_reliable else _Problem.UNRELIABLE


def _points_by_view(points: SparsePoints, views: Collection[int]) -> Iterator[tuple[int, Float[np.ndarray, "m 3"]]]:
    """Each of the views with the points whose tracks it is in."""
    order = np.argsort(points.track_views, kind="stable")
    in_order, track_points = points.track_views[order], points.track_points[order]
    for view in views:
        first, last = np.searchsorted(in_order, [view, view + 1])
        yield view, points.positions[track_points[first:last]]


def _finding(problem: _Problem, names: list[str], num_views: int, folder: Path) -> Finding:
    shown = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
    return Finding(
        severity=Severity.WARNING,
        what=f"{len(names)} of {num_views} views {problem.value} and train without it: {shown}",
        where=str(folder),
        remedy=_REMEDIES[problem],
    )
