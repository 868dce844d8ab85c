"""Owns reading the region of interest that a person draws: corners in the capture's own coordinates."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity
from scene3d.io.bounded_json import is_number, parse_json
from scene3d.io.opening import read_file_bytes
from scene3d.limits import MAX_COORDINATE, MAX_SETTINGS_BYTES

REMEDY = "write a JSON list of [x, y, z] or [x, y], or one corner per line, in the capture's own coordinates"

LEVEL_DEG = 45.0
"""Corners of two numbers need a capture whose z axis is this close to up."""


def read_region_file(path: Path) -> Float[np.ndarray, "k d"]:
    """At least three corners of two or three coordinates each, as written.

    Raises:
        InputError: Missing, no list of corners, or they enclose no area.
        LimitExceeded: Larger than any region.
    """
    content = read_file_bytes(path, max_bytes=MAX_SETTINGS_BYTES)
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"[", b"{")):
        rows = parse_json(content, where=path)
    else:
        rows = _rows_of_text(content, path)
    if not isinstance(rows, list) or len(rows) < 3:
        raise InputError("holds no list of at least three corners", where=path, remedy=REMEDY)
    for number, row in enumerate(rows, 1):
        if not (isinstance(row, list) and len(row) in (2, 3) and all(is_number(value) for value in row)):
            raise InputError(f"corner {number} is no list of two or three numbers", where=path, remedy=REMEDY)
        if len(row) != len(rows[0]):
            raise InputError(f"corner {number} has {len(row)} numbers, the first {len(rows[0])}", where=path)
    corners = np.array(rows, np.float64)
    _check_extent(corners, path)
    return corners


def place_corners(
    corners: Float[np.ndarray, "k d"], world_from_capture: Similarity, middle: Float[np.ndarray, "3"], where: Path
) -> Float[np.ndarray, "k 2"]:
    """World x and y of corners in the capture's own coordinates.

    Corners of two numbers get the height, in the capture, of the middle of the scene: where the capture's z axis is
    up, as in surveyed captures, the height does not matter.

    Args:
        middle: Of the scene, in the world.
        where: The file, for messages.

    Raises:
        InputError: There are two numbers per corner and the capture's z axis is not up.
    """
    if corners.shape[1] == 2:
        if world_from_capture.rotation[2, 2] < np.cos(np.radians(LEVEL_DEG)):
            remedy = "give three numbers per corner"
            raise InputError("two numbers per corner need a capture whose z axis is up", where=where, remedy=remedy)
        height = float(world_from_capture.inverse().apply(middle)[2])
        corners = np.concatenate([corners, np.full((len(corners), 1), height)], axis=1)
    return world_from_capture.apply(corners)[:, :2]


def _rows_of_text(content: bytes, path: Path) -> list[Any]:
    """Numbers separated by spaces or commas, one corner per line; empty lines and those with # are passed over."""
    rows: list[Any] = []
    for number, line in enumerate(content.decode("utf-8-sig", errors="replace").splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        try:
            if words:
                rows.append([float(word) for word in words])
        except ValueError as error:
            what = f"line {number} is no corner: {line[:40]!a}"
            raise InputError(what, where=path, remedy=REMEDY) from error
    return rows


def _check_extent(corners: Float[np.ndarray, "k d"], path: Path) -> None:
    if np.abs(corners).max() > MAX_COORDINATE:
        raise InputError(f"holds coordinates beyond {MAX_COORDINATE:g}", where=path, remedy=REMEDY)
    widths = np.linalg.svd(corners - corners.mean(axis=0), compute_uv=False)
    if widths[1] <= 1e-6 * max(float(widths[0]), 1e-300):
        raise InputError("its corners lie on one line and enclose nothing", where=path, remedy=REMEDY)
