"""Owns the classes of surface that the world is made of, and the palette that draws them."""

from enum import IntEnum

import numpy as np
from jaxtyping import Int, UInt8


class SurfaceClass(IntEnum):
    """What a ray hits, or what is topmost at a place of a layout map."""

    NOTHING = 0
    """Sky: no surface."""

    GRASS = 1
    """Meadow, lawn, forest floor."""

    FIELD = 2
    """Crops in rows, ploughed soil."""

    PATH = 3
    """Dirt tracks, gravel, driveways, paved yards."""

    ROAD = 4
    """Asphalt with its markings, parking places."""

    PAVEMENT = 5
    """Slabs beside the road, with the kerb."""

    WATER = 6
    """River and garden pools."""

    WALL = 7
    """Facades with windows and doors."""

    ROOF = 8
    """Tiles, metal, gravel, and what stands on roofs."""

    TREE = 9
    """Leaves, trunks, hedges."""

    CAR = 10
    """Parked cars."""

    OBJECT = 11
    """Street lamps, fences, sheds."""


PALETTE: dict[SurfaceClass, tuple[int, int, int]] = {
    SurfaceClass.NOTHING: (0, 0, 0),
    SurfaceClass.GRASS: (142, 187, 92),
    SurfaceClass.FIELD: (222, 200, 104),
    SurfaceClass.PATH: (178, 148, 112),
    SurfaceClass.ROAD: (84, 84, 92),
    SurfaceClass.PAVEMENT: (190, 190, 190),
    SurfaceClass.WATER: (64, 120, 190),
    SurfaceClass.WALL: (236, 216, 190),
    SurfaceClass.ROOF: (190, 74, 56),
    SurfaceClass.TREE: (38, 104, 50),
    SurfaceClass.CAR: (232, 64, 190),
    SurfaceClass.OBJECT: (250, 150, 30),
}
"""The colour that stands for each class in layout pictures, sRGB 0..255."""


def paint_classes(class_ids: Int[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A layout picture in the documented palette."""
    table = np.array([PALETTE[one] for one in SurfaceClass], np.uint8)
    return table[class_ids]


def read_palette(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """The class whose palette colour is nearest, for each pixel: the inverse of `paint_classes`."""
    table = np.array([PALETTE[one] for one in SurfaceClass], np.int64)
    difference = picture[:, :, None, :].astype(np.int64) - table  # [h, w, classes, 3]
    return (difference**2).sum(-1).argmin(-1).astype(np.uint8)
