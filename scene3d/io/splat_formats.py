"""Owns the small exchange formats: `.splat` here, `.spz` beside it."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.errors import InputError, LimitExceeded
from scene3d.events import Quiet, Reporter
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.io.atomic import replace_file
from scene3d.io.gaussian_checks import check_finite, opacity_logits_of_bytes, usable_gaussians
from scene3d.io.opening import map_file
from scene3d.io.spz import read_spz, write_spz
from scene3d.limits import MAX_PLY_VERTICES, MAX_TENSOR_FILE_BYTES

__all__ = ["read_splat", "read_spz", "write_splat", "write_spz"]

_ROW = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("color", "u1", 4), ("rotation", "u1", 4)])
_ROWS_AT_ONCE = 1 << 18
_QUIET = Quiet()


def read_splat(path: Path, *, reporter: Reporter = _QUIET) -> Gaussians:
    """Read a `.splat`: 32 bytes per Gaussian, without view-dependent colour, in the same axes as a PLY.

    The format has no header, so a file cut at a multiple of 32 bytes reads as a smaller scene. Up to 1 % of Gaussians
    that are not finite are left out with a warning to the reporter.

    Raises:
        InputError: Empty, not a multiple of 32 bytes, more bad Gaussians, or a rotation of length zero.
        LimitExceeded: More Gaussians than are accepted, or too little memory.
    """
    buffer = map_file(path, max_bytes=MAX_TENSOR_FILE_BYTES)
    if len(buffer) == 0 or len(buffer) % _ROW.itemsize:
        what = f"holds {len(buffer):,} bytes, which is no whole number of Gaussians of {_ROW.itemsize} bytes"
        raise InputError(what, where=path, remedy="it was cut short or is no .splat file")
    num = len(buffer) // _ROW.itemsize
    if num > MAX_PLY_VERTICES:
        what = f"holds {num:,} Gaussians; at most {MAX_PLY_VERTICES:,} are read"
        raise LimitExceeded(what, where=path, remedy="split the scene")
    try:
        return usable_gaussians(_decode(np.frombuffer(buffer, _ROW)), path, reporter)
    except MemoryError as error:
        raise LimitExceeded("there is not enough memory to read this scene", where=path) from error


def write_splat(path: Path, gaussians: Gaussians) -> None:
    """Write a `.splat`; rotations, colours and opacities are rounded to bytes, view-dependent colour is left out.

    Raises:
        InputError: Gaussians that are not finite, or a path that cannot be written.
        LimitExceeded: The disk is full.
    """
    check_finite(gaussians, path)
    with replace_file(path) as temporary, temporary.open("wb") as stream:
        for start in range(0, len(gaussians), _ROWS_AT_ONCE):
            part = gaussians.detach().select(torch.arange(start, min(start + _ROWS_AT_ONCE, len(gaussians))))
            stream.write(_encode(part).tobytes())


def _decode(rows: np.ndarray) -> Gaussians:
    # A scale of zero has no logarithm; the smallest normal number draws nothing either.
    scales = np.where(rows["scale"] == 0, np.finfo(np.float32).tiny, rows["scale"])
    with np.errstate(invalid="ignore"):  # a negative scale becomes NaN and is counted
        log_scales = np.log(scales).astype(np.float32)
    color = rows["color"].astype(np.float32) / 255
    return Gaussians(
        means=_tensor(rows["position"]),
        quats=_tensor((rows["rotation"].astype(np.float32) - 128) / 128),
        log_scales=_tensor(log_scales),
        opacity_logits=opacity_logits_of_bytes(rows["color"][:, 3]),
        sh=_tensor((color[:, None, :3] - 0.5) / SH_C0),
    )


def _encode(part: Gaussians) -> np.ndarray:
    rows = np.zeros(len(part), _ROW)
    color = torch.cat([0.5 + SH_C0 * part.sh[:, 0], part.opacities[:, None]], dim=1)
    quats = torch.nn.functional.normalize(part.quats, dim=1)
    rows["position"], rows["scale"] = part.means.cpu().numpy(), part.scales.cpu().numpy()
    rows["color"] = (color.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    rows["rotation"] = (quats * 128 + 128).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return rows


def _tensor(values: Float[np.ndarray, "..."]) -> Float[Tensor, "..."]:
    return torch.from_numpy(np.array(values, np.float32))
