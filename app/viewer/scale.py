"""Owns the unit of a scene: metres where the capture is georeferenced or somebody measured, else its own units."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.viewer.workspace import RunEntry, Workspace
from scene3d.errors import InputError, SettingsError
from scene3d.geometry.similarity import Similarity
from scene3d.io.atomic import write_json
from scene3d.io.bounded_json import is_number, read_json_object

SCHEMA_VERSION = 1
FILE = "scale.json"


@dataclass(frozen=True, slots=True)
class Unit:
    """What distances are given in."""

    name: str
    """`m`, or `units` where nobody knows how long one is."""

    per_capture: float
    """So many of it are one unit of the capture's own frame."""


def read_unit(workspace: Workspace, run: RunEntry, capture: Path | None) -> Unit:
    """The unit of a scene.

    Args:
        capture: Where the photographs lie, if that is known.
    """
    path = _path(workspace, run)
    if path.is_file():
        metres = read_json_object(path).get("metres_per_unit")
        if is_number(metres) and metres > 0:
            return Unit("m", float(metres))
    return Unit("m", 1.0) if capture is not None and _is_metric(capture) else Unit("units", 1.0)


def set_unit(workspace: Workspace, run: RunEntry, capture_distance: float, metres: float) -> Unit:
    """Remember how long a distance is; from then on the scene is in metres.

    Raises:
        SettingsError: One of them is not a positive number.
    """
    ratio = metres / capture_distance if capture_distance > 0 else 0.0
    if not (np.isfinite(ratio) and ratio > 0):
        raise SettingsError("a scale needs two different places and a distance above zero")
    write_json(_path(workspace, run), {"schema_version": SCHEMA_VERSION, "metres_per_unit": ratio})
    return Unit("m", ratio)


def in_unit(world_from_capture: Similarity, unit: Unit) -> Similarity:
    """From a frame like the capture's but in this unit to the world."""
    return world_from_capture @ Similarity(1 / unit.per_capture, np.eye(3), np.zeros(3))


def _path(workspace: Workspace, run: RunEntry) -> Path:
    return (run.root if run.root.is_dir() else workspace.cache(run)) / FILE


def _is_metric(capture: Path) -> bool:
    """Whether structure from motion brought the capture into metres by GPS."""
    path = capture / "prepare.json"
    try:
        return path.is_file() and read_json_object(path).get("georeference") is not None
    except InputError:
        return False
