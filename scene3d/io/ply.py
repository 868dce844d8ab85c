"""Owns PLY files: Gaussian scenes in the order every 3DGS program expects, and coloured point clouds."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from scene3d.errors import InputError, LimitExceeded
from scene3d.events import Quiet, Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.atomic import replace_file
from scene3d.io.gaussian_checks import check_finite, usable_gaussians
from scene3d.io.opening import map_file
from scene3d.io.ply_header import parse_header, vertex_table
from scene3d.limits import MAX_NONFINITE_SHARE, MAX_SH_DEGREE, MAX_TENSOR_FILE_BYTES

_POSITION = ("x", "y", "z")
_NORMAL = ("nx", "ny", "nz")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALE = ("scale_0", "scale_1", "scale_2")
_ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
_COLOR_NAMES = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_MID_GREY = 128
_ROWS_AT_ONCE = 1 << 18
_ROWS_IN_CACHE = 1 << 12
_QUIET = Quiet()


def read_gaussians_ply(path: Path, *, reporter: Reporter = _QUIET) -> Gaussians:
    """Read a 3DGS scene: `f_rest` channel-major, `rot` wxyz, raw (unactivated) scales and opacities.

    Properties may stand in any order and have any numeric type; others (normals) are ignored. Up to 1 % of Gaussians
    that are not finite are left out with a warning to the reporter.

    Raises:
        InputError: Not such a file, cut short, without the properties of a Gaussian scene, with an odd number of
            spherical harmonics, with more bad Gaussians, or with a rotation of length zero.
        LimitExceeded: More Gaussians than are accepted, or too little memory.
    """
    try:
        table = _read_table(path, allow_faces=False)
        degree = _sh_degree(table, path)
        sh = np.zeros((len(table), (degree + 1) ** 2, 3), np.float32)
        sh[:, 0] = _columns(table, _DC, path)
        for channel in range(3):
            rest = (degree + 1) ** 2 - 1
            names = [f"f_rest_{channel * rest + i}" for i in range(rest)]
            sh[:, 1:, channel] = _columns(table, names, path)
        gaussians = Gaussians(
            means=torch.from_numpy(_columns(table, _POSITION, path)),
            quats=torch.from_numpy(_columns(table, _ROTATION, path)),
            log_scales=torch.from_numpy(_columns(table, _SCALE, path)),
            opacity_logits=torch.from_numpy(_columns(table, ("opacity",), path)[:, 0]),
            sh=torch.from_numpy(sh),
        )
        return usable_gaussians(gaussians, path, reporter)
    except MemoryError as error:
        raise LimitExceeded("there is not enough memory to read this scene", where=path) from error


def write_gaussians_ply(path: Path, gaussians: Gaussians, *, comments: Sequence[str] = ()) -> None:
    """Write a 3DGS scene as little-endian float32, with zero normals, in the order of the original 3DGS program.

    Raises:
        InputError: Gaussians that are not finite, or a path that cannot be written.
        LimitExceeded: The disk is full.
    """
    num_gaussians, sh_degree = len(gaussians), gaussians.sh_degree
    write_gaussians_ply_parts(path, (gaussians,), num_gaussians=num_gaussians, sh_degree=sh_degree, comments=comments)


def write_gaussians_ply_parts(
    path: Path, parts: Iterable[Gaussians], *, num_gaussians: int, sh_degree: int, comments: Sequence[str] = ()
) -> None:
    """Write a scene that comes in parts, as `write_gaussians_ply` writes a whole one; only one part is held at a time.

    Args:
        parts: In the order of the file; any may be empty.
        num_gaussians: How many there are in all parts together: the header comes first.
        sh_degree: Of every part.

    Raises:
        InputError: Gaussians that are not finite, a part of another degree, another number of Gaussians than was
            said, or a path that cannot be written. No file is left then.
        LimitExceeded: The disk is full.
    """
    num_rest = (sh_degree + 1) ** 2 - 1
    names = [*_POSITION, *_NORMAL, *_DC, *(f"f_rest_{i}" for i in range(3 * num_rest)), "opacity", *_SCALE, *_ROTATION]
    header = _header(num_gaussians, [("float", name) for name in names], comments)
    num_written = 0
    with replace_file(path) as temporary, temporary.open("wb") as stream:
        stream.write(header)
        for part in parts:
            if part.sh_degree != sh_degree:
                raise InputError(f"a part has degree {part.sh_degree}, the file degree {sh_degree}", where=path)
            check_finite(part, path)
            num_written += len(part)
            for start in range(0, len(part), _ROWS_AT_ONCE):
                rows = part.detach().select(torch.arange(start, min(start + _ROWS_AT_ONCE, len(part))))
                stream.write(_rows(rows).astype("<f4").tobytes())
        if num_written != num_gaussians:
            raise InputError(f"{num_written:,} Gaussians came for a file of {num_gaussians:,}", where=path)


def read_points_ply(
    path: Path, *, reporter: Reporter = _QUIET
) -> tuple[Float[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"]]:
    """Read positions (double) and colours of a point cloud or of a mesh's vertices.

    Points without colours become mid-grey, and up to 1 % of points that are not finite are left out; both with a
    warning to the reporter.

    Raises:
        InputError: Not such a file, cut short, or with more points that are not finite.
        LimitExceeded: More points than are accepted, or too little memory.
    """
    try:
        table = _read_table(path, allow_faces=True)
        positions = _columns(table, _POSITION, path, np.float64)
        colors = _colors(table, path, reporter)
    except MemoryError as error:
        raise LimitExceeded("there is not enough memory to read these points", where=path) from error
    finite: Bool[np.ndarray, n] = np.isfinite(positions).all(axis=1)
    num_bad = int(np.count_nonzero(~finite))
    if num_bad > MAX_NONFINITE_SHARE * len(positions):
        what = f"{num_bad:,} of {len(positions):,} points are not finite"
        raise InputError(what, where=path, remedy="export the points again")
    if num_bad:
        reporter.note(f"{path}: {num_bad:,} of {len(positions):,} points are not finite; left out", level="warning")
        positions, colors = positions[finite], colors[finite]
    return positions, colors


def write_points_ply(
    path: Path, positions: Float[np.ndarray, "n 3"], colors: UInt8[np.ndarray, "n 3"], *, comments: Sequence[str] = ()
) -> None:
    """Write a coloured point cloud, positions in double.

    Raises:
        InputError: The path cannot be written.
        LimitExceeded: The disk is full.
    """
    table = np.zeros(len(positions), [*((name, "<f8") for name in _POSITION), *((n, "u1") for n in _COLOR_NAMES[0])])
    for column, (position, color) in enumerate(zip(_POSITION, _COLOR_NAMES[0], strict=True)):
        table[position], table[color] = positions[:, column], colors[:, column]
    properties = [*(("double", name) for name in _POSITION), *(("uchar", name) for name in _COLOR_NAMES[0])]
    with replace_file(path) as temporary, temporary.open("wb") as stream:
        stream.write(_header(len(table), properties, comments))
        stream.write(table.tobytes())


def read_ply_comments(path: Path) -> tuple[str, ...]:
    """The comment lines of a PLY header.

    Raises:
        InputError: Not a PLY file, or its header is damaged.
    """
    return parse_header(map_file(path, max_bytes=MAX_TENSOR_FILE_BYTES), path).comments


def _read_table(path: Path, *, allow_faces: bool) -> np.ndarray:
    buffer = map_file(path, max_bytes=MAX_TENSOR_FILE_BYTES)
    return vertex_table(buffer, parse_header(buffer, path), path, allow_faces=allow_faces)


def _columns(
    table: np.ndarray, names: Sequence[str], path: Path, kind: type[np.floating] = np.float32
) -> Float[np.ndarray, "n c"]:
    known = table.dtype.names or ()
    missing = [name for name in names if name not in known]
    if missing:
        what = f"has no property {missing[0]!r} (it has {', '.join(known)[:80]})"
        raise InputError(what, where=path, remedy="give an uncompressed 3DGS scene, or a point cloud where one is due")
    columns = np.zeros((len(table), len(names)), kind)
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes infinite and is counted later
        for start in range(0, len(table), _ROWS_IN_CACHE):
            rows = slice(start, start + _ROWS_IN_CACHE)
            for column, name in enumerate(names):
                columns[rows, column] = table[name][rows]
    return columns


def _sh_degree(table: np.ndarray, path: Path) -> int:
    num_rest = sum(name.startswith("f_rest_") for name in table.dtype.names or ())
    for degree in range(MAX_SH_DEGREE + 1):
        if num_rest == 3 * ((degree + 1) ** 2 - 1):
            return degree
    what = f"has {num_rest} f_rest properties, which fits no degree from 0 to {MAX_SH_DEGREE}"
    raise InputError(what, where=path, remedy="export it again with spherical harmonics of a whole degree")


def _rows(part: Gaussians) -> Float[np.ndarray, "n p"]:
    rest = part.sh[:, 1:].transpose(1, 2).reshape(len(part), -1)
    normals = torch.zeros_like(part.means)
    columns: list[Tensor] = [part.means, normals, part.sh[:, 0], rest, part.opacity_logits[:, None], part.log_scales]
    return np.asarray(torch.cat([*columns, part.quats], dim=1).cpu().numpy())


def _header(num_rows: int, properties: Sequence[tuple[str, str]], comments: Sequence[str]) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment {' '.join(comment.split())}".rstrip() for comment in comments]
    lines += [f"element vertex {num_rows}", *(f"property {kind} {name}" for kind, name in properties), "end_header"]
    return ("\n".join(lines) + "\n").encode("ascii", "backslashreplace")


def _colors(table: np.ndarray, path: Path, reporter: Reporter) -> UInt8[np.ndarray, "n 3"]:
    known = table.dtype.names or ()
    names = next((names for names in _COLOR_NAMES if set(names) <= set(known)), None)
    if names is None:
        reporter.note(f"{path}: the points have no colours; all become mid-grey", level="warning")
        return np.full((len(table), 3), _MID_GREY, np.uint8)
    kinds = {table.dtype[name].kind for name in names}
    white = 1.0 if "f" in kinds else float(max(np.iinfo(table.dtype[name]).max for name in names))
    values = _columns(table, names, path, np.float64) * (255 / white)
    if not ((values >= 0) & (values <= 255)).all():  # NaN fails this too
        raise InputError(f"a colour lies outside 0..{white:g}", where=path, remedy="save colours as bytes")
    return np.asarray(np.rint(values), np.uint8)
