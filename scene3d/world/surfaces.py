"""Owns the painting of any point of the world's surface: which painter, which class, how it shines."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from scene3d.world.classes import SurfaceClass
from scene3d.world.crop import Crop, Nearest, PartKind
from scene3d.world.facades import paint_walls
from scene3d.world.ground import paint_land
from scene3d.world.leaves import paint_leaves
from scene3d.world.noise import detail_noise
from scene3d.world.placement import linear_light
from scene3d.world.roofs import paint_roofs, paint_small
from scene3d.world.solids import FIRST_ROOF_FACE, Material

_WATER = linear_light("2f4a48", "3f5f58")
_WALLS = (Material.HOUSE, Material.TERRACE, Material.TOWER)
_ROOFS = (Material.TILES, Material.METAL, Material.FLAT_ROOF)
_CLASS_OF_MATERIAL = np.array(
    [
        SurfaceClass.WALL,
        SurfaceClass.WALL,
        SurfaceClass.WALL,
        SurfaceClass.ROOF,
        SurfaceClass.ROOF,
        SurfaceClass.ROOF,
        SurfaceClass.ROOF,
        SurfaceClass.TREE,
        SurfaceClass.TREE,
        SurfaceClass.CAR,
        SurfaceClass.CAR,
        SurfaceClass.OBJECT,
        SurfaceClass.OBJECT,
        SurfaceClass.ROOF,
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurfacePoints:
    """Points on a crop's surface, and the part that each belongs to."""

    points: Float[np.ndarray, "n 3"]
    normal: Float[np.ndarray, "n 3"]
    kind: Int[np.ndarray, "n"]
    """A PartKind, never NONE."""

    owner: Int[np.ndarray, "n"]
    """Which block or ball."""

    face: Int[np.ndarray, "n"]
    """Which face of the block."""

    footprint: Float[np.ndarray, "n"]
    """Side of the patch that the point stands for, metres; detail finer than it is averaged."""

    def select(self, index: Int[np.ndarray, "m"]) -> "SurfacePoints":
        """Some of the points."""
        return SurfacePoints(
            points=self.points[index],
            normal=self.normal[index],
            kind=self.kind[index],
            owner=self.owner[index],
            face=self.face[index],
            footprint=self.footprint[index],
        )


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePaint:
    """What a surface looks like before light falls on it."""

    albedo: Float[np.ndarray, "n 3"]
    """Linear light."""

    normal: Float[np.ndarray, "n 3"]
    """For shading: smoothed on land, ruffled on leaves."""

    class_id: UInt8[np.ndarray, "n"]
    gloss: Float[np.ndarray, "n"]
    """Share of the mirrored sky that is added, looked at straight on."""


def find_surface(
    crop: Crop, points: Float[np.ndarray, "n 3"], *, footprint_m: float = 0.1, nearest: Nearest | None = None
) -> SurfacePoints:
    """What each point on, or very near, the surface belongs to.

    Args:
        crop: Where the points lie.
        points: World coordinates.
        footprint_m: Side of the patch that each point stands for.
        nearest: Where it is known already, what each point belongs to.
    """
    nearest = crop.nearest(points) if nearest is None else nearest
    normal, face = crop.terrain.sample(points[:, :2]).normal, np.zeros(len(points), np.int64)
    normal[nearest.kind == PartKind.WATER] = [0.0, 0.0, 1.0]
    block, ball = np.flatnonzero(nearest.kind == PartKind.BLOCK), np.flatnonzero(nearest.kind == PartKind.BALL)
    face[block], normal[block] = crop.blocks.find_faces(nearest.index[block], points[block])
    out = points[ball] - crop.balls.center[nearest.index[ball]]
    normal[ball] = out / np.maximum(np.sqrt((out**2).sum(axis=1, keepdims=True)), 1e-9)
    return SurfacePoints(
        points=points,
        normal=normal,
        kind=nearest.kind,
        owner=nearest.index,
        face=face,
        footprint=np.full(len(points), footprint_m),
    )


def paint_surface(crop: Crop, surface: SurfacePoints) -> SurfacePaint:
    """Colour, class and shine of surface points."""
    count = len(surface.points)
    paint = SurfacePaint(np.zeros((count, 3)), surface.normal.copy(), np.zeros(count, np.uint8), np.zeros(count))
    land = np.flatnonzero(surface.kind == PartKind.LAND)
    if len(land):
        xy = surface.points[land, :2]
        ground = crop.terrain.sample(xy)
        painted = paint_land(crop, xy, ground, surface.footprint[land])
        paint.albedo[land], paint.class_id[land] = painted.albedo, painted.class_id.astype(np.uint8)
        paint.normal[land] = ground.normal
    _paint_water(surface, np.flatnonzero(surface.kind == PartKind.WATER), paint)
    _paint_blocks(crop, surface, np.flatnonzero(surface.kind == PartKind.BLOCK), paint)
    balls = np.flatnonzero(surface.kind == PartKind.BALL)
    owner, z = surface.owner[balls], surface.points[balls, 2]
    low, high = crop.balls.crown_low[owner], crop.balls.crown_high[owner]
    _paint_green(surface, balls, crop.balls.color[owner], (z - low) / (high - low), paint)
    return paint


def _paint_water(surface: SurfacePoints, where: Int[np.ndarray, "m"], paint: SurfacePaint) -> None:
    x, y = surface.points[where, 0], surface.points[where, 1]
    murk = 0.5 + 0.5 * detail_noise(x, y, wavelength_m=6.3)
    ripple = 0.1 * detail_noise(x, y, wavelength_m=0.7, footprint_m=surface.footprint[where])
    paint.albedo[where] = (_WATER[0] + murk[:, None] * (_WATER[1] - _WATER[0])) * (1.0 + ripple)[:, None]
    paint.class_id[where], paint.gloss[where] = SurfaceClass.WATER, 0.25


def _paint_blocks(crop: Crop, surface: SurfacePoints, where: Int[np.ndarray, "m"], paint: SurfacePaint) -> None:
    material = crop.blocks.material[surface.owner[where]]
    # The flat top of a wing is a roof, though its block is a wall.
    flat_top = np.isin(material, _WALLS) & (surface.face[where] >= FIRST_ROOF_FACE)
    material = np.where(flat_top, Material.FLAT_ROOF, material)
    paint.class_id[where] = _CLASS_OF_MATERIAL[material].astype(np.uint8)
    hedge = where[material == Material.HEDGE]
    owner = surface.owner[hedge]
    high = (surface.points[hedge, 2] - crop.blocks.ground_z[owner]) / 1.5
    _paint_green(surface, hedge, crop.blocks.color[owner], high, paint)
    walls, roofs = np.isin(material, _WALLS), np.isin(material, _ROOFS)
    small = ~walls & ~roofs & (material != Material.HEDGE)
    for chosen, painter in ((walls, paint_walls), (roofs, paint_roofs), (small, paint_small)):
        some = where[chosen]
        if len(some):
            paint.albedo[some], paint.gloss[some] = painter(crop.blocks, surface.select(some))


def _paint_green(
    surface: SurfacePoints,
    where: Int[np.ndarray, "m"],
    color: Float[np.ndarray, "m 3"],
    level: Float[np.ndarray, "m"],
    paint: SurfacePaint,
) -> None:
    if len(where):
        some = surface.select(where)
        paint.albedo[where], paint.normal[where] = paint_leaves(some.points, some.normal, color, level, some.footprint)
        paint.class_id[where] = SurfaceClass.TREE
