"""Owns the binary files of a COLMAP model: every count is checked against the bytes left before it is believed."""

import struct
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Int

from scene3d.cameras.models import CameraModel
from scene3d.errors import InputError, LimitExceeded
from scene3d.io.colmap_model import PARAMETER_COUNTS, ColmapImage, ColmapPoints
from scene3d.limits import MAX_CAMERAS, MAX_COORDINATE, MAX_PATH_BYTES, MAX_POINTS, MAX_VIEWS

_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<IiQQ")
_IMAGE = struct.Struct("<I7dI")
_KEYPOINT = np.dtype([("pixel", "<f8", 2), ("point_id", "<i8")])
_POINT = np.dtype([("id", "<i8"), ("position", "<f8", 3), ("color", "u1", 3), ("error_px", "<f8"), ("length", "<u8")])
_TRACK_ENTRY = np.dtype([("image_id", "<u4"), ("keypoint", "<u4")])
_REMEDY = "it is damaged or cut short; export the model again"

_MODELS = tuple(PARAMETER_COUNTS.items())


def parse_cameras(buffer: memoryview, path: Path) -> dict[int, CameraModel]:
    """The lenses of a cameras.bin by id."""
    count = _checked_count(buffer, path, smallest_bytes=_CAMERA.size + 2 * 8, most=MAX_CAMERAS)
    cameras: dict[int, CameraModel] = {}
    position = _COUNT.size
    for _ in range(count):
        _need(buffer, position, _CAMERA.size, path)
        camera_id, model, width, height = _CAMERA.unpack_from(buffer, position)
        position += _CAMERA.size
        if not 0 <= model < len(_MODELS):
            raise InputError(f"camera {camera_id} has the unknown model number {model}", where=path, remedy=_REMEDY)
        name, num_params = _MODELS[model]
        _need(buffer, position, 8 * num_params, path)
        params = struct.unpack_from(f"<{num_params}d", buffer, position)
        position += 8 * num_params
        add_camera(cameras, camera_id, (name, width, height, params), path)
    _check_end(buffer, position, path)
    return cameras


def add_camera(
    cameras: dict[int, CameraModel], camera_id: int, lens: tuple[str, int, int, tuple[float, ...]], path: Path
) -> None:
    """Add one lens (name, width, height, parameters) after checking it; errors name the file and the camera."""
    if camera_id in cameras:
        raise InputError(f"two cameras have the id {camera_id}", where=path, remedy=_REMEDY)
    name, width, height, params = lens
    if not all(abs(value) <= MAX_COORDINATE for value in params):  # NaN fails this too
        what = f"camera {camera_id} holds parameters that are not finite or absurd: {params}"
        raise InputError(what, where=path, remedy=_REMEDY)
    try:
        cameras[camera_id] = CameraModel(name=name, width=width, height=height, params=params)
    except InputError as error:
        raise InputError(f"camera {camera_id}: {error.what}", where=path, remedy=error.remedy or _REMEDY) from error


def parse_images(buffer: memoryview, path: Path) -> list[ColmapImage]:
    """The images of an images.bin in file order; nothing about their values is checked yet."""
    count = _checked_count(buffer, path, smallest_bytes=_IMAGE.size + 1 + _COUNT.size, most=MAX_VIEWS)
    images = []
    position = _COUNT.size
    for _ in range(count):
        _need(buffer, position, _IMAGE.size, path)
        image_id, *pose, camera_id = _IMAGE.unpack_from(buffer, position)
        position += _IMAGE.size
        name, position = _name_at(buffer, position, path)
        _need(buffer, position, _COUNT.size, path)
        (num_keypoints,) = _COUNT.unpack_from(buffer, position)
        position += _COUNT.size
        _need(buffer, position, num_keypoints * _KEYPOINT.itemsize, path)
        keypoints = np.frombuffer(buffer, _KEYPOINT, num_keypoints, position)
        position += num_keypoints * _KEYPOINT.itemsize
        images.append(
            ColmapImage(
                id=image_id,
                name=name,
                camera_id=camera_id,
                qvec=np.array(pose[:4]),
                tvec=np.array(pose[4:]),
                keypoints=keypoints["pixel"].copy(),
                point_ids=keypoints["point_id"].copy(),
            )
        )
    _check_end(buffer, position, path)
    return images


def parse_points(buffer: memoryview, path: Path) -> ColmapPoints:
    """The points of a points3D.bin in file order; nothing about their values is checked yet."""
    count = _checked_count(buffer, path, smallest_bytes=_POINT.itemsize, most=MAX_POINTS)
    if count == 0:
        _check_end(buffer, _COUNT.size, path)
        return ColmapPoints.empty()
    starts = _point_starts(buffer, count, path)
    heads = _records_at(buffer, starts, _POINT)
    track_offsets = np.concatenate([[0], np.cumsum(heads["length"].astype(np.int64))])
    entries = _gather_tracks(buffer, starts, track_offsets)
    errors_px = heads["error_px"].astype(np.float64)
    errors_px[~(errors_px >= 0)] = np.nan
    return ColmapPoints(
        ids=heads["id"].astype(np.int64),
        positions=heads["position"].astype(np.float64),
        colors=heads["color"].copy(),
        errors_px=errors_px,
        track_offsets=track_offsets,
        track_image_ids=entries["image_id"].astype(np.int64),
        track_keypoints=entries["keypoint"].astype(np.int64),
    )


def _point_starts(buffer: memoryview, count: int, path: Path) -> Int[np.ndarray, "n"]:
    # Tracks differ in length, so each record says where the next begins: the one step that is no array operation.
    unpack, length_at, entry_bytes = _COUNT.unpack_from, _POINT.itemsize - _COUNT.size, _TRACK_ENTRY.itemsize
    starts = array("q", bytes(8 * count))
    position = _COUNT.size
    try:
        for i in range(count):
            starts[i] = position
            position += _POINT.itemsize + entry_bytes * unpack(buffer, position + length_at)[0]
    except (struct.error, OverflowError) as error:
        raise InputError(f"ends inside point {i:,} of {count:,}", where=path, remedy=_REMEDY) from error
    _check_end(buffer, position, path)
    return np.frombuffer(starts, np.int64)


def _gather_tracks(
    buffer: memoryview, starts: Int[np.ndarray, "n"], track_offsets: Int[np.ndarray, "n1"]
) -> np.ndarray:
    if track_offsets[-1] == 0:
        return np.zeros(0, _TRACK_ENTRY)
    return _records_at(buffer, _entry_places(starts, track_offsets), _TRACK_ENTRY)


def _records_at(buffer: memoryview, places: Int[np.ndarray, "k"], record: np.dtype[np.void]) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(buffer, np.uint8), record.itemsize)
    return np.asarray(windows[places].view(record)[:, 0])


def _entry_places(starts: Int[np.ndarray, "n"], track_offsets: Int[np.ndarray, "n1"]) -> Int[np.ndarray, "m"]:
    entry_bytes = _TRACK_ENTRY.itemsize
    first_bytes = starts + _POINT.itemsize - entry_bytes * track_offsets[:-1]
    entry_index = np.arange(track_offsets[-1])
    return np.asarray(np.repeat(first_bytes, np.diff(track_offsets)) + entry_bytes * entry_index)


def _checked_count(buffer: memoryview, path: Path, *, smallest_bytes: int, most: int) -> int:
    if len(buffer) < _COUNT.size:
        raise InputError(f"holds {len(buffer)} bytes, not even a count", where=path, remedy=_REMEDY)
    count: int = _COUNT.unpack_from(buffer, 0)[0]
    available = len(buffer) - _COUNT.size
    if count * smallest_bytes > available:
        what = f"claims {count:,} records of at least {smallest_bytes} bytes, but {available:,} bytes follow"
        raise InputError(what, where=path, remedy=_REMEDY)
    if count > most:
        raise LimitExceeded(f"holds {count:,} records; at most {most:,} are read", where=path, remedy="split the model")
    return count


def _need(buffer: memoryview, position: int, size_bytes: int, path: Path) -> None:
    if position + size_bytes > len(buffer):
        what = f"needs {size_bytes:,} bytes at byte {position:,}, but holds {len(buffer):,}"
        raise InputError(what, where=path, remedy=_REMEDY)


def _check_end(buffer: memoryview, position: int, path: Path) -> None:
    if position != len(buffer):
        what = f"its records end at byte {position:,}, but it holds {len(buffer):,} bytes"
        raise InputError(what, where=path, remedy=_REMEDY)


def _name_at(buffer: memoryview, position: int, path: Path) -> tuple[str, int]:
    window = buffer[position : position + MAX_PATH_BYTES + 1].tobytes()
    length = window.find(b"\0")
    if length < 0:
        raise InputError(f"an image's name at byte {position:,} has no end", where=path, remedy=_REMEDY)
    try:
        return window[:length].decode("utf-8"), position + length + 1
    except UnicodeDecodeError as error:
        raise InputError(f"an image's name at byte {position:,} is not UTF-8", where=path, remedy=_REMEDY) from error


def encode_cameras(cameras: dict[int, CameraModel]) -> Iterable[bytes]:
    """The bytes of a cameras.bin, in parts."""
    numbers = {name: number for number, name in enumerate(PARAMETER_COUNTS)}
    yield _COUNT.pack(len(cameras))
    for camera_id, lens in cameras.items():
        yield _CAMERA.pack(camera_id, numbers[lens.name], lens.width, lens.height)
        yield struct.pack(f"<{len(lens.params)}d", *lens.params)


def encode_images(images: tuple[ColmapImage, ...]) -> Iterable[bytes]:
    """The bytes of an images.bin, in parts."""
    yield _COUNT.pack(len(images))
    for image in images:
        yield _IMAGE.pack(image.id, *image.qvec, *image.tvec, image.camera_id)
        yield image.name.encode("utf-8") + b"\0" + _COUNT.pack(len(image.point_ids))
        keypoints = np.zeros(len(image.point_ids), _KEYPOINT)
        keypoints["pixel"], keypoints["point_id"] = image.keypoints, image.point_ids
        yield keypoints.tobytes()


def encode_points(points: ColmapPoints) -> Iterable[bytes]:
    """The bytes of a points3D.bin, in parts."""
    yield _COUNT.pack(len(points))
    heads = np.zeros(len(points), _POINT)
    heads["id"], heads["position"], heads["color"] = points.ids, points.positions, points.colors
    heads["error_px"] = np.where(np.isnan(points.errors_px), -1.0, points.errors_px)
    heads["length"] = np.diff(points.track_offsets)
    entries = np.zeros(len(points.track_image_ids), _TRACK_ENTRY)
    entries["image_id"], entries["keypoint"] = points.track_image_ids, points.track_keypoints
    starts = _POINT.itemsize * np.arange(len(points)) + entries.itemsize * points.track_offsets[:-1]
    buffer = np.zeros(heads.nbytes + entries.nbytes, np.uint8)
    for records, places in ((heads, starts), (entries, _entry_places(starts, points.track_offsets))):
        if len(records):
            windows = np.lib.stride_tricks.sliding_window_view(buffer, records.itemsize, writeable=True)
            windows[places] = records.view(np.uint8).reshape(len(records), records.itemsize)
    yield buffer.tobytes()
