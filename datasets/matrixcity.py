"""Owns MatrixCity's own poses: JSON with one camera per frame, turned into a pair of transforms files.

Two forms of them are read, both as the data set's own `scripts/load_aerial.py` and `load_street.py` describe them:
- `pose/BLOCK/transforms_train.json` and `transforms_test.json`: `file_path` (`../../train/block_1/0000.png`) and
  `transform_matrix`, ready to use.
- `train/BLOCK/transforms.json` and `test/BLOCK_test/transforms.json` (aerial only): `frame_index`, `camera_angle_x`,
  and `rot_mat`, a camera-to-world matrix in OpenGL axes whose rotation is stored at 1/100. Rotations are multiplied by
  100 and positions divided by 100, which brings them into the frame of the `pose/` files.
The data set's point clouds are not read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from layouts import Plan

from scene3d.data.registry import Dataset
from scene3d.errors import InputError
from scene3d.io.bounded_json import is_number, read_json_object
from scene3d.io.images import read_image_size
from scene3d.io.opening import check_relative_name

POSE_SCALE = 100.0
"""Stored rotations are divided, stored positions multiplied by this."""

POSE_BLOCKS = {"matrixcity-aerial": "block_all", "matrixcity-street": "block_A"}
PHOTO_PLACES = ("", "input", "rgb", "images")
"""Folders below a block in which its photographs are looked for."""

LENS_KEYS = ("camera_angle_x", "fl_x", "fl_y", "cx", "cy", "w", "h")
PARTS = ("train", "test")
_REMEDY = "unpack the data set again"


def plan_matrixcity(dataset: Dataset, folder: Path) -> Plan | None:
    """The capture that MatrixCity's own poses make; None if they are not there.

    Raises:
        InputError: They are there but not as they should be.
    """
    block = folder / "pose" / POSE_BLOCKS.get(dataset.name, "block_all")
    if all((block / f"transforms_{part}.json").is_file() for part in PARTS):
        records = {part: _read_pose_file(block / f"transforms_{part}.json") for part in PARTS}
    elif any(folder.glob("train/*/transforms.json")):
        if dataset.name != "matrixcity-aerial":
            what = "the published street block is a part of these frames, and only pose/block_A says which"
            raise InputError(what, where=folder, remedy="add the data set's pose/ folder")
        records = {part: _read_blocks(folder, part) for part in PARTS}
    else:
        return None
    return _plan_of(records, folder)


def _plan_of(records: Mapping[str, dict[str, Any]], folder: Path) -> Plan:
    links: dict[str, Path] = {}
    missing: list[str] = []
    for record in records.values():
        for frame in record["frames"]:
            name = frame["file_path"]
            path = _find_photo(folder, name)
            if path is None:
                missing.append(name)
            else:
                links[name] = path
    views = {
        part: tuple(sorted(each["file_path"] for each in record["frames"] if each["file_path"] in links))
        for part, record in records.items()
    }
    return Plan(
        layout="matrixcity",
        links=links,
        train=views["train"],
        test=views["test"],
        missing=tuple(missing),
        records={f"transforms_{part}.json": record for part, record in records.items()},
    )


def _find_photo(folder: Path, name: str) -> Path | None:
    path = folder / name
    places = (path.parent / place / path.name for place in PHOTO_PLACES)
    return next((place for place in places if place.is_file()), None)


def _read_pose_file(path: Path) -> dict[str, Any]:
    """A file of `pose/` with its names made relative to the data set's folder."""
    record = read_json_object(path)
    frames = []
    for number, frame in enumerate(_frames_of(record, path)):
        where = f"{path}, frame {number}"
        if not isinstance(frame.get("file_path"), str):
            raise InputError("has no file_path", where=where, remedy=_REMEDY)
        parts = [part for part in PurePosixPath(frame["file_path"]).parts if part != ".."]
        name = check_relative_name("/".join(parts[-3:]), where=where)
        if len(parts) < 3 or parts[-3] not in PARTS:
            what = f"file_path {frame['file_path'][:80]!r} does not end in train/BLOCK/NAME or test/BLOCK/NAME"
            raise InputError(what, where=where, remedy=_REMEDY)
        frames.append({"file_path": name, "transform_matrix": frame.get("transform_matrix")})
    return {**{key: record[key] for key in LENS_KEYS if key in record}, "frames": frames}


def _read_blocks(folder: Path, part: str) -> dict[str, Any]:
    """All blocks of one part as one record."""
    paths = sorted(folder.glob(f"{part}/*/transforms.json"))
    if not paths:
        raise InputError(f"holds no {part}/BLOCK/transforms.json", where=folder, remedy=_REMEDY)
    blocks = {path: read_json_object(path) for path in paths}
    frames = [
        _frame_of_block(frame, f"{part}/{path.parent.name}", f"{path}, frame {number}")
        for path, record in blocks.items()
        for number, frame in enumerate(_frames_of(record, path))
    ]
    angles = [record.get("camera_angle_x") for record in blocks.values()]
    if not is_number(angles[0]) or any(angle != angles[0] for angle in angles):
        what = f"its blocks do not state one camera_angle_x but {sorted(set(map(str, angles)))}"
        raise InputError(what, where=folder / part, remedy=_REMEDY)
    return {**_lens_of(folder, frames, float(angles[0])), "frames": frames}


def _lens_of(folder: Path, frames: Sequence[Mapping[str, Any]], angle_x_rad: float) -> dict[str, float]:
    """The one lens of all frames, from its angle and the size of the first photograph that is there."""
    photo = next((found for frame in frames if (found := _find_photo(folder, frame["file_path"]))), None)
    if photo is None:
        raise InputError(f"none of its {len(frames):,} photographs is there", where=folder, remedy=_REMEDY)
    width, height = read_image_size(photo)
    focal = 0.5 * width / float(np.tan(0.5 * angle_x_rad))
    return {"fl_x": focal, "fl_y": focal, "cx": width / 2, "cy": height / 2, "w": width, "h": height}


def _frame_of_block(frame: Mapping[str, Any], block: str, where: str) -> dict[str, Any]:
    index = frame.get("frame_index")
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise InputError("has no frame_index", where=where, remedy=_REMEDY)
    matrix = _matrix_of(frame.get("rot_mat"), where)
    matrix[:3, :3] *= POSE_SCALE
    matrix[:3, 3] /= POSE_SCALE
    if np.abs(matrix[:3, :3] @ matrix[:3, :3].T - np.eye(3)).max() > 1e-2:
        raise InputError("rot_mat is no rotation at 1/100", where=where, remedy="give the data set's own files")
    return {"file_path": f"{block}/{index:04d}.png", "transform_matrix": matrix.tolist()}


def _matrix_of(rows: object, where: str) -> np.ndarray:
    rows = rows if isinstance(rows, list) else []
    well_formed = all(isinstance(row, list) and len(row) == 4 and all(map(is_number, row)) for row in rows)
    if len(rows) not in (3, 4) or not well_formed:
        raise InputError("rot_mat is no 4x4 matrix", where=where, remedy=_REMEDY)
    return np.array([*rows[:3], [0, 0, 0, 1]], np.float64)


def _frames_of(record: Mapping[str, Any], path: Path) -> Sequence[Mapping[str, Any]]:
    frames = record.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError("holds no list of frames", where=path, remedy=_REMEDY)
    return frames
