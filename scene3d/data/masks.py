"""Owns finding and reading the masks that say which pixels of a photograph to use."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool
from PIL import Image

from scene3d.errors import InputError
from scene3d.io.images import read_mask


def find_mask(name: str, listing: Mapping[str, Path]) -> Path | None:
    """The mask of a photograph among the files of a `masks/` folder.

    COLMAP appends `.png` to the whole name, most other tools replace the suffix; either is taken, in this order.

    Args:
        name: View name with forward slashes.
        listing: Files of the masks folder by relative name.
    """
    stem = name.removesuffix(PurePosixPath(name).suffix)
    return next((listing[each] for each in (f"{name}.png", f"{stem}.png", name) if each in listing), None)


def read_view_mask(path: Path, width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """The mask in the photograph's size; True means use this pixel.

    A mask of another size but the same shape is stretched to the nearest pixel.

    Raises:
        InputError: It cannot be read, or has another shape than the photograph.
    """
    mask = read_mask(path)
    mask_height, mask_width = mask.shape
    if (mask_width, mask_height) == (width, height):
        return mask
    if not is_same_shape((mask_width, mask_height), (width, height)):
        raise InputError(
            f"the mask is {mask_width} x {mask_height} pixels, its photograph {width} x {height}",
            where=path,
            remedy="export the mask again from the photograph as it is used here",
        )
    stretched = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(stretched, bool)


def is_same_shape(first_wh: tuple[int, int], second_wh: tuple[int, int]) -> bool:
    """Whether one size is a uniformly scaled version of the other, up to rounding either side to whole pixels."""
    (w1, h1), (w2, h2) = first_wh, second_wh
    # Each side of the smaller image is off by less than a pixel, which its larger twin magnifies.
    return abs(w1 * h2 - w2 * h1) <= max(w1, h1, w2, h2)
