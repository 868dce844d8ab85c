"""Owns training sites: wide boxes of voxels, with colours and classes, out of which blocks are cropped."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, UInt8

from scene3d.generation.spec import GeneratorSpec
from scene3d.seeding import make_numpy_generator
from scene3d.world.crop import Crop, Nearest, World
from scene3d.world.photograph import encode, make_layout
from scene3d.world.projection import make_geometry
from scene3d.world.surfaces import find_surface, paint_surface
from scene3d.world.terrain import Bounds

SITE_STRIDES = 2
"""A site is so many strides wider than a block."""

_TOWN_SHARE = 0.9
_WANDER_M = 60.0
_CAP_VOXELS = 1.5
"""What is higher than a block gets a flat top so far below the block's."""

_MARGIN_M = 8.0
_DAYLIGHT = np.array([1.75, 1.68, 1.6])
"""Light on every surface alike, linear: colours are those of the things, without sun and shadow."""

_TSDF_SCALE = 127.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Site:
    """A box of voxels [x, y, z] in the world's axes, one block high, on level ground."""

    tsdf: Int8[np.ndarray, "x y z"]
    """Signed distance over the truncation, times 127."""

    rgb: UInt8[np.ndarray, "x y z 3"]
    """Colour of the nearest surface; 0 where none is near."""

    class_id: Int8[np.ndarray, "x y"]
    """Class of the topmost surface, -1 where it is unknown."""

    known: Bool[np.ndarray, "x y z"] | None = None
    """Where the values are true; None is everywhere."""

    def values(self) -> Float[np.ndarray, "x y z 4"]:
        """Distance over truncation and colour, as the networks see them."""
        return decode_values(self.tsdf, self.rgb)


def decode_values(tsdf: Int8[np.ndarray, "*n"], rgb: UInt8[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 4"]:
    """The numbers that a site's bytes stand for."""
    parts = (tsdf[..., None].astype(np.float32) / np.float32(_TSDF_SCALE), rgb.astype(np.float32) / np.float32(255.0))
    return np.concatenate(parts, axis=-1)


def make_site(
    tsdf: Float[np.ndarray, "x y z"],
    rgb: Float[np.ndarray, "x y z 3"],
    class_id: Int[np.ndarray, "x y"],
    known: Bool[np.ndarray, "x y z"] | None = None,
) -> Site:
    """A site from distances over the truncation and colours 0..1."""
    return Site(
        tsdf=np.rint(np.clip(tsdf, -1.0, 1.0) * _TSDF_SCALE).astype(np.int8),
        rgb=np.rint(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8),
        class_id=class_id.astype(np.int8),
        known=known,
    )


def site_columns(spec: GeneratorSpec) -> int:
    """Columns along each side of a site."""
    return spec.block_voxels + SITE_STRIDES * spec.stride_voxels


def make_world_site(spec: GeneratorSpec, seed: int, number: int) -> Site:
    """One place of the procedural world; most lie in or near a town.

    The ground is levelled by one smooth surface for the whole site, as an extension does with a captured scene: small
    rises and banks stay.
    """
    dice = make_numpy_generator(seed, f"site {number}")
    world = World(int(dice.integers(1 << 31)))
    x, y = dice.uniform(-3000.0, 3000.0, 2).tolist()
    if dice.random() < _TOWN_SHARE:
        town = world.find_town((x, y))
        x, y = town[0] + dice.uniform(-_WANDER_M, _WANDER_M), town[1] + dice.uniform(-_WANDER_M, _WANDER_M)
    return cut_world_site(spec, world, (x, y))


def cut_world_site(
    spec: GeneratorSpec, world: World, low: tuple[float, float], *, columns: tuple[int, int] | None = None
) -> Site:
    """The part of a world that begins at a corner; without a number of columns, as wide as a site."""
    num_x, num_y = columns or (site_columns(spec),) * 2
    size = spec.voxel_m
    bounds = Bounds(x_min=low[0], y_min=low[1], x_max=low[0] + num_x * size, y_max=low[1] + num_y * size)
    crop = world.crop(bounds.grown(_MARGIN_M))
    points, level = _place_voxels(spec, crop, bounds, (num_x, num_y))
    tsdf, near, nearest = _measure(crop, points, spec.truncation_voxels * size)
    rgb = np.zeros((*tsdf.shape, 3))
    rgb[near] = _paint(crop, points, tsdf, near, nearest)
    rgb[np.abs(tsdf) >= 1.0] = 0.0
    top = (spec.height_range[1] * spec.block_voxels - _CAP_VOXELS) * size
    above = (points[..., 2] - level[:, :, None] - top) / (spec.truncation_voxels * size)
    tsdf = np.clip(np.maximum(tsdf, above), -1.0, 1.0)
    layout = make_layout(make_geometry(crop), bounds, size)
    return make_site(tsdf, rgb, layout.class_id[::-1].T.astype(np.int64))


def _place_voxels(
    spec: GeneratorSpec, crop: Crop, bounds: Bounds, columns: tuple[int, int]
) -> tuple[Float[np.ndarray, "x y z 3"], Float[np.ndarray, "x y"]]:
    """World coordinates of the voxels' centres above the levelled ground, and the level of each column."""
    size = spec.voxel_m
    x = bounds.x_min + (np.arange(columns[0]) + 0.5) * size
    y = bounds.y_min + (np.arange(columns[1]) + 0.5) * size
    xy = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    flat = xy.reshape(-1, 2)
    level = fit_level(flat, crop.height(flat), flat).reshape(columns)
    up = (spec.height_range[0] * spec.block_voxels + np.arange(spec.block_voxels) + 0.5) * size
    z = level[:, :, None] + up
    spread = np.broadcast_to(xy[:, :, None, :], (*z.shape, 2))
    return np.concatenate([spread, z[..., None]], axis=-1), level


def _measure(
    crop: Crop, points: Float[np.ndarray, "x y z 3"], truncation_m: float
) -> tuple[Float[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"], Nearest]:
    """Signed distance over the truncation, which voxels may be near a surface, and what those belong to.

    Every second voxel along each axis comes first, the others only near a surface.
    """
    shape = points.shape[:3]
    coarse = crop.distance(points[::2, ::2, ::2].reshape(-1, 3)).reshape([-(-n // 2) for n in shape])
    # Distances change no faster than one walks: what is farther than this stays cut off in the voxels beside it.
    step = np.linalg.norm(points[1, 1, 1] - points[0, 0, 0])
    distance = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)[tuple(slice(n) for n in shape)].copy()
    near = np.abs(distance) < truncation_m + step
    nearest = crop.nearest(points[near])
    distance[near] = nearest.distance
    return np.clip(distance / truncation_m, -1.0, 1.0), near, nearest


def fit_level(
    xy: Float[np.ndarray, "n 2"], height: Float[np.ndarray, "n"], wanted: Float[np.ndarray, "m 2"]
) -> Float[np.ndarray, "m"]:
    """Heights, at the wanted places, of the quadratic surface nearest to some heights."""
    middle, scale = xy.mean(axis=0), max(float(np.ptp(xy, axis=0).max()), 1e-9) / 2.0

    def terms(places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 6"]:
        x, y = (places - middle).T / scale
        return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)

    return terms(wanted) @ np.linalg.lstsq(terms(xy), height, rcond=None)[0]


def _paint(
    crop: Crop,
    points: Float[np.ndarray, "x y z 3"],
    tsdf: Float[np.ndarray, "x y z"],
    near: Bool[np.ndarray, "x y z"],
    nearest: Nearest,
) -> Float[np.ndarray, "n 3"]:
    """Colour of the surface nearest to each voxel that is near one."""
    slopes = np.stack(np.gradient(tsdf), axis=-1)[near]
    slopes /= np.maximum(np.linalg.norm(slopes, axis=-1, keepdims=True), 1e-6)
    on_surface = points[near] - slopes * nearest.distance[:, None]
    reach = _MARGIN_M / 2
    low, high = points[0, 0, 0, :2] - reach, points[-1, -1, 0, :2] + reach
    on_surface[:, :2] = np.clip(on_surface[:, :2], low, high)
    footprint_m = float(points[1, 0, 0, 0] - points[0, 0, 0, 0])
    paint = paint_surface(crop, find_surface(crop, on_surface, footprint_m=footprint_m, nearest=nearest))
    return encode((paint.albedo * _DAYLIGHT)[None])[0]
