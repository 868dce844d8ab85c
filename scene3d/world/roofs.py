"""Owns how roofs look, and the small things made of one material: chimneys, cars, trunks, sheds, lamps."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from scene3d.world.noise import detail_noise, random_unit, step_coverage, stripe_coverage
from scene3d.world.placement import linear_light
from scene3d.world.solids import BOTTOM_FACE, FIRST_ROOF_FACE, TOP_FACE, Blocks, Material

if TYPE_CHECKING:
    from scene3d.world.surfaces import SurfacePoints

_ROOF_MATERIALS = (Material.TILES, Material.METAL, Material.FLAT_ROOF)
_BITUMEN = linear_light("7d7a74")
_SKYLIGHT = linear_light("39424a")
_SOFFIT = linear_light("8a7660")
_TYRE = linear_light("1c1c1e")
_LAMP = linear_light("e8e6dc", "8a1f18")
_CAR_GLASS = linear_light("20272c")


def paint_roofs(blocks: Blocks, surface: "SurfacePoints") -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Albedo and gloss of points on roofs and on the walls under their gables."""
    owner, footprint = surface.owner, surface.footprint
    down, along = _slope_coordinates(blocks, surface)
    material = blocks.material[owner]
    base = blocks.color[owner]
    tiles, tile_gloss = _tiles(base, (down, along), blocks.key[owner], footprint)
    color = np.where((material == Material.TILES)[:, None], tiles, 0.0)
    ribs = stripe_coverage(along, period_m=0.5, width_m=0.1, footprint_m=footprint)
    rust = detail_noise(along, down, wavelength_m=2.6) * 0.18 + 1.0
    sheet = base * (rust - 0.25 * ribs)[:, None]
    color = np.where((material == Material.METAL)[:, None], sheet, color)
    flat_top = ~np.isin(material, _ROOF_MATERIALS)
    gravel = _gravel(np.where(flat_top[:, None], _BITUMEN[0], base), surface.points, footprint)
    color = np.where((flat_top | (material == Material.FLAT_ROOF))[:, None], gravel, color)
    upright = (np.abs(surface.normal[:, 2]) < 0.05) & (surface.face >= FIRST_ROOF_FACE)
    wall = blocks.trim[owner] * (1.0 + 0.08 * detail_noise(along, down, wavelength_m=0.9))[:, None]
    color = np.where(upright[:, None], wall, color)
    color = np.where((surface.face == BOTTOM_FACE)[:, None], _SOFFIT[0], color)
    edge = (surface.face < FIRST_ROOF_FACE) & (material == Material.TILES)
    color = np.where(edge[:, None], _SOFFIT[0] * 0.8, color)
    sloped = (surface.face >= FIRST_ROOF_FACE) & ~upright & (material == Material.TILES)
    gloss = np.where(sloped, tile_gloss, np.where(material == Material.METAL, 0.12, 0.0))
    return color, gloss


def _slope_coordinates(
    blocks: Blocks, surface: "SurfacePoints"
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Metres up the slope from the eave, and along the eave."""
    owner, face = surface.owner, surface.face
    local, half = blocks.to_local(owner, surface.points), blocks.half[owner]
    ends = (face == FIRST_ROOF_FACE + 2) | (face == FIRST_ROOF_FACE + 3)
    inward = np.where(ends, half[:, 0] - np.abs(local[:, 0]), half[:, 1] - np.abs(local[:, 1]))
    along = np.where(ends, local[:, 1], local[:, 0])
    return inward / np.maximum(np.abs(surface.normal[:, 2]), 0.2), along


def _tiles(
    base: Float[np.ndarray, "n 3"],
    place: tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]],
    key: np.ndarray,
    footprint: Float[np.ndarray, "n"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Rows of tiles with moss, and skylights; the gloss is the skylights'."""
    up, along = place
    row = np.floor(up / 0.34)
    lap = stripe_coverage(up, period_m=0.34, width_m=0.06, footprint_m=footprint)
    groove = stripe_coverage(along, period_m=0.24, width_m=0.05, footprint_m=footprint)
    near = np.clip(1.2 - 2.0 * footprint, 0, 1)
    each = random_unit(0, "tile", key, row, np.floor(along / 0.24)) - 0.5
    block = random_unit(0, "tile block", key, np.floor(up / 1.02), np.floor(along / 0.96)) - 0.5
    shade = 1.0 - 0.42 * lap - 0.2 * groove + 0.32 * each * near + 0.14 * block * np.clip(2 - 2 * footprint, 0, 1)
    moss = detail_noise(along + (key % 97), up, wavelength_m=1.9)
    shade += 0.16 * moss + 0.12 * detail_noise(along, up + (key % 89), wavelength_m=0.55, footprint_m=footprint)
    color = base * shade[:, None]
    color *= 1.0 + np.clip(moss, 0, 1)[:, None] * [-0.22, 0.02, -0.18]
    slot = np.floor(along / 2.6)
    lit = random_unit(0, "skylight", key, slot) < 0.2
    middle = along - (slot + 0.5) * 2.6
    pane = step_coverage(np.abs(middle) - 0.42, footprint) * step_coverage(np.abs(up - 2.3) - 0.6, footprint) * lit
    rim = step_coverage(np.abs(middle) - 0.52, footprint) * step_coverage(np.abs(up - 2.3) - 0.7, footprint) * lit
    color += rim[:, None] * (0.45 * _SOFFIT[0] - color)
    color += pane[:, None] * (_SKYLIGHT[0] - color)
    return color, 0.35 * pane


def _gravel(
    base: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "n 3"], footprint: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    x, y = points[:, 0], points[:, 1]
    shade = 1.0 + 0.14 * detail_noise(x, y, wavelength_m=3.1) + 0.1 * detail_noise(x, y, wavelength_m=0.9)
    shade += 0.2 * detail_noise(x, y, wavelength_m=0.15, footprint_m=footprint)
    seam = stripe_coverage(x, period_m=2.4, width_m=0.08, footprint_m=footprint)
    return base * (shade - 0.25 * seam)[:, None]


def paint_small(blocks: Blocks, surface: "SurfacePoints") -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Albedo and gloss of everything that is one material on all sides."""
    owner, face, footprint = surface.owner, surface.face, surface.footprint
    local = blocks.to_local(owner, surface.points)
    material = blocks.material[owner]
    z = surface.points[:, 2] - blocks.ground_z[owner]
    side = np.where((face == 1) | (face == 3), local[:, 1], local[:, 0])
    shade = 1.0 + 0.1 * detail_noise(side + local[:, 0], z + local[:, 1], wavelength_m=0.4, footprint_m=footprint)
    planks = stripe_coverage(side, period_m=0.2, width_m=0.03, footprint_m=footprint)
    courses = stripe_coverage(z, period_m=0.1, width_m=0.025, footprint_m=footprint)
    bark = detail_noise(side * 4.0, z, wavelength_m=0.3, footprint_m=footprint)
    shade += np.where(material == Material.SHED, -0.4 * planks, 0.0)
    shade += np.where(material == Material.CHIMNEY, 0.4 * courses, 0.0)
    shade += np.where(material == Material.WOOD, 0.35 * bark, 0.0)
    color = blocks.color[owner] * shade[:, None]
    gloss = _paint_cars(color, (material, face, z), local, footprint)
    return color, gloss


def _paint_cars(
    color: Float[np.ndarray, "n 3"],
    what: tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Float[np.ndarray, "n"]],
    local: Float[np.ndarray, "n 2"],
    footprint: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n"]:
    """Wheels on the body's sides, glass around the cabin."""
    material, face, z = what
    body, cabin = material == Material.CAR_BODY, material == Material.CAR_CABIN
    panes = (face >= FIRST_ROOF_FACE) & (face < TOP_FACE)
    from_axle = np.sqrt((np.abs(local[:, 0]) - 1.3) ** 2 + (z - 0.33) ** 2)
    flanks = body & ((face == 0) | (face == 2))
    color += (step_coverage(from_axle - 0.33, footprint) * flanks)[:, None] * (_TYRE[0] - color)
    ends = np.where(body & ((face == 1) | (face == 3)), step_coverage(np.abs(local[:, 1]) - 0.85, footprint), 0.0)
    lamp = ends * step_coverage(0.52 - np.abs(local[:, 1]), footprint) * step_coverage(0.48 - z, footprint)
    color += lamp[:, None] * (np.where((face == 1)[:, None], _LAMP[0], _LAMP[1]) - color)
    pillar = stripe_coverage(local[:, 0] + 0.1, period_m=1.1, width_m=0.12, footprint_m=footprint)
    across = (face == FIRST_ROOF_FACE) | (face == FIRST_ROOF_FACE + 1)
    glass = np.where(cabin & panes, 1.0 - pillar * across, 0.0)
    color += glass[:, None] * (_CAR_GLASS[0] - color)
    return np.where(body | cabin, 0.1 + 0.25 * glass, 0.0)
