"""Owns how streets look: asphalt and its markings, kerbs and slabs, dirt tracks."""

import numpy as np
from jaxtyping import Bool, Float, Int

from scene3d.world.classes import SurfaceClass
from scene3d.world.ground_paint import GroundPaint
from scene3d.world.noise import detail_noise, random_unit, step_coverage, stripe_coverage
from scene3d.world.placement import linear_light
from scene3d.world.streets import PAVEMENT_M, STREET_HALF_M, PlanSpots, StreetKind
from scene3d.world.terrain import GroundSamples

_DIRT = linear_light("8a7355")
_ASPHALT = linear_light("6a6a6d")
_SLAB = linear_light("a9a69f")
_WHITE = linear_light("dcdcd6")
_CORNER_RADIUS_M = 3.5
_MARK_M = 0.14


def paint_streets(
    paint: GroundPaint,
    spots: PlanSpots,
    ground: GroundSamples,
    xy: Float[np.ndarray, "n 2"],
    footprint: Float[np.ndarray, "n"],
) -> None:
    """Cover the ground with asphalt, kerbs, pavements and markings where streets run."""
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
    dirt = _DIRT[0] * grain[:, None]
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
