"""Owns layouts: maps that say which class of surface is wanted where, as pictures, arrays, or boxes in JSON.

A picture uses the colours of `scene3d.generation.palette`; north is up, and black asks for nothing. A .npy array holds
class ids [x, y], -1 for nothing. A JSON holds `size_m` [x, y], optionally `ground` (a class), and `boxes`, a list of
`{"class": NAME, "box_m": [x low, y low, x high, y high]}`; later boxes cover earlier ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int64

from scene3d.errors import InputError
from scene3d.generation.block_frame import plan_from_world
from scene3d.generation.palette import NOTHING_ASKED, class_colors
from scene3d.generation.spec import CODE_STRIDE
from scene3d.io.bounded_json import is_number, read_json_object
from scene3d.io.images import read_image
from scene3d.io.opening import check_plain_file
from scene3d.limits import IMAGE_SUFFIXES, MAX_IMAGE_PIXELS

UNSPECIFIED = -1
_COLOR_SLACK = 12
"""Largest difference of a colour's channel from the palette, of 255: for editors that change colours a little."""
_JSON_COLUMN_M = 0.25


def read_layout(path: Path, classes: Sequence[str]) -> Int64[np.ndarray, "x y"]:
    """A layout from a picture, a .npy array or a JSON of boxes, at its own resolution.

    Raises:
        InputError: Not such a file, or a class that is not among `classes`.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return _from_picture(path, classes)
    if suffix == ".npy":
        return _from_array(path, classes)
    if suffix == ".json":
        return _from_boxes(path, classes)
    raise InputError("is no layout", where=path, remedy="give a .png in the palette, a .npy of class ids or a .json")


def fit_layout(layout: Int[np.ndarray, "a b"], shape: tuple[int, int]) -> Int64[np.ndarray, "x y"]:
    """A layout stretched to a canvas of columns, nearest value."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for new, old in zip(shape, layout.shape, strict=True)
    )
    return layout[np.ix_(rows, columns)].astype(np.int64)


def paint_layout(layout: Int[np.ndarray, "x y"], classes: Sequence[str]) -> Float32[np.ndarray, "h w 3"]:
    """A layout as a picture that `read_layout` reads, north up, 0 to 1; black where nothing is asked for."""
    table = np.array([*class_colors(classes), NOTHING_ASKED], np.float32)
    ids = np.where(layout == UNSPECIFIED, len(classes), layout)
    return table[ids.T[::-1].astype(np.int64)] / np.float32(255.0)


def layout_shares(layout: Int[np.ndarray, "k k"], num_classes: int) -> Float32[np.ndarray, "n s s"]:
    """Share of each class under each latent pixel of the floor plan, in the block's axes."""
    is_class = plan_from_world(layout)[None] == np.arange(num_classes)[:, None, None]
    side = layout.shape[0] // CODE_STRIDE
    pooled = is_class.reshape(num_classes, side, CODE_STRIDE, side, CODE_STRIDE).mean(axis=(2, 4))
    return pooled.astype(np.float32)


def _from_picture(path: Path, classes: Sequence[str]) -> Int64[np.ndarray, "x y"]:
    picture = read_image(path).image.astype(np.int64)
    colors = class_colors(classes)
    table = np.array([*colors, NOTHING_ASKED], np.int64)
    difference = np.abs(picture[:, :, None, :] - table).max(axis=-1)  # [h, w, classes]
    nearest = difference.argmin(axis=-1)
    unknown = difference.min(axis=-1) > _COLOR_SLACK
    if unknown.any():
        row, column = np.argwhere(unknown)[0]
        color = "#" + "".join(f"{value:02x}" for value in picture[row, column])
        palette = ", ".join(f"{name} #{bytes(one).hex()}" for name, one in zip(classes, colors, strict=True))
        raise InputError(
            f"{unknown.sum():,} pixels have colours of no class, the first {color} at column {column}, row {row}",
            where=path,
            remedy=f"the palette is {palette}",
        )
    asked = np.any(table != NOTHING_ASKED, axis=1)
    ids = np.where(asked, np.arange(len(table)), UNSPECIFIED)
    return ids[nearest][::-1].T.astype(np.int64)


def _from_array(path: Path, classes: Sequence[str]) -> Int64[np.ndarray, "x y"]:
    check_plain_file(path, max_bytes=8 * MAX_IMAGE_PIXELS)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"is no usable .npy file: {error}", where=path) from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.size == 0 or array.dtype.kind not in "iu":
        raise InputError("a layout is a two-dimensional array of whole numbers", where=path)
    layout = array.astype(np.int64)
    if layout.min() < UNSPECIFIED or layout.max() >= len(classes):
        wrong = layout[(layout < UNSPECIFIED) | (layout >= len(classes))].flat[0]
        raise InputError(f"there is no class {wrong}", where=path, remedy=_list_classes(classes))
    return layout


def _from_boxes(path: Path, classes: Sequence[str]) -> Int64[np.ndarray, "x y"]:
    record = read_json_object(path)
    size = _numbers(record.get("size_m"), 2, path, "size_m")
    shape = [round(length / _JSON_COLUMN_M) for length in size]
    if min(shape) < 1 or shape[0] * shape[1] > MAX_IMAGE_PIXELS:
        raise InputError(f"a layout of {size[0]:g} by {size[1]:g} m cannot be drawn", where=path)
    ground = record.get("ground")
    layout = np.full(shape, UNSPECIFIED if ground is None else _find_class(ground, classes, path), np.int64)
    boxes = record.get("boxes", [])
    if not isinstance(boxes, list) or not all(isinstance(box, dict) for box in boxes):
        raise InputError("`boxes` is no list of objects", where=path)
    for box in boxes:
        low_x, low_y, high_x, high_y = (
            round(max(0.0, value) / _JSON_COLUMN_M) for value in _numbers(box.get("box_m"), 4, path, "box_m")
        )
        layout[low_x:high_x, low_y:high_y] = _find_class(box.get("class"), classes, path)
    return layout


def _numbers(value: Any, count: int, path: Path, name: str) -> list[float]:
    if not isinstance(value, list) or len(value) != count or not all(is_number(one) for one in value):
        raise InputError(f"`{name}` is no list of {count} numbers", where=path)
    return [float(one) for one in value]


def _find_class(name: Any, classes: Sequence[str], path: Path) -> int:
    if not isinstance(name, str) or name.lower() not in classes:
        raise InputError(f"there is no class {name!r}", where=path, remedy=_list_classes(classes))
    return list(classes).index(name.lower())


def _list_classes(classes: Sequence[str]) -> str:
    return "the classes are " + ", ".join(f"{index} {name}" for index, name in enumerate(classes))
