"""Owns the records of what a person brings: views with cameras, sparse points with tracks, findings."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from scene3d.cameras.camera import Camera
from scene3d.cameras.models import CameraModel
from scene3d.geometry.similarity import Similarity


class Severity(Enum):
    """How much a finding matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


SEVERITIES = (Severity.INFO, Severity.WARNING, Severity.ERROR)
"""Rising."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a person should know about a capture."""

    severity: Severity
    what: str
    where: str = ""
    remedy: str = ""


def describe(finding: Finding) -> str:
    """A finding in one line."""
    where = f"{finding.where}: " if finding.where else ""
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"{where}{finding.what}{remedy}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One photograph and the pinhole camera it is used with."""

    name: str
    """Name in the capture, unique, with forward slashes."""

    image_path: Path
    """The file with the photograph; decoded only when needed."""

    camera: Camera
    """Pinhole camera of the undistorted image at full size."""

    lens: CameraModel | None = None
    """The lens as photographed; None when the file already is a pinhole image."""

    mask_path: Path | None = None
    """Mask file: nonzero means use this pixel."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparsePoints:
    """Points from structure from motion, with the views that saw each (compressed rows)."""

    positions: Float[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]
    errors_px: Float[np.ndarray, "n"]
    """Mean reprojection error; NaN where unknown."""

    track_offsets: Int[np.ndarray, "n1"]
    """[n + 1]: views of point i are `track_views[track_offsets[i]:track_offsets[i + 1]]`."""

    track_views: Int[np.ndarray, "m"]
    """Indices into `Capture.views`."""

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def track_lengths(self) -> Int[np.ndarray, "n"]:
        """How many views saw each point."""
        return np.diff(self.track_offsets)

    @property
    def track_points(self) -> Int[np.ndarray, "m"]:
        """The point of each entry of `track_views`."""
        return np.repeat(np.arange(len(self)), self.track_lengths)

    def subset(self, keep: Bool[np.ndarray, "n"]) -> "SparsePoints":
        """The points of a mask, with their tracks."""
        lengths = self.track_lengths
        return SparsePoints(
            positions=self.positions[keep],
            colors=self.colors[keep],
            errors_px=self.errors_px[keep],
            track_offsets=np.concatenate([[0], np.cumsum(lengths[keep])]),
            track_views=self.track_views[np.repeat(keep, lengths)],
        )

    def seen_by(self, views: Collection[int], *, min_views: int = 1) -> "SparsePoints":
        """The points that at least `min_views` of the given views saw; tracks lose all other views.

        Points without any track stay, for nobody can say who saw them.
        """
        wanted = np.isin(self.track_views, np.fromiter(views, np.int64, len(views)))
        points = self.track_points[wanted]
        counts = np.bincount(points, minlength=len(self))
        thinned = SparsePoints(
            positions=self.positions,
            colors=self.colors,
            errors_px=self.errors_px,
            track_offsets=np.concatenate([[0], np.cumsum(counts)]),
            track_views=self.track_views[wanted],
        )
        return thinned.subset((counts >= min_views) | (self.track_lengths == 0))

    def thinned(self, most: int) -> "SparsePoints":
        """At most this many points, picked evenly through the list."""
        if len(self) <= most:
            return self
        keep = np.zeros(len(self), bool)
        keep[np.linspace(0, len(self) - 1, most).astype(np.int64)] = True
        return self.subset(keep)

    @classmethod
    def empty(cls) -> "SparsePoints":
        """No points at all."""
        return cls(
            positions=np.zeros((0, 3)),
            colors=np.zeros((0, 3), np.uint8),
            errors_px=np.zeros(0),
            track_offsets=np.zeros(1, np.int64),
            track_views=np.zeros(0, np.int64),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Capture:
    """A set of views in one world frame."""

    root: Path
    views: tuple[View, ...]
    points: SparsePoints
    findings: tuple[Finding, ...] = ()
    source: str = ""
    """Where the poses came from: `colmap`, `transforms`, or empty."""

    world_from_capture: Similarity = field(default_factory=Similarity.identity)
    """From the frame of the files to the frame `views` and `points` are now in."""

    def transformed(self, target_from_source: Similarity) -> "Capture":
        """The same capture in another world frame; `world_from_capture` remembers the way back."""
        return replace(
            self,
            views=tuple(replace(view, camera=view.camera.transformed(target_from_source)) for view in self.views),
            points=replace(self.points, positions=target_from_source.apply(self.points.positions)),
            world_from_capture=target_from_source @ self.world_from_capture,
        )
