"""Owns training sites inside of procedural flats."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from scene3d.generation.palette import ROOM_CLASSES
from scene3d.generation.room_solids import Solid
from scene3d.generation.rooms import Flat, make_flat
from scene3d.generation.sites import Site, make_site, site_columns
from scene3d.generation.spec import GeneratorSpec
from scene3d.seeding import make_numpy_generator

ROOM_EDGE_M = 3.2
"""Edge of a block of rooms, metres (BlockFusion)."""

BELOW_FLOOR_M = 0.2
"""So much of a block lies below the floor. BlockFusion has 0.15, which would put the floor on centres of voxels."""

_FLAT_M = (10.0, 14.0)
_THINNEST_VOXELS = 1.2


def room_spec(spec: GeneratorSpec) -> GeneratorSpec:
    """The same voxels at the size of rooms, with their classes."""
    low = -BELOW_FLOOR_M / ROOM_EDGE_M
    return replace(spec, metres_per_block=ROOM_EDGE_M, height_range=(low, low + 1.0), classes=ROOM_CLASSES)


def make_room_site(spec: GeneratorSpec, seed: int, number: int) -> Site:
    """A square out of a flat of its own; `spec` is one of `room_spec`."""
    dice = make_numpy_generator(seed, f"room site {number}")
    side_m = site_columns(spec) * spec.voxel_m
    size = tuple(max(length, side_m) for length in dice.uniform(*_FLAT_M, 2).tolist())
    flat = make_flat(dice, size=(size[0], size[1]))
    low = dice.uniform(0.0, 1.0, 2) * (np.array(flat.size) - side_m)
    return cut_room_site(spec, flat, low)


def cut_room_site(spec: GeneratorSpec, flat: Flat, low: Float[np.ndarray, "2"]) -> Site:
    """The part of a flat that begins at a corner."""
    side, size = site_columns(spec), spec.voxel_m
    x, y = (low[axis] + (np.arange(side) + 0.5) * size for axis in (0, 1))
    z = (spec.height_range[0] * spec.block_voxels + np.arange(spec.block_voxels) + 0.5) * size
    truncation = spec.truncation_voxels * size
    shape = (side, side, spec.block_voxels)
    sdf = np.broadcast_to(z, shape).copy()
    rgb = np.broadcast_to(_paint_floor(flat, x, y)[:, :, None], (*shape, 3)).copy()
    for solid in (one.thickened(_THINNEST_VOXELS * size) for one in flat.solids):
        window = _window((x, y, z), solid, truncation)
        points = np.stack(np.meshgrid(x[window[0]], y[window[1]], z[window[2]], indexing="ij"), axis=-1)
        distance = solid.distance(points)
        nearer = distance < sdf[window]
        sdf[window] = np.where(nearer, distance, sdf[window])
        rgb[window] = np.where(nearer[..., None], solid.color, rgb[window])
    tsdf = np.clip(sdf / truncation, -1.0, 1.0)
    rgb = np.where(np.abs(tsdf)[..., None] < 1.0, rgb, 0.0)
    return make_site(tsdf, rgb, find_classes(flat, x, y, size))


def find_classes(
    flat: Flat, x: Float[np.ndarray, "a"], y: Float[np.ndarray, "b"], voxel_m: float
) -> Int[np.ndarray, "a b"]:
    """Class of the highest thing in each column. A door is a gap in its wall: so a layout asks for one."""
    classes = np.full((len(x), len(y)), ROOM_CLASSES.index("floor"))
    for solid in sorted(flat.solids, key=lambda one: float(one.high[2])):
        grown = solid.thickened(voxel_m)
        inside = _covers(grown.low, grown.high, x, y)
        for low, high in solid.holes:
            if low[2] < 0:
                inside &= ~_covers(low, high, x, y)
        classes[inside] = solid.class_id
    return classes


def _covers(
    low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"], x: Float[np.ndarray, "a"], y: Float[np.ndarray, "b"]
) -> np.ndarray:
    across, along = (x >= low[0]) & (x < high[0]), (y >= low[1]) & (y < high[1])
    return across[:, None] & along


def _paint_floor(flat: Flat, x: Float[np.ndarray, "a"], y: Float[np.ndarray, "b"]) -> Float[np.ndarray, "a b 3"]:
    colors = np.zeros((len(x), len(y), 3))
    for room in flat.rooms:
        colors[_covers(np.array([*room.low, 0.0]), np.array([*room.high, 0.0]), x, y)] = room.floor
    return colors


def _window(
    axes: tuple[Float[np.ndarray, "a"], Float[np.ndarray, "b"], Float[np.ndarray, "c"]], solid: Solid, reach: float
) -> tuple[slice, slice, slice]:
    """The voxels near a solid."""
    first, second, third = (
        slice(int(np.searchsorted(axis, solid.low[k] - reach)), int(np.searchsorted(axis, solid.high[k] + reach)))
        for k, axis in enumerate(axes)
    )
    return first, second, third
