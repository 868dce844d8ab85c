"""Owns resampling photographs from the lens they were taken with to the pinhole they are used with."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from scene3d.cameras.models import CameraModel, project, unproject

MAX_KNOT_STEP = 8
FOCAL_PER_KNOT_STEP = 100.0
"""Pixels of focal length per pixel of knot distance: keeps the error of linear interpolation under 0.02 pixels even for
a fisheye, whose distortion bends by 0.65 / focal per square pixel at most."""

STRIP_ROWS = 256
"""Rows resampled at a time; bounds the memory that float copies take."""


@dataclass(frozen=True, slots=True, eq=False)
class Remap:
    """For every pixel of a pinhole image where its centre lies in the photograph, at knots a few pixels apart."""

    width: int
    height: int
    step: int
    knots: Float[Tensor, "kh kw 2"]
    """Photograph pixels (x, y); NaN where the lens does not see."""

    def rows(self, start: int, stop: int) -> Float[Tensor, "r w 2"]:
        """Photograph positions of some rows of the pinhole image."""
        first, last = start // self.step, -(-(stop - 1) // self.step)
        part = self.knots[first : last + 1].permute(2, 0, 1)[None]
        size = ((last - first) * self.step + 1, (self.knots.shape[1] - 1) * self.step + 1)
        dense = F.interpolate(part, size=size, mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
        offset = start - first * self.step
        return dense[offset : offset + stop - start, : self.width]


@lru_cache(maxsize=64)
def make_remap(lens: CameraModel, pinhole: CameraModel) -> Remap:
    """The way from a pinhole image back into the photograph of a lens.

    The mapping is exact at knots and linear between them: 64 times cheaper to make and keep than one entry per pixel,
    which matters because structure from motion often calibrates every photograph on its own.
    """
    step = int(np.clip(min(pinhole.focal) / FOCAL_PER_KNOT_STEP, 1, MAX_KNOT_STEP))
    columns = torch.arange(-(-(pinhole.width - 1) // step) + 1, dtype=torch.float64) * step + 0.5
    rows = torch.arange(-(-(pinhole.height - 1) // step) + 1, dtype=torch.float64) * step + 0.5
    y, x = np.meshgrid(rows.numpy(), columns.numpy(), indexing="ij")
    pixels = project(lens, unproject(pinhole, np.stack([x.ravel(), y.ravel()], axis=1)))
    knots = torch.from_numpy(pixels.reshape(*x.shape, 2)).float()
    return Remap(width=pinhole.width, height=pinhole.height, step=step, knots=knots)


def undistort(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"] | None, remap: Remap
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], Bool[np.ndarray, "h2 w2"] | None]:
    """Bilinear resampling of a photograph and its mask.

    Returns:
        The pinhole image, and where it may be used: the lens saw it, and all pixels it was mixed from are unmasked.
        The mask is None when everything may be used.
    """
    result = np.zeros((remap.height, remap.width, 3), np.uint8)
    usable = np.zeros((remap.height, remap.width), bool)
    for start in range(0, remap.height, STRIP_ROWS):
        stop = min(start + STRIP_ROWS, remap.height)
        result[start:stop], usable[start:stop] = _undistort_rows(image, mask, remap.rows(start, stop))
    return result, None if usable.all() else usable


def _undistort_rows(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"] | None, positions: Float[Tensor, "r w2 2"]
) -> tuple[UInt8[np.ndarray, "r w2 3"], Bool[np.ndarray, "r w2"]]:
    height, width = image.shape[:2]
    size = torch.tensor([width, height], dtype=torch.float32)
    # The border pixels reach half a pixel past their centres; NaN compares false.
    inside = ((positions >= 0) & (positions <= size)).all(dim=-1)
    positions = torch.where(inside[..., None], positions, torch.zeros(()))
    # Only the photograph's rows that this strip looks at become floats.
    low = max(int(positions[..., 1].min()) - 1, 0)
    high = min(int(positions[..., 1].max()) + 2, height)
    planes = torch.from_numpy(image[low:high]).permute(2, 0, 1).float()
    if mask is not None:
        planes = torch.cat([planes, torch.from_numpy(mask[low:high])[None].float()])
    grid = 2 * (positions - torch.tensor([0.0, low])) / torch.tensor([width, high - low]) - 1
    sampled = F.grid_sample(planes[None], grid[None], padding_mode="border", align_corners=False)[0]
    colors = sampled[:3].round().to(torch.uint8).permute(1, 2, 0)
    if mask is not None:
        inside &= sampled[3] > 0.999
    return (colors * inside[..., None]).numpy(), inside.numpy()
