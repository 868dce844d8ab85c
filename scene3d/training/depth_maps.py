"""Owns depth maps that another program made of photographs: finding, reading, resizing, aligning to sparse points."""

import io
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from scene3d.cameras.camera import Camera
from scene3d.errors import InputError, LimitExceeded, Scene3dError
from scene3d.io.opening import check_plain_file, is_plain_file, read_file_bytes
from scene3d.limits import MAX_IMAGE_FILE_BYTES, MAX_IMAGE_PIXELS

MapKind = Literal["inverse", "depth"]

SUFFIXES = (".npy", ".png")

FIT_ROUNDS = 3
"""The last rounds go without the matches that the round before explained worst."""

OUTLIER_RATIO = 3.0
"""Matches whose residual is this many times the median one are such."""

MAX_RESIDUAL_SHARE = 0.5
"""Largest mean residual, as a share of the points' own mean deviation; a map of noise leaves more than 1."""

_KNOWN_SHARE = 0.999
"""A resized pixel is known if this share of what it covers is."""

_REMEDY = "save it as a grey PNG of 8 or 16 bits or as a two-dimensional float32 .npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """How a map's numbers become inverse depth in world units: scale * value + offset."""

    scale: float
    offset: float

    residual_share: float
    """Mean absolute residual over the matches kept, as a share of their inverse depths' mean deviation."""

    @property
    def is_reliable(self) -> bool:
        """Whether the map rises where the points come nearer, and explains most of how they differ."""
        return self.scale > 0 and self.residual_share <= MAX_RESIDUAL_SHARE


def find_depth_map(folder: Path, name: str, *, by_stem: bool = True) -> Path | None:
    """The map of a view: `.npy` or `.png` in place of its suffix.

    Args:
        folder: Where the maps are.
        name: View name with forward slashes.
        by_stem: Whether a map outside of the view's subfolder will do.
    """
    names = [name, PurePosixPath(name).name] if by_stem else [name]
    paths = (folder / PurePosixPath(each).with_suffix(suffix) for each in names for suffix in SUFFIXES)
    return next((path for path in paths if is_plain_file(path)), None)


def read_depth_map(path: Path, kind: MapKind) -> Float32[np.ndarray, "h w"]:
    """A map as inverse depth up to scale and offset; NaN where it is unknown (0, not finite, a negative depth).

    Args:
        path: Grey PNG of 8 or 16 bits, or `.npy` of floating-point numbers.
        kind: What the file holds.

    Raises:
        InputError: Not such a file, cut short or damaged.
        LimitExceeded: More pixels or bytes than an image may have.
    """
    stored = _read_npy(path) if path.suffix.lower() == ".npy" else _read_png(path)
    with np.errstate(all="ignore"):  # what overflows is unknown, like what is not finite to begin with
        values = stored.astype(np.float32)
        known = np.isfinite(values) & (values > 0 if kind == "depth" else values != 0)
        values = np.reciprocal(values) if kind == "depth" else values
    return np.where(known & np.isfinite(values), values, np.float32(np.nan))


def resize_map(values: Float32[np.ndarray, "h w"], width: int, height: int) -> Float[Tensor, "h2 w2"]:
    """The map at another size, antialiased; a pixel that covers unknown ones is unknown (NaN)."""
    source = torch.from_numpy(values)
    known = ~source.isnan()
    both = torch.stack([source.nan_to_num(0.0), known.to(source.dtype)])[None]
    value, share = F.interpolate(both, size=(height, width), mode="bilinear", antialias=True, align_corners=False)[0]
    return torch.where(share > _KNOWN_SHARE, value, torch.nan)


def match_points(
    values: Float32[np.ndarray, "h w"], camera: Camera, positions: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """The map's values and the inverse depths where points project into known pixels.

    Args:
        values: A map of the whole image, of any size; NaN where unknown.
        camera: The camera of the view.
        positions: Points that the view saw, in world units.
    """
    in_cam = positions @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    in_cam = in_cam[in_cam[:, 2] > 0]
    pixels = in_cam[:, :2] / in_cam[:, 2:] @ camera.K[:2, :2].T + camera.K[:2, 2]
    shares = pixels / [camera.width, camera.height]
    inside = ((shares >= 0) & (shares < 1)).all(axis=1)
    height, width = values.shape
    # Array indices count from the first pixel's centre. An unknown neighbour makes the value NaN.
    places = shares[inside] * [width, height] - 0.5
    found = ndimage.map_coordinates(values.astype(np.float64), places.T[::-1], order=1, mode="nearest")
    known = np.isfinite(found)
    return found[known], 1.0 / in_cam[inside, 2][known]


def fit_alignment(values: Float[np.ndarray, "n"], inverse_depths: Float[np.ndarray, "n"]) -> Alignment:
    """Scale and offset from medians and mean absolute deviations, the worst matches dropped in between.

    scale = mean |d - med d| / mean |m - med m| and offset = med d - scale med m (as in BlockGaussian); the scale is
    negative where the map falls as the points come nearer, and 0 where either does not vary.
    """
    keep = np.ones(len(values), bool)
    scale = offset = 0.0
    for _ in range(FIT_ROUNDS):
        scale, offset = _fit(values[keep], inverse_depths[keep])
        residuals = np.abs(scale * values + offset - inverse_depths)
        keep = residuals <= OUTLIER_RATIO * np.median(residuals)
    spread = _mean_deviation(inverse_depths[keep])
    share = float(residuals[keep].mean() / spread) if spread > 0 else float("inf")
    return Alignment(scale=scale, offset=offset, residual_share=share)


def _fit(values: Float[np.ndarray, "n"], inverse_depths: Float[np.ndarray, "n"]) -> tuple[float, float]:
    middle, target = float(np.median(values)), float(np.median(inverse_depths))
    deviation = _mean_deviation(values)
    sign = float(np.sign(np.sum((values - middle) * (inverse_depths - target))))
    scale = sign * _mean_deviation(inverse_depths) / deviation if deviation > 0 else 0.0
    return scale, target - scale * middle


def _mean_deviation(values: Float[np.ndarray, "n"]) -> float:
    return float(np.abs(values - np.median(values)).mean())


def _read_npy(path: Path) -> Shaped[np.ndarray, "h w"]:
    stream = io.BytesIO(read_file_bytes(path, max_bytes=MAX_IMAGE_FILE_BYTES))
    try:
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = readers[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # numpy raises whatever its parser stumbles over; the person needs one kind.
        raise InputError("is not a .npy array", where=path, remedy=_REMEDY) from error
    if len(shape) != 2 or dtype.kind != "f" or dtype.itemsize > 8:
        raise InputError(f"holds {dtype} of shape {shape}, not one depth per pixel", where=path, remedy=_REMEDY)
    _check_pixels(prod(shape), path)
    content = stream.getbuffer()[stream.tell() :]
    if len(content) != prod(shape) * dtype.itemsize:
        what = f"the header declares {shape[0]} x {shape[1]} numbers, the file holds {len(content):,} bytes of them"
        raise InputError(what, where=path, remedy="export it again; it was cut short")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)


def _read_png(path: Path) -> Shaped[np.ndarray, "h w"]:
    check_plain_file(path, max_bytes=MAX_IMAGE_FILE_BYTES)
    try:
        with path.open("rb") as stream, Image.open(stream, formats=("PNG",)) as image:
            _check_pixels(image.width * image.height, path)
            mode, values = image.mode, np.asarray(image)
    except Scene3dError:
        raise
    except Exception as error:  # Decoders raise whatever their parsers stumble over; the person needs one kind.
        raise InputError(f"cannot be decoded: {error}", where=path, remedy=_REMEDY) from error
    # Depth Anything's `--grayscale` writes grey as three equal colours.
    if mode == "RGB" and (values == values[:, :, :1]).all():
        return values[:, :, 0]
    if mode not in ("L", "I") and not mode.startswith("I;16"):
        raise InputError(f"is a picture of mode {mode}, not a depth map", where=path, remedy=_REMEDY)
    return values


def _check_pixels(num_pixels: int, path: Path) -> None:
    if num_pixels > MAX_IMAGE_PIXELS:
        what = f"has {num_pixels:,} pixels; at most {MAX_IMAGE_PIXELS:,} are read"
        raise LimitExceeded(what, where=path, remedy="scale the map down")
    if num_pixels < 1:
        raise InputError("has no pixels", where=path)
