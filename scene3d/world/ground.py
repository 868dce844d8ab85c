"""Owns how the land looks: grass, fields, parks, river banks, and the order in which all is laid over each other."""

import numpy as np
from jaxtyping import Float, Int

from scene3d.world.classes import SurfaceClass
from scene3d.world.crop import Crop
from scene3d.world.ground_paint import GroundPaint
from scene3d.world.noise import choose, detail_noise, hash_cells, random_unit, step_coverage, stripe_coverage
from scene3d.world.placement import linear_light
from scene3d.world.street_paint import paint_streets
from scene3d.world.streets import District, PlanSpots
from scene3d.world.terrain import WATER_LEVEL_M, GroundSamples
from scene3d.world.trees import park_path_offset
from scene3d.world.yards import paint_yards

_GRASS = linear_light("6b7f45", "8c9158", "586c3a", "9a9a60")
_CROPS = linear_light("c9b264", "d6c04a", "64803f", "7a5f45", "b59f6a", "88965f", "728846")
_SOIL = linear_light("8a7355", "6e5a44", "a8977a", "b8aa90")


def paint_land(
    crop: Crop, xy: Float[np.ndarray, "n 2"], ground: GroundSamples, footprint: Float[np.ndarray, "n"]
) -> GroundPaint:
    """Colour and class of places on the land.

    Args:
        crop: Where they lie.
        xy: World coordinates.
        ground: The terrain there.
        footprint: Side of the patch that each place stands for, metres.
    """
    spots = crop.plan.locate(ground.u, ground.v)
    paint = _paint_grass(xy, footprint)
    district = crop.plan.district[spots.i, spots.j]
    _paint_fields(paint, crop, spots, ground, footprint, np.flatnonzero(district == District.FIELD))
    _paint_parks(paint, crop, spots, ground, footprint, np.flatnonzero(district == District.PARK))
    paint_yards(paint, crop, spots, ground, footprint, np.flatnonzero(district >= District.VILLAGE))
    _paint_banks(paint, xy, ground, footprint)
    paint_streets(paint, spots, ground, xy, footprint)
    return paint


def _paint_grass(xy: Float[np.ndarray, "n 2"], footprint: Float[np.ndarray, "n"]) -> GroundPaint:
    x, y = xy[:, 0], xy[:, 1]
    dry = 0.5 + 0.5 * detail_noise(x, y, wavelength_m=23.0)
    color = _GRASS[0] + dry[:, None] * (_GRASS[1] - _GRASS[0])
    shade = 1.0 + 0.13 * detail_noise(x, y, wavelength_m=4.7)
    for wavelength_m, strength in ((1.3, 0.14), (0.42, 0.2), (0.13, 0.3)):
        shade += strength * detail_noise(x + 7.3, y, wavelength_m=wavelength_m, footprint_m=footprint)
    return GroundPaint(color * shade[:, None], np.full(len(xy), int(SurfaceClass.GRASS), np.int64))


def _paint_fields(
    paint: GroundPaint,
    crop: Crop,
    spots: PlanSpots,
    ground: GroundSamples,
    footprint: Float[np.ndarray, "n"],
    where: Int[np.ndarray, "m"],
) -> None:
    """Up to three strips of crops in each field, in rows, with tractor lines."""
    i, j = spots.i[where], spots.j[where]
    key = crop.plan.cell_keys[i, j]
    inside = np.minimum(
        np.minimum(ground.u[where] - crop.cells.u_low[i, j], crop.cells.u_high[i, j] - ground.u[where]),
        np.minimum(ground.v[where] - crop.cells.v_low[i, j], crop.cells.v_high[i, j] - ground.v[where]),
    )
    turned = random_unit(0, "rows turned", key) < 0.5
    along = np.where(turned, ground.v[where], ground.u[where])
    across = np.where(turned, ground.u[where], ground.v[where])
    low = np.where(turned, crop.cells.u_low[i, j], crop.cells.v_low[i, j])
    high = np.where(turned, crop.cells.u_high[i, j], crop.cells.v_high[i, j])
    strips = 1 + choose(key, "strips", 3)
    strip_m = (high - low) / strips
    strip = np.clip(np.floor((across - low) / strip_m), 0, strips - 1)
    strip_key = hash_cells(0, "strip", key, strip.astype(np.int64))
    color = _CROPS[choose(strip_key, "crop", len(_CROPS))]
    tall = np.where(random_unit(0, "row pitch", strip_key) < 0.5, 0.8, 1.6)
    part = footprint[where]
    row = stripe_coverage(across, period_m=tall, width_m=0.45 * tall, footprint_m=part)
    shade = 0.78 + 0.45 * row + 0.16 * detail_noise(along, across, wavelength_m=6.1)
    shade += 0.22 * detail_noise(along * 0.4, across, wavelength_m=0.37, footprint_m=part)
    shade += 0.12 * detail_noise(along, across, wavelength_m=1.7, footprint_m=part)
    wheel = stripe_coverage(across + 3.0, period_m=13.0, width_m=0.5, footprint_m=part)
    wheel += stripe_coverage(across + 1.2, period_m=13.0, width_m=0.5, footprint_m=part)
    color = (color + (0.6 * wheel)[:, None] * (_SOIL[1] - color)) * shade[:, None]
    beside = np.minimum(across - low - strip * strip_m, low + (strip + 1) * strip_m - across)
    edge = np.minimum(inside - 1.2, beside - 0.5) + 0.35 * detail_noise(along, across, wavelength_m=1.9)
    paint.cover(where, step_coverage(-edge, part + 0.2), color, SurfaceClass.FIELD)


def _paint_parks(
    paint: GroundPaint,
    crop: Crop,
    spots: PlanSpots,
    ground: GroundSamples,
    footprint: Float[np.ndarray, "n"],
    where: Int[np.ndarray, "m"],
) -> None:
    """Darker grass, dry leaves, and one winding gravel path."""
    u, v, part = ground.u[where], ground.v[where], footprint[where]
    litter = np.clip(detail_noise(u, v, wavelength_m=5.3) * 1.5, 0, 0.6)
    paint.cover(where, litter.astype(np.float64), _GRASS[2] * 0.85)
    offset = park_path_offset(crop.plan, crop.cells, spots.i[where], spots.j[where], u, v)
    offset = offset - 1.15 + 0.15 * detail_noise(u, v, wavelength_m=0.9)
    grain = 1.0 + 0.2 * detail_noise(u, v, wavelength_m=0.16, footprint_m=part)
    paint.cover(where, step_coverage(offset, part + 0.1), _SOIL[3] * grain[:, None], SurfaceClass.PATH)


def _paint_banks(
    paint: GroundPaint, xy: Float[np.ndarray, "n 2"], ground: GroundSamples, footprint: Float[np.ndarray, "n"]
) -> None:
    where = np.flatnonzero(ground.height < WATER_LEVEL_M + 1.2)
    x, y = xy[where, 0], xy[where, 1]
    ragged = 0.25 * detail_noise(x, y, wavelength_m=2.3) + 0.12 * detail_noise(x, y, wavelength_m=0.6)
    above = ground.height[where] - WATER_LEVEL_M + ragged
    stones = 0.8 + 0.35 * detail_noise(x, y, wavelength_m=0.3, footprint_m=footprint[where])
    paint.cover(where, step_coverage(above - 0.45, 0.3), _SOIL[2] * stones[:, None])
