"""Owns reading `transforms.json` as nerfstudio, instant-ngp and Blender write it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from scene3d.cameras.models import CameraModel
from scene3d.errors import InputError, LimitExceeded
from scene3d.io.bounded_json import is_number, read_json_object
from scene3d.io.findings import Finding, Severity
from scene3d.io.opening import check_relative_name, is_plain_file
from scene3d.io.transforms_lens import lens_of
from scene3d.limits import IMAGE_SUFFIXES, MAX_COORDINATE, MAX_VIEWS

_REMEDY = "export the file again"
_TURN_NOTED = 1e-3
_TURN_REFUSED = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TransformsFrame:
    """One photograph that exists on disk, its lens and its pose."""

    name: str
    """Relative to the folder of the file, with forward slashes and suffix."""

    image_path: Path
    mask_path: Path | None
    lens: CameraModel
    world_from_cam: Float[np.ndarray, "4 4"]
    """Rigid; OpenGL camera axes (+x right, +y up, -z forward)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transforms:
    """All usable frames of one file."""

    root: Path
    frames: tuple[TransformsFrame, ...]
    points_path: Path | None
    """Point cloud that belongs to the poses (`ply_file_path`), if it is there."""

    applied_transform: Float[np.ndarray, "3 4"] | None
    """What the exporter did to the original world frame, if it says so."""

    findings: tuple[Finding, ...]


def read_transforms(path: Path) -> Transforms:
    """Read the frames of a transforms.json whose photographs are there.

    Frames without their photograph, and masks or point clouds that are missing, are left out and counted in the
    findings. Sizes that the file does not give are read from the photographs. A name without a suffix (Blender) is
    tried with each image suffix.

    Raises:
        InputError: Not such a file, no frame with a photograph, or numbers that make no sense.
        LimitExceeded: Too large or too many frames.
    """
    record = read_json_object(path)
    frames = record.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError("holds no list of frames", where=path, remedy="give a transforms.json with frames")
    if len(frames) > MAX_VIEWS:
        raise LimitExceeded(f"holds {len(frames):,} frames; at most {MAX_VIEWS:,} are read", where=path)
    reader = _Reader(path, record)
    usable = [frame for i, each in enumerate(frames) if (frame := reader.frame(each, i)) is not None]
    _check_unique_names(usable, path)
    if not usable:
        what = f"none of its {len(frames):,} photographs is there (looked for {reader.missing_images[0]!r} beside it)"
        raise InputError(what, where=path, remedy="put the photographs where the file says, or correct file_path")
    return Transforms(
        root=path.parent,
        frames=tuple(usable),
        points_path=reader.points_path(),
        applied_transform=reader.applied_transform(),
        findings=reader.findings(len(frames)),
    )


class _Reader:
    """Reads the parts of one file and remembers what was missing."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self._path = path
        self._record = record
        self.missing_images: list[str] = []
        self._missing_others: list[str] = []
        self._num_skewed = 0

    def frame(self, frame: object, index: int) -> TransformsFrame | None:
        where = f"{self._path}, frame {index}"
        if not isinstance(frame, dict):
            raise InputError("is not an object", where=where, remedy=_REMEDY)
        name = self._name(frame.get("file_path"), where)
        image_path = _find_image(self._path.parent / name)
        if image_path is None:
            self.missing_images.append(name)
            return None
        return TransformsFrame(
            name=str(Path(name).with_name(image_path.name).as_posix()),
            image_path=image_path,
            mask_path=self._optional_path(frame.get("mask_path"), where),
            lens=lens_of(frame, self._record, image_path, where),
            world_from_cam=self._pose(frame.get("transform_matrix"), where),
        )

    def points_path(self) -> Path | None:
        return self._optional_path(self._record.get("ply_file_path"), f"{self._path}, ply_file_path")

    def applied_transform(self) -> Float[np.ndarray, "3 4"] | None:
        value = self._record.get("applied_transform")
        return None if value is None else _matrix(value, f"{self._path}, applied_transform")[:3]

    def findings(self, num_frames: int) -> tuple[Finding, ...]:
        findings = []
        if self.missing_images:
            names = ", ".join(self.missing_images[:3])
            what = f"{len(self.missing_images):,} of {num_frames:,} frames have no photograph ({names}...); left out"
            findings.append(self._warning(what, "add the photographs if they should be used"))
        if self._missing_others:
            names = ", ".join(self._missing_others[:3])
            what = f"{len(self._missing_others):,} masks or point clouds it names are missing ({names}...)"
            findings.append(self._warning(what, "add them if they should be used"))
        if self._num_skewed:
            what = f"{self._num_skewed:,} of {num_frames:,} poses are not quite rigid; the nearest rotation is used"
            findings.append(self._warning(what, _REMEDY))
        return tuple(findings)

    def _warning(self, what: str, remedy: str) -> Finding:
        return Finding(severity=Severity.WARNING, what=what, where=str(self._path), remedy=remedy)

    def _name(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            raise InputError("has no file_path", where=where, remedy=_REMEDY)
        return check_relative_name(value, where=where)

    def _optional_path(self, value: object, where: str) -> Path | None:
        if value is None:
            return None
        name = self._name(value, where)
        path = self._path.parent / name
        if is_plain_file(path):
            return path
        self._missing_others.append(name)
        return None

    def _pose(self, value: object, where: str) -> Float[np.ndarray, "4 4"]:
        matrix = _matrix(value, where)
        left, stretch, right = np.linalg.svd(matrix[:3, :3])
        turn = left @ right
        if np.abs(stretch - 1).max() > _TURN_REFUSED or np.linalg.det(turn) < 0:
            raise InputError("transform_matrix does not hold a rotation", where=where, remedy=_REMEDY)
        self._num_skewed += bool(np.abs(stretch - 1).max() > _TURN_NOTED)
        matrix[:3, :3] = turn
        return matrix


def _matrix(value: object, where: str) -> Float[np.ndarray, "4 4"]:
    """Three or four rows of four numbers as a 4x4 matrix with the last row 0 0 0 1."""
    rows = value if isinstance(value, list) else []
    well_formed = all(isinstance(row, list) and len(row) == 4 and all(map(_is_coordinate, row)) for row in rows)
    if not (len(rows) in (3, 4) and well_formed and (len(rows) == 3 or rows[3] == [0, 0, 0, 1])):
        raise InputError("does not hold a 4x4 matrix that ends in 0 0 0 1", where=where, remedy=_REMEDY)
    return np.array([*rows[:3], [0, 0, 0, 1]], np.float64)


def _is_coordinate(value: object) -> bool:
    return is_number(value) and abs(value) <= MAX_COORDINATE


def _find_image(path: Path) -> Path | None:
    if is_plain_file(path):
        return path
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return None
    for suffix in sorted(IMAGE_SUFFIXES):
        with_suffix = path.with_name(path.name + suffix)
        if is_plain_file(with_suffix):
            return with_suffix
    return None


def _check_unique_names(frames: list[TransformsFrame], path: Path) -> None:
    seen: set[str] = set()
    for frame in frames:
        if frame.name in seen:
            raise InputError(f"two frames use the photograph {frame.name!r}", where=path, remedy="remove one of them")
        seen.add(frame.name)
