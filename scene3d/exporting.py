"""Owns writing a scene for other programs: in the capture's own frame, cropped, as .ply, .splat or .spz."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from scene3d.errors import InputError, SettingsError
from scene3d.gaussians.cleaning import crop_box, scene_radius
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.transform import transform_gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.io.atomic import write_json
from scene3d.io.ply import read_gaussians_ply, write_gaussians_ply, write_gaussians_ply_parts
from scene3d.io.splat_formats import write_splat, write_spz

EXPORT_SCHEMA_VERSION = 1
MAX_EXTENTS = 100.0
"""Farther from the origin than this many scene radii a file keeps local coordinates.

float32 positions 1,000 radii out re-render 400-pixel images at 62 dB and 10,000 out at 38 dB; 100 out it is 78 dB,
which leaves room for larger images.
"""
_ROWS_AT_ONCE = 1 << 16

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
    frame = _FileFrame(world_from_capture, find_offset(gaussians, world_from_capture.inverse()), epsg)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer(path, transform_gaussians(gaussians, frame.file_from_world), frame.comments)
    return frame.describe(path, len(gaussians))


def write_scene_parts(
    path: Path,
    parts: Iterable[Gaussians],
    world_from_capture: Similarity,
    *,
    num_gaussians: int,
    sh_degree: int,
    middle: tuple[float, float, float],
    radius: float,
) -> dict[str, Any]:
    """Write a scene that comes in parts, as `write_scene` writes a whole one; only one part is held at a time.

    Args:
        path: Ends with .ply: the other formats need the whole scene at once.
        parts: In the world frame.
        num_gaussians: In all parts together.
        sh_degree: Of every part.
        middle: Of the scene, world units; the whole scene would tell, a part of it cannot.
        radius: Of the scene, world units.

    Returns:
        The record of `write_scene`.

    Raises:
        SettingsError: The suffix is not .ply.
        InputError: As from `write_gaussians_ply_parts`.
    """
    if path.suffix.lower() != ".ply":
        raise SettingsError(f"cannot write a scene in parts as '{path.suffix}'", where=path, remedy="use .ply")
    offset = _offset_of(np.array(middle), radius, world_from_capture.inverse()) if num_gaussians else None
    frame = _FileFrame(world_from_capture, offset)
    path.parent.mkdir(parents=True, exist_ok=True)
    moved = (transform_gaussians(rows, frame.file_from_world) for rows in _in_rows(parts))
    write_gaussians_ply_parts(path, moved, num_gaussians=num_gaussians, sh_degree=sh_degree, comments=frame.comments)
    return frame.describe(path, num_gaussians)


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
    return _offset_of(np.median(points, axis=0), scene_radius(gaussians.means), capture_from_world)


def _offset_of(
    middle: Float[np.ndarray, "3"], radius: float, capture_from_world: Similarity
) -> Float[np.ndarray, "3"] | None:
    """The same from the middle and radius of a scene, world units."""
    center, size = capture_from_world.apply(middle[None])[0], capture_from_world.scale * radius
    if np.abs(center).max() <= MAX_EXTENTS * size:
        return None
    return np.asarray(np.round(center, -int(np.floor(np.log10(size)))))


@dataclass(frozen=True, slots=True, eq=False)
class _FileFrame:
    """The frame a file's coordinates are in, and what the file and its record say about it."""

    world_from_capture: Similarity
    offset: Float[np.ndarray, "3"] | None
    epsg: int | None = None

    @property
    def file_from_world(self) -> Similarity:
        file_from_capture = Similarity(1.0, np.eye(3), np.zeros(3) if self.offset is None else -self.offset)
        return file_from_capture @ self.world_from_capture.inverse()

    @property
    def comments(self) -> list[str]:
        lines = ["scene3d: Gaussians in the frame of the capture"]
        lines += [] if self.offset is None else [f"offset {' '.join(map(repr, self.offset.tolist()))}"]
        return lines + ([] if self.epsg is None else [f"epsg {self.epsg}"])

    def describe(self, path: Path, num_gaussians: int) -> dict[str, Any]:
        """The record of a file that was written."""
        return {
            "schema_version": EXPORT_SCHEMA_VERSION,
            "file": path.name,
            "format": path.suffix.lower()[1:],
            "num_gaussians": num_gaussians,
            "size_bytes": path.stat().st_size,
            "offset": None if self.offset is None else self.offset.tolist(),
            "epsg": self.epsg,
            "world_from_file": self.file_from_world.inverse().to_record(),
        }


def _in_rows(parts: Iterable[Gaussians]) -> Iterator[Gaussians]:
    """The same Gaussians a few at a time: moving them takes several times their memory, in double."""
    for part in parts:
        for start in range(0, len(part), _ROWS_AT_ONCE):
            yield part.select(torch.arange(start, min(start + _ROWS_AT_ONCE, len(part))))


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
