"""Owns how the land looks: streets and their markings, pavements, yards, fields, parks, river banks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from scene3d.world.classes import SurfaceClass
from scene3d.world.crop import Crop
from scene3d.world.noise import choose, detail_noise, hash_cells, random_unit, step_coverage, stripe_coverage
from scene3d.world.placement import linear_light
from scene3d.world.streets import PAVEMENT_M, STREET_HALF_M, District, PlanSpots, StreetKind
from scene3d.world.terrain import WATER_LEVEL_M, GroundSamples
from scene3d.world.trees import park_path_offset
from scene3d.world.yards import paint_yards

_GRASS = linear_light("6b7f45", "8c9158", "586c3a", "9a9a60")
_CROPS = linear_light("c9b264", "d6c04a", "64803f", "7a5f45", "b59f6a", "88965f", "728846")
_SOIL = linear_light("8a7355", "6e5a44", "a8977a", "b8aa90")
_ASPHALT = linear_light("6a6a6d", "5c5c60", "78776f")
_SLAB = linear_light("a9a69f", "9a978f", "b8b4aa")
_WHITE = linear_light("dcdcd6")
_CORNER_RADIUS_M = 3.5
_MARK_M = 0.14


@dataclass(slots=True, eq=False)
class GroundPaint:
    """Colour and class of places on the land, painted over layer by layer."""

    albedo: Float[np.ndarray, "n 3"]
    class_id: Int[np.ndarray, "n"]

    def cover(
        self,
        where: Int[np.ndarray, "m"],
        coverage: Float[np.ndarray, "m"],
        color: Float[np.ndarray, "m 3"] | Float[np.ndarray, "3"],
        class_id: SurfaceClass | None = None,
    ) -> None:
        """Lay a colour over some places, each to its share; a place covered by half or more changes its class."""
        self.albedo[where] += coverage[:, None] * (color - self.albedo[where])
        if class_id is not None:
            self.class_id[where[coverage >= 0.5]] = class_id


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
    _paint_streets(paint, crop, spots, ground, xy, footprint)
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


def _paint_streets(
    paint: GroundPaint,
    crop: Crop,
    spots: PlanSpots,
    ground: GroundSamples,
    xy: Float[np.ndarray, "n 2"],
    footprint: Float[np.ndarray, "n"],
) -> None:
    reach = STREET_HALF_M[spots.kinds]
    beside = spots.offsets - reach  # [4, n]
    where = np.flatnonzero((beside - PAVEMENT_M[spots.kinds]).min(axis=0) < np.maximum(footprint, _CORNER_RADIUS_M))
    beside, kinds, offsets = beside[:, where], spots.kinds[:, where], spots.offsets[:, where]
    u, v, part = ground.u[where], ground.v[where], footprint[where]
    _paint_tracks(paint, where, (beside, kinds, offsets), (u, v), part)
    asphalt = np.where(kinds == StreetKind.TRACK, np.inf, beside)
    beside_u, beside_v = asphalt[:2].min(axis=0), asphalt[2:].min(axis=0)
    edge = _round_corner(beside_u, beside_v)
    walk = np.where(kinds >= StreetKind.VILLAGE, beside - PAVEMENT_M[kinds], np.inf).min(axis=0)
    # Slabs only where there is asphalt to walk along; the kerb is their outer hand.
    slabs = _slab_color(u, v, edge, part)
    paint.cover(where, step_coverage(walk, part), slabs, SurfaceClass.PAVEMENT)
    grey = _asphalt_color(xy[where], (u, v), part)
    paint.cover(where, step_coverage(edge, part), grey, SurfaceClass.ROAD)
    runs_along_v = beside_u < beside_v
    nearest = np.where(runs_along_v, np.where(asphalt[0] < asphalt[1], 0, 1), np.where(asphalt[2] < asphalt[3], 2, 3))
    each = np.arange(len(where))
    across, kind = offsets[nearest, each], kinds[nearest, each]
    crossing = np.where(runs_along_v, beside_v, beside_u)
    along = np.where(runs_along_v, v, u)
    marks = _markings(across, along, crossing, kind, part) * (edge < 0)
    worn = 0.75 + 0.25 * detail_noise(u, v, wavelength_m=0.8)
    paint.cover(where, np.clip(marks * worn, 0, 1), _WHITE[0])


def _paint_tracks(
    paint: GroundPaint,
    where: Int[np.ndarray, "m"],
    around: tuple[Float[np.ndarray, "4 m"], Int[np.ndarray, "4 m"], Float[np.ndarray, "4 m"]],
    place: tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]],
    footprint: Float[np.ndarray, "m"],
) -> None:
    """Two wheel ruts with grass between."""
    beside, kinds, offsets = around
    u, v = place
    only = np.where(kinds == StreetKind.TRACK, beside, np.inf)
    nearest = only.argmin(axis=0)
    each = np.arange(len(where))
    edge, across = only[nearest, each], offsets[nearest, each]
    wobble = 0.25 * detail_noise(u, v, wavelength_m=1.7) + 0.1 * detail_noise(u, v, wavelength_m=0.5)
    grain = 1.0 + 0.25 * detail_noise(u, v, wavelength_m=0.21, footprint_m=footprint)
    dirt = _SOIL[0] * grain[:, None]
    bare = 1.0 - 0.8 * step_coverage(across - 0.35 + wobble, footprint + 0.25)
    coverage = np.where(np.isfinite(edge), step_coverage(edge + wobble, footprint + 0.15), 0.0)
    paint.cover(where, coverage * bare, dirt)
    paint.class_id[where[coverage >= 0.5]] = SurfaceClass.PATH


def _round_corner(beside_u: Float[np.ndarray, "m"], beside_v: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Distance to the asphalt's edge, with the inner corner of each crossing rounded off."""
    deep_u = _CORNER_RADIUS_M - np.clip(beside_u, 0.0, _CORNER_RADIUS_M)
    deep_v = _CORNER_RADIUS_M - np.clip(beside_v, 0.0, _CORNER_RADIUS_M)
    rounded = _CORNER_RADIUS_M - np.sqrt(deep_u**2 + deep_v**2)
    nearest = np.minimum(beside_u, beside_v)
    return np.where(nearest < _CORNER_RADIUS_M, np.minimum(nearest, rounded), nearest)


def _asphalt_color(
    xy: Float[np.ndarray, "m 2"],
    place: tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]],
    footprint: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "m 3"]:
    u, v = place
    x, y = xy[:, 0], xy[:, 1]
    shade = 1.0 + 0.1 * detail_noise(x, y, wavelength_m=9.0) + 0.1 * detail_noise(x, y, wavelength_m=1.1)
    shade += 0.16 * detail_noise(x, y, wavelength_m=0.12, footprint_m=footprint)
    shade += 0.1 * detail_noise(x, y, wavelength_m=0.37, footprint_m=footprint)
    patch = random_unit(0, "patch", np.floor(u / 3.1), np.floor(v / 2.7)) < 0.07
    crack = np.abs(detail_noise(x, y, wavelength_m=3.3) + 0.3 * detail_noise(x, y, wavelength_m=0.7))
    crack = 0.35 * step_coverage(crack - 0.012, 0.02 + 0.4 * footprint) * np.clip(1.0 - footprint, 0, 1)
    return _ASPHALT[0] * ((shade - crack) * np.where(patch, 0.72, 1.0))[:, None]


def _slab_color(
    u: Float[np.ndarray, "m"], v: Float[np.ndarray, "m"], edge: Float[np.ndarray, "m"], footprint: np.ndarray
) -> Float[np.ndarray, "m 3"]:
    joint = stripe_coverage(u, period_m=0.6, width_m=0.035, footprint_m=footprint)
    joint = np.maximum(joint, stripe_coverage(v, period_m=0.6, width_m=0.035, footprint_m=footprint))
    each = random_unit(0, "slab", np.floor(u / 0.6), np.floor(v / 0.6)) - 0.5
    shade = 1.0 - 0.4 * joint + 0.22 * each * np.clip(1.3 - footprint, 0, 1)
    shade += 0.1 * detail_noise(u, v, wavelength_m=2.9)
    kerb = step_coverage(edge - 0.2, footprint)
    return _SLAB[0] * (shade + 0.35 * kerb)[:, None]


def _markings(
    across: Float[np.ndarray, "m"],
    along: Float[np.ndarray, "m"],
    crossing: Float[np.ndarray, "m"],
    kind: Int[np.ndarray, "m"],
    footprint: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "m"]:
    """Share of white: centre dashes, edge lines on country roads, zebras and stop lines at city crossings."""
    half = STREET_HALF_M[kind]
    city: Bool[np.ndarray, m] = kind == StreetKind.CITY
    dashes = stripe_coverage(along, period_m=6.0, width_m=3.0, footprint_m=footprint)
    center = step_coverage(across - 0.5 * _MARK_M, footprint) * dashes * (crossing > 5.5)
    side = step_coverage(np.abs(across - half + 0.3) - 0.5 * _MARK_M, footprint)
    side = side * (kind == StreetKind.COUNTRY) * (crossing > 4.0)
    zebra = stripe_coverage(across, period_m=1.0, width_m=0.5, footprint_m=footprint)
    zebra = zebra * step_coverage(np.abs(crossing - 2.6) - 1.3, footprint) * (across < half - 0.4)
    stop = step_coverage(np.abs(crossing - 4.9) - 0.2, footprint) * (across < half - 0.3) * (across > 0.1)
    return np.asarray(np.where(kind == StreetKind.TRACK, 0.0, center + side + city * (zebra + stop)))
