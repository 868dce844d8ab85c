"""Owns writing a scene for other programs: in the capture's own frame, cropped, as .ply, .splat or .spz."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from scene3d.errors import InputError, SettingsError
from scene3d.gaussians.cleaning import crop_box, scene_radius
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.transform import transform_gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.io.atomic import write_json
from scene3d.io.ply import read_gaussians_ply, write_gaussians_ply
from scene3d.io.splat_formats import write_splat, write_spz

EXPORT_SCHEMA_VERSION = 1
MAX_EXTENTS = 100.0
"""Farther from the origin than this many scene radii a file keeps local coordinates.

float32 positions 1,000 radii out re-render 400-pixel images at 62 dB and 10,000 out at 38 dB; 100 out it is 78 dB,
which leaves room for larger images.
"""

Frame = Literal["capture", "world"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CropBox:
    """An axis-aligned box; Gaussians whose centre lies inside are kept."""

    minimum: tuple[float, float, float]
    maximum: tuple[float, float, float]
    frame: Frame = "capture"
    """Whose axes and units: the files' own, or the levelled world the scene was trained in."""

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.minimum, self.maximum, strict=True)):
            raise SettingsError(f"the crop box from {self.minimum} to {self.maximum} is empty")


def export_scene(
    path: Path,
    gaussians: Gaussians,
    world_from_capture: Similarity,
    *,
    frame: Frame = "capture",
    crop: CropBox | None = None,
    epsg: int | None = None,
) -> dict[str, Any]:
    """Write a scene for other programs; where the file cannot hold the coordinates, `PATH.json` says the offset.

    Args:
        path: Its suffix is the format: .ply is exact, .splat drops view-dependent colour, .spz rounds.
        gaussians: In the world frame.
        world_from_capture: As the capture remembers it.
        frame: Coordinates of the file.
        crop: Part to keep.
        epsg: Code of the coordinate system of the capture, if it is georeferenced.

    Returns:
        The record of `write_scene`.

    Raises:
        SettingsError: The crop box keeps nothing, or the format is unknown.
    """
    capture_from_world = world_from_capture.inverse()
    if crop is not None:
        minimum, maximum = np.array(crop.minimum, np.float64), np.array(crop.maximum, np.float64)
        box_from_world = capture_from_world if crop.frame == "capture" else Similarity.identity()
        num_before = len(gaussians)
        gaussians = crop_box(gaussians, minimum, maximum, box_from_world=box_from_world)
        if len(gaussians) == 0:
            remedy = f"give it in the {crop.frame} frame's units"
            raise SettingsError(f"the crop box holds none of the {num_before:,} Gaussians", remedy=remedy)
    target = world_from_capture if frame == "capture" else Similarity.identity()
    record = write_scene(path, gaussians, target, epsg=epsg)
    if record["offset"] is not None:
        write_json(path.with_name(f"{path.name}.json"), record)
    return record


def write_scene(
    path: Path, gaussians: Gaussians, world_from_capture: Similarity, *, epsg: int | None = None
) -> dict[str, Any]:
    """Write a scene in the capture's own frame, view-dependent colour turned with it.

    float32 cannot hold, say, UTM coordinates: beyond `MAX_EXTENTS` an offset is subtracted, which stands in the .ply
    comments and in the record.

    Returns:
        For a manifest: file, format, counts, `offset` (None, or what to add to the file's coordinates in double) and
        `world_from_file`.

    Raises:
        SettingsError: The suffix is none of .ply, .splat, .spz.
        InputError: The path cannot be written.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        known = ", ".join(_WRITERS)
        raise SettingsError(f"cannot write a scene as '{path.suffix}'", where=path, remedy=f"use one of {known}")
    capture_from_world = world_from_capture.inverse()
    offset = find_offset(gaussians, capture_from_world)
    file_from_capture = Similarity(1.0, np.eye(3), np.zeros(3) if offset is None else -offset)
    file_from_world = file_from_capture @ capture_from_world
    listed = None if offset is None else offset.tolist()
    comments = ["scene3d: Gaussians in the frame of the capture"]
    comments += [] if listed is None else [f"offset {' '.join(map(repr, listed))}"]
    comments += [] if epsg is None else [f"epsg {epsg}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer(path, transform_gaussians(gaussians, file_from_world), comments)
    return {
        "schema_version": EXPORT_SCHEMA_VERSION,
        "file": path.name,
        "format": path.suffix.lower()[1:],
        "num_gaussians": len(gaussians),
        "size_bytes": path.stat().st_size,
        "offset": listed,
        "epsg": epsg,
        "world_from_file": file_from_world.inverse().to_record(),
    }


def read_scene(path: Path, record: dict[str, Any]) -> Gaussians:
    """A .ply that `write_scene` wrote, back in the world frame.

    Args:
        record: What `write_scene` returned.

    Raises:
        InputError: The file or the record cannot be used.
    """
    try:
        world_from_file = Similarity.from_record(record["world_from_file"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("the manifest does not say which frame the scene is in", where=path) from error
    return transform_gaussians(read_gaussians_ply(path), world_from_file)


def find_offset(gaussians: Gaussians, capture_from_world: Similarity) -> Float[np.ndarray, "3"] | None:
    """What to subtract from capture coordinates so that float32 can hold them; None if it can as they are.

    The middle of the scene, rounded to a power of ten below the scene's size, so that people can read and type it.
    """
    if len(gaussians) == 0:
        return None
    points = gaussians.means.detach().cpu().double().numpy()
    middle = capture_from_world.apply(np.median(points, axis=0)[None])[0]
    radius = capture_from_world.scale * scene_radius(gaussians.means)
    if np.abs(middle).max() <= MAX_EXTENTS * radius:
        return None
    return np.asarray(np.round(middle, -int(np.floor(np.log10(radius)))))


def _write_ply(path: Path, gaussians: Gaussians, comments: list[str]) -> None:
    write_gaussians_ply(path, gaussians, comments=comments)


def _write_splat(path: Path, gaussians: Gaussians, _: list[str]) -> None:
    write_splat(path, gaussians)


def _write_spz(path: Path, gaussians: Gaussians, _: list[str]) -> None:
    write_spz(path, gaussians)


_WRITERS: dict[str, Callable[[Path, Gaussians, list[str]], None]] = {
    ".ply": _write_ply,
    ".splat": _write_splat,
    ".spz": _write_spz,
}
