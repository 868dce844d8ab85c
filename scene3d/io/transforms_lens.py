"""Owns how the fields of a transforms.json become a lens: its own numbers first, the file's common ones otherwise."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scene3d.cameras.models import CameraModel
from scene3d.errors import InputError
from scene3d.io.bounded_json import is_number
from scene3d.io.images import read_image_size
from scene3d.limits import MAX_COORDINATE, MAX_IMAGE_SIDE

_REMEDY = "correct the numbers or export the file again"
_PERSPECTIVE = frozenset({"OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"})
_FISHEYE = "OPENCV_FISHEYE"
_COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")


def lens_of(frame: Mapping[str, Any], common: Mapping[str, Any], image_path: Path, where: str) -> CameraModel:
    """The lens of one frame.

    Raises:
        InputError: A number is missing or makes no sense, or the model is not one we can undistort.
    """
    fields = {**common, **frame}
    width, height = _size(fields, image_path, where)
    focal_x = _focal(fields, "fl_x", "camera_angle_x", width, where)
    focal_y = _focal(fields, "fl_y", "camera_angle_y", height, where)
    if focal_x is None:
        focal_x = focal_y
    if focal_x is None:
        raise InputError("has no focal length", where=where, remedy="add fl_x or camera_angle_x")
    if focal_y is None:
        focal_y = focal_x  # square pixels
    center = (_number(fields, "cx", where, width / 2), _number(fields, "cy", where, height / 2))
    name, distortion = _distortion(fields, where)
    try:
        params = (focal_x, focal_y, *center, *distortion)
        return CameraModel(name=name, width=width, height=height, params=params)
    except InputError as error:
        raise InputError(error.what, where=where, remedy=error.remedy or _REMEDY) from error


def _size(fields: Mapping[str, Any], image_path: Path, where: str) -> tuple[int, int]:
    if fields.get("w") is None or fields.get("h") is None:
        return read_image_size(image_path)
    width, height = _number(fields, "w", where, 0.0), _number(fields, "h", where, 0.0)
    for side in (width, height):
        if not (1 <= side <= MAX_IMAGE_SIDE and side == int(side)):
            raise InputError(f"its image is {width:g} x {height:g} pixels", where=where, remedy=_REMEDY)
    return int(width), int(height)


def _focal(fields: Mapping[str, Any], length_key: str, angle_key: str, side: int, where: str) -> float | None:
    if fields.get(length_key) is not None:
        return _number(fields, length_key, where, 0.0)
    if fields.get(angle_key) is None:
        return None
    angle = _number(fields, angle_key, where, 0.0)
    if not 0 < angle < math.pi:
        raise InputError(f"{angle_key} is {angle:g}; it must lie between 0 and pi", where=where, remedy=_REMEDY)
    return side / (2 * math.tan(angle / 2))


def _distortion(fields: Mapping[str, Any], where: str) -> tuple[str, tuple[float, ...]]:
    k1, k2, k3, k4, p1, p2 = (_number(fields, key, where, 0.0) for key in _COEFFICIENTS)
    model = fields.get("camera_model")
    if fields.get("is_fisheye") is True or model == _FISHEYE:
        if p1 or p2:
            raise InputError("a fisheye lens with p1 or p2 is not supported", where=where, remedy="undistort first")
        return _FISHEYE, (k1, k2, k3, k4)
    if model is not None and not (isinstance(model, str) and model in _PERSPECTIVE):
        known = ", ".join([*sorted(_PERSPECTIVE), _FISHEYE])
        what = f"camera model {str(model)[:40]!r} is not supported (known: {known})"
        raise InputError(what, where=where, remedy="undistort the photographs first")
    if k4:
        raise InputError("a perspective lens with k4 is not supported", where=where, remedy="undistort first")
    if k3:
        return "FULL_OPENCV", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)
    return ("OPENCV", (k1, k2, p1, p2)) if (k1 or k2 or p1 or p2) else ("PINHOLE", ())


def _number(fields: Mapping[str, Any], key: str, where: str, default: float) -> float:
    value = fields.get(key)
    if value is None:
        return default
    if not (is_number(value) and abs(value) <= MAX_COORDINATE):
        raise InputError(f"{key} is no number or an absurd one", where=where, remedy=_REMEDY)
    return float(value)
