"""Owns how the ground of plots looks: lawns, drives, pools, beds, courtyards, parking places."""

import numpy as np
from jaxtyping import Float, Int

from scene3d.world.classes import SurfaceClass
from scene3d.world.crop import Crop
from scene3d.world.ground_paint import GroundPaint
from scene3d.world.noise import detail_noise, random_unit, step_coverage, stripe_coverage
from scene3d.world.placement import linear_light
from scene3d.world.plots import PlotUse
from scene3d.world.props import drive_side
from scene3d.world.streets import PlanSpots
from scene3d.world.terrain import GroundSamples

_LAWN = linear_light("708a48", "668043", "7f9156", "878f5c")
_PAVING = linear_light("a39a8c", "b09a84", "8f8c86", "9c7a66")
_SOIL = linear_light("6b5540")
_POOL = linear_light("3f9fb8", "d8d4c8")
_ASPHALT = linear_light("66666a")
_WHITE = linear_light("d6d6d0")


def paint_yards(
    paint: GroundPaint,
    crop: Crop,
    spots: PlanSpots,
    ground: GroundSamples,
    footprint: Float[np.ndarray, "n"],
    where: Int[np.ndarray, "m"],
) -> None:
    """Paint the inside of city and village cells, given by `where`."""
    cells, plots = crop.cells, crop.plots
    i, j, u, v = spots.i[where], spots.j[where], ground.u[where], ground.v[where]
    u_low, u_high, v_low, v_high = (one[i, j] for one in (cells.u_low, cells.u_high, cells.v_low, cells.v_high))
    per_row = cells.plots_per_row[i, j]
    slot = np.clip(np.floor((u - u_low) / (u_high - u_low) * per_row).astype(np.int64), 0, per_row - 1)
    row = (v > 0.5 * (v_low + v_high)).astype(np.int64)
    plot = cells.first_plot[i, j] + row * per_row + slot
    aside = plots.toward[plot] * (u - plots.u_middle[plot])
    deep = plots.toward[plot] * (v - plots.v_front[plot])
    part, use = footprint[where], plots.use[plot]
    _lawns(paint, crop, where, plot, (aside, deep), part)
    for uses, painter in (
        ((PlotUse.HOUSE,), _house_yard),
        ((PlotUse.TERRACE, PlotUse.TOWER), _courtyard),
        ((PlotUse.PARKING,), _parking),
    ):
        some = np.flatnonzero(np.isin(use, uses))
        if len(some):
            painter(paint, crop, where[some], plot[some], (aside[some], deep[some]), part[some])


Place = tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]
"""Across the plot from its middle, and inward from its front, metres."""


def _lawns(
    paint: GroundPaint, crop: Crop, where: np.ndarray, plot: np.ndarray, place: Place, footprint: np.ndarray
) -> None:
    """Mown grass, of another green in each plot, some with stripes."""
    aside, deep = place
    key = crop.plots.key
    color = _LAWN[(random_unit(0, "lawn", key) * len(_LAWN)).astype(np.int64)][plot]
    striped = (random_unit(0, "mown", key) < 0.4)[plot]
    mown = stripe_coverage(aside, period_m=1.8, width_m=0.9, footprint_m=footprint)
    shade = 1.0 + np.where(striped, 0.16 * (mown - 0.5), 0.0)
    shade += 0.14 * detail_noise(aside + 9.0 * plot, deep, wavelength_m=2.7)
    shade += 0.22 * detail_noise(aside + 9.0 * plot, deep, wavelength_m=0.17, footprint_m=footprint)
    shade += 0.14 * detail_noise(aside + 9.0 * plot, deep, wavelength_m=0.6, footprint_m=footprint)
    inside = np.minimum(0.5 * crop.plots.width[plot] - np.abs(aside), deep)
    paint.cover(where, step_coverage(-inside, footprint), color * shade[:, None])


def _house_yard(
    paint: GroundPaint, crop: Crop, where: np.ndarray, plot: np.ndarray, place: Place, footprint: np.ndarray
) -> None:
    aside, deep = place
    plots = crop.plots
    stone = _PAVING[(random_unit(0, "paving", plots.key) * len(_PAVING)).astype(np.int64)][plot]
    stone = stone * _paving_shade(place, footprint)[:, None]
    drive_at = (drive_side(plots) * (0.5 * plots.width - 2.1))[plot]
    front = plots.setback[plot]
    drive = _box(aside - drive_at, deep - 0.5 * front - 1.5, (1.4, 0.5 * front + 2.5), footprint)
    walk = _box(aside - plots.house_shift[plot], deep - 0.5 * front, (0.6, 0.5 * front), footprint)
    behind = front + 2.0 * plots.house_half_y[plot]
    patio_at = plots.house_shift[plot] + (random_unit(0, "patio", plots.key)[plot] - 0.5) * 4.0
    patio = _box(aside - patio_at, deep - behind - 1.4, (2.6, 1.6), footprint)
    paint.cover(where, np.maximum(np.maximum(drive, walk), patio), stone, SurfaceClass.PATH)
    _beds(paint, crop, where, plot, place, footprint)
    swim = np.flatnonzero(plots.has_pool[plot])
    x, y = aside[swim] + plots.house_shift[plot[swim]] * 0.3, deep[swim] - behind[swim] - 8.0
    part = footprint[swim]
    paint.cover(where[swim], _box(x, y, (4.2, 2.6), part), _POOL[1], SurfaceClass.PATH)
    ripple = 1.0 + 0.15 * detail_noise(x, y, wavelength_m=0.5, footprint_m=part)
    paint.cover(where[swim], _box(x, y, (3.5, 1.9), part), _POOL[0] * ripple[:, None], SurfaceClass.WATER)


def _beds(
    paint: GroundPaint, crop: Crop, where: np.ndarray, plot: np.ndarray, place: Place, footprint: np.ndarray
) -> None:
    """Vegetables in rows at the end of some gardens."""
    aside, deep = place
    plots = crop.plots
    planted = (random_unit(0, "beds", plots.key) < 0.4)[plot]
    side = np.where(random_unit(0, "bed side", plots.key) < 0.5, -0.24, 0.24)[plot] * plots.width[plot]
    bed = _box(aside - side, deep - plots.depth[plot] + 4.2, (2.8, 2.4), footprint) * planted
    green = stripe_coverage(deep, period_m=0.7, width_m=0.38, footprint_m=footprint)
    leafy = np.clip(green * (0.9 + 0.7 * detail_noise(aside, deep, wavelength_m=0.4, footprint_m=footprint)), 0, 1)
    paint.cover(where, bed, _SOIL[0] + leafy[:, None] * (_LAWN[1] - _SOIL[0]), SurfaceClass.FIELD)


def _courtyard(
    paint: GroundPaint, crop: Crop, where: np.ndarray, plot: np.ndarray, place: Place, footprint: np.ndarray
) -> None:
    """Paved around the building, and all the way back in half of the plots."""
    aside, deep = place
    plots = crop.plots
    stone = _PAVING[(random_unit(0, "paving", plots.key) * len(_PAVING)).astype(np.int64)][plot]
    stone = stone * _paving_shade(place, footprint)[:, None]
    behind = plots.setback[plot] + 2.0 * plots.house_half_y[plot]
    terrace = (plots.use == PlotUse.TERRACE)[plot]
    reach = np.where(random_unit(0, "courtyard", plots.key)[plot] < 0.45, 99.0, behind + 3.0)
    beside = np.abs(aside) - np.where(terrace, 99.0, plots.house_half_x[plot] + 2.0)
    paint.cover(where, step_coverage(np.maximum(deep - reach, beside), footprint), stone, SurfaceClass.PATH)


def _parking(
    paint: GroundPaint, crop: Crop, where: np.ndarray, plot: np.ndarray, place: Place, footprint: np.ndarray
) -> None:
    aside, deep = place
    x = crop.plots.toward[plot] * aside
    shade = 1.0 + 0.12 * detail_noise(aside, deep, wavelength_m=2.3)
    shade += 0.15 * detail_noise(aside, deep, wavelength_m=0.13, footprint_m=footprint)
    inside = np.minimum(0.5 * crop.plots.width[plot] - 0.3 - np.abs(aside), 19.5 - deep)
    paved = step_coverage(-inside, footprint)
    paint.cover(where, paved, _ASPHALT[0] * shade[:, None], SurfaceClass.ROAD)
    lines = stripe_coverage(x + 0.06, period_m=2.6, width_m=0.12, footprint_m=footprint)
    bays = _box(0.0 * x, deep - 4.2, (1.0, 2.6), footprint) + _box(0.0 * x, deep - 15.7, (1.0, 2.6), footprint)
    within = step_coverage(np.abs(x) - 3.0 * 2.6 - 0.1, footprint)
    paint.cover(where, np.clip(lines * bays * within * paved, 0, 1), _WHITE[0])


def _paving_shade(place: Place, footprint: np.ndarray) -> Float[np.ndarray, "m"]:
    aside, deep = place
    joint = stripe_coverage(aside, period_m=0.4, width_m=0.03, footprint_m=footprint)
    joint = np.maximum(joint, stripe_coverage(deep, period_m=0.4, width_m=0.03, footprint_m=footprint))
    each = random_unit(0, "stone", np.floor(aside / 0.4), np.floor(deep / 0.4)) - 0.5
    shade = 1.0 - 0.4 * joint + 0.25 * each * np.clip(1.0 - footprint, 0, 1)
    return np.asarray(shade + 0.12 * detail_noise(aside, deep, wavelength_m=1.9))


def _box(
    x: Float[np.ndarray, "m"],
    y: Float[np.ndarray, "m"],
    half: tuple[float | Float[np.ndarray, "m"], float | Float[np.ndarray, "m"]],
    footprint: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "m"]:
    """Share of each footprint inside a rectangle about the origin."""
    return step_coverage(np.abs(x) - half[0], footprint) * step_coverage(np.abs(y) - half[1], footprint)
