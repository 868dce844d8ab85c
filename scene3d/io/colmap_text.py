"""Owns the text files of a COLMAP model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from scene3d.cameras.models import CameraModel
from scene3d.errors import InputError, LimitExceeded
from scene3d.io.colmap_binary import add_camera
from scene3d.io.colmap_model import PARAMETER_COUNTS, ColmapImage, ColmapPoints
from scene3d.limits import MAX_CAMERAS, MAX_POINTS, MAX_VIEWS

_REMEDY = "it is damaged or was edited; export the model again"
_CAMERA_FIELDS = 4
_IMAGE_FIELDS = 10
_POINT_FIELDS = 8
_WHOLE_NUMBERS_END = 2.0**53
"""Up to here every whole number is exact in double."""


def parse_cameras(text: bytes, path: Path) -> dict[int, CameraModel]:
    """The lenses of a cameras.txt by id."""
    cameras: dict[int, CameraModel] = {}
    for number, line in _data_lines(text):
        fields = line.decode("utf-8", "replace").split()
        if len(fields) < _CAMERA_FIELDS or fields[1] not in PARAMETER_COUNTS:
            raise _bad_line(number, "does not say id, camera model, width, height, parameters", path)
        params = tuple(_floats(fields[_CAMERA_FIELDS:], number, path))
        if len(cameras) >= MAX_CAMERAS:
            raise LimitExceeded(f"holds more than {MAX_CAMERAS:,} cameras", where=path)
        camera_id, width, height = _whole(fields[0], number, path), *(_whole(f, number, path) for f in fields[2:4])
        add_camera(cameras, camera_id, (fields[1], width, height, params), path)
    return cameras


def parse_images(text: bytes, path: Path) -> list[ColmapImage]:
    """The images of an images.txt in file order; nothing about their values is checked yet."""
    heads: list[tuple[int, bytes]] = []
    keypoint_lines: list[bytes] = []
    lines = iter(enumerate(text.split(b"\n"), 1))
    for number, line in lines:
        if line.strip() and not line.lstrip().startswith(b"#"):
            heads.append((number, line))
            # The second line of an image may be empty, and at the very end of the file it may be missing.
            keypoint_lines.append(next(lines, (0, b""))[1])
    if len(heads) > MAX_VIEWS:
        raise LimitExceeded(f"holds {len(heads):,} images; at most {MAX_VIEWS:,} are read", where=path)
    numbers, offsets = _parse_number_lines(keypoint_lines, path)
    if (np.diff(offsets) % 3).any():
        worst = heads[int(np.argmax(np.diff(offsets) % 3 != 0))][0] + 1
        raise _bad_line(worst, "does not hold x, y, point id for each keypoint", path)
    return [
        _image(number, line, numbers[offsets[i] : offsets[i + 1]].reshape(-1, 3), path)
        for i, (number, line) in enumerate(heads)
    ]


def _image(number: int, line: bytes, keypoints: Float[np.ndarray, "m 3"], path: Path) -> ColmapImage:
    try:
        fields = line.decode("utf-8").strip().split(maxsplit=_IMAGE_FIELDS - 1)
    except UnicodeDecodeError as error:
        raise _bad_line(number, "is not UTF-8", path) from error
    if len(fields) < _IMAGE_FIELDS:
        raise _bad_line(number, "does not say id, quaternion, translation, camera id, name", path)
    pose = np.array(_floats(fields[1:8], number, path))
    return ColmapImage(
        id=_whole(fields[0], number, path),
        name=fields[9],
        camera_id=_whole(fields[8], number, path),
        qvec=pose[:4],
        tvec=pose[4:],
        keypoints=keypoints[:, :2].copy(),
        point_ids=_whole_numbers(keypoints[:, 2], path),
    )


def parse_points(text: bytes, path: Path) -> ColmapPoints:
    """The points of a points3D.txt in file order; nothing about their values is checked yet."""
    lines = [line for _, line in _data_lines(text)]
    if len(lines) > MAX_POINTS:
        raise LimitExceeded(f"holds {len(lines):,} points; at most {MAX_POINTS:,} are read", where=path)
    numbers, offsets = _parse_number_lines(lines, path)
    lengths = np.diff(offsets) - _POINT_FIELDS
    if ((lengths < 0) | (lengths % 2 != 0)).any():
        raise InputError("a point's line does not say id, x y z, r g b, error, track", where=path, remedy=_REMEDY)
    heads = numbers[offsets[:-1, None] + np.arange(_POINT_FIELDS)]
    in_track = np.ones(len(numbers), bool)
    in_track[offsets[:-1, None] + np.arange(_POINT_FIELDS)] = False
    tracks = _whole_numbers(numbers[in_track], path).reshape(-1, 2)
    colors = heads[:, 4:7]
    if not ((colors >= 0) & (colors <= 255)).all():  # NaN fails this too
        raise InputError("a point's colour is outside 0..255", where=path, remedy=_REMEDY)
    return ColmapPoints(
        ids=_whole_numbers(heads[:, 0], path),
        positions=heads[:, 1:4].copy(),
        colors=colors.astype(np.uint8),
        errors_px=np.where(heads[:, 7] >= 0, heads[:, 7], np.nan),
        track_offsets=np.concatenate([[0], np.cumsum(lengths // 2)]),
        track_image_ids=tracks[:, 0].copy(),
        track_keypoints=tracks[:, 1].copy(),
    )


def _parse_number_lines(lines: list[bytes], path: Path) -> tuple[Float[np.ndarray, "k"], Int[np.ndarray, "n1"]]:
    """All numbers of many lines at once, and where each line's numbers begin."""
    counts = [len(line.split()) for line in lines]
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    text = b" ".join(lines)
    try:
        numbers = np.fromstring(text, np.float64, sep=" ") if offsets[-1] else np.zeros(0)
    except (ValueError, DeprecationWarning) as error:
        raise _no_number(path) from error
    if len(numbers) != offsets[-1]:
        raise _no_number(path)
    return numbers, offsets


def _no_number(path: Path) -> InputError:
    remedy = "decimals are written with a point; export the model again"
    return InputError("holds something that is no number", where=path, remedy=remedy)


def _data_lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.strip() and not line.lstrip().startswith(b"#"):
            yield number, line


def _whole_numbers(values: Float[np.ndarray, "k"], path: Path) -> Int[np.ndarray, "k"]:
    if not ((np.abs(values) < _WHOLE_NUMBERS_END) & (values == np.floor(values))).all():
        raise InputError("an id or index is not a whole number", where=path, remedy=_REMEDY)
    return values.astype(np.int64)


def _whole(field: str, number: int, path: Path) -> int:
    if not (field.isascii() and field.isdigit() and len(field) < len("18446744073709551616")):
        raise _bad_line(number, f"holds {field[:40]!a} where a whole number belongs", path)
    return int(field)


def _floats(fields: list[str], number: int, path: Path) -> list[float]:
    try:
        return [float(field) for field in fields]
    except ValueError as error:
        raise _bad_line(number, f"holds something that is no number ({error}); decimals need a point", path) from error


def _bad_line(number: int, what: str, path: Path) -> InputError:
    return InputError(f"line {number:,} {what}", where=path, remedy=_REMEDY)
