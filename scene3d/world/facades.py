"""Owns how walls look: plaster and brick, windows with frames and shutters, doors, shop fronts, balcony bands."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt32

from scene3d.world.building_parts import FLOOR_M, PLINTH_M
from scene3d.world.noise import detail_noise, hash_cells, random_unit, step_coverage, stripe_coverage
from scene3d.world.placement import linear_light
from scene3d.world.solids import Blocks, Material

if TYPE_CHECKING:
    from scene3d.world.surfaces import SurfacePoints

_FRAME = linear_light("efece4", "e8e4da", "6b5a48", "4a5248", "f4f4f0")
_SHUTTER = linear_light("4a6a52", "6b3a2e", "3e5470", "7a7264", "8a8f84")
_DOOR = linear_light("5a3a28", "2f4a3a", "7a2a24", "33435a", "8a8478")
_AWNING = linear_light("a83a30", "2f5a44", "36507a", "c9a23a", "d9d2c4")
_GLASS = linear_light("2b343c", "8f8a80")
_PLINTH = linear_light("8c8880")
_PITCH_M = {Material.HOUSE: 2.7, Material.TERRACE: 2.3, Material.TOWER: 3.2}


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Where points lie in the grid of windows of their wall."""

    along: Float[np.ndarray, "n"]
    """From the wall's left end, metres."""

    up: Float[np.ndarray, "n"]
    """Above the lowest floor, metres."""

    floor: Int[np.ndarray, "n"]
    column: Int[np.ndarray, "n"]
    x: Float[np.ndarray, "n"]
    """From the middle of the column, metres."""

    y: Float[np.ndarray, "n"]
    """Above the floor, metres."""

    column_m: Float[np.ndarray, "n"]
    has_window: Bool[np.ndarray, "n"]
    is_door: Bool[np.ndarray, "n"]
    is_shop: Bool[np.ndarray, "n"]
    wall_key: UInt32[np.ndarray, "n"]
    window_key: UInt32[np.ndarray, "n"]


def paint_walls(blocks: Blocks, surface: "SurfacePoints") -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Albedo and gloss of points on buildings' walls."""
    owner, footprint = surface.owner, surface.footprint
    grid = _locate(blocks, surface)
    material = blocks.material[owner]
    color = _plaster(blocks.color[owner], grid, footprint)
    house, tower = material == Material.HOUSE, material == Material.TOWER
    band = step_coverage(np.abs(grid.y - 0.05) - 0.14, footprint) * ~house * (grid.floor > 0)
    color += (band * np.where(tower, 0.5, 0.25))[:, None] * (_FRAME[0] - color)
    color += step_coverage(grid.up, footprint)[:, None] * (_PLINTH[0] - color)
    half_x = np.where(tower, 0.36 * grid.column_m, np.where(house, 0.55, 0.52))
    half_x = np.where(grid.is_shop, 0.5 * grid.column_m - 0.25, np.where(grid.is_door, 0.5, half_x))
    low = np.where(grid.is_shop, 0.35, np.where(grid.is_door, -0.4, np.where(tower, 0.75, 0.9)))
    high = np.where(grid.is_shop, 2.5, np.where(grid.is_door, 2.05, np.where(tower, 2.45, 2.3)))
    _add_shutters(color, grid, (half_x, low, high), footprint, house)
    _add_awnings(color, grid, footprint)
    gloss = _add_openings(color, grid, (half_x, low, high), footprint)
    return color, gloss


def _locate(blocks: Blocks, surface: "SurfacePoints") -> _Grid:
    owner, face = surface.owner, surface.face
    local, half = blocks.to_local(owner, surface.points), blocks.half[owner]
    on_x = (face == 1) | (face == 3)
    length = 2.0 * np.where(on_x, half[:, 1], half[:, 0])
    along = np.where(on_x, local[:, 1], local[:, 0]) + 0.5 * length
    material = blocks.material[owner]
    floor_m, pitch_m = np.ones(len(owner)), np.ones(len(owner))
    for kind, pitch in _PITCH_M.items():
        floor_m[material == kind], pitch_m[material == kind] = FLOOR_M[kind], pitch
    up = surface.points[:, 2] - blocks.ground_z[owner] - PLINTH_M
    room = blocks.z_eave[owner] - blocks.ground_z[owner] - PLINTH_M
    floors = np.floor(room / floor_m + 0.02).astype(np.int64)
    floor = np.floor(up / floor_m).astype(np.int64)
    count = np.maximum(np.floor(length / pitch_m), 1).astype(np.int64)
    column_m = length / count
    column = np.clip(np.floor(along / column_m), 0, count - 1).astype(np.int64)
    wall_key = hash_cells(0, "wall", blocks.key[owner], face)
    window_key = hash_cells(0, "window", wall_key, floor, column)
    ground_floor, front = floor == 0, face == 0
    shop_house = random_unit(0, "shop", blocks.key[owner]) < 0.5
    is_shop = ground_floor & front & (material == Material.TERRACE) & shop_house
    door_column = (random_unit(0, "door", wall_key) * count).astype(np.int64)
    is_door = ground_floor & front & (column == door_column)
    blind = (random_unit(0, "blind", window_key) < 0.1) & ~is_shop
    has_window = (floor >= 0) & (floor < floors) & (length > 1.8) & (~blind | is_door)
    return _Grid(
        along=along,
        up=up,
        floor=floor,
        column=column,
        x=along - (column + 0.5) * column_m,
        y=up - floor * floor_m,
        column_m=column_m,
        has_window=has_window,
        is_door=is_door,
        is_shop=is_shop & ~is_door,
        wall_key=hash_cells(0, "building", blocks.key[owner]),
        window_key=window_key,
    )


def _plaster(
    base: Float[np.ndarray, "n 3"], grid: _Grid, footprint: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3"]:
    shade = 1.0 + 0.07 * detail_noise(grid.along, grid.up, wavelength_m=1.6)
    shade += 0.09 * detail_noise(grid.along * 3.0, grid.up * 0.5, wavelength_m=0.8, footprint_m=footprint)
    shade += 0.07 * detail_noise(grid.along, grid.up, wavelength_m=0.14, footprint_m=footprint)
    # Dark red walls are brick: courses, and joints in them.
    brick = (base[:, 0] > 2.5 * base[:, 1]) & (footprint < 0.2)
    course = np.floor(grid.up / 0.1)
    shift = np.where(course % 2 == 0, 0.0, 0.14)
    joint = stripe_coverage(grid.up, period_m=0.1, width_m=0.02, footprint_m=footprint)
    joint = np.maximum(joint, stripe_coverage(grid.along + shift, period_m=0.28, width_m=0.02, footprint_m=footprint))
    each = random_unit(0, "brick", course, np.floor((grid.along + shift) / 0.28)) - 0.5
    shade = shade + np.where(brick, 0.35 * each * np.clip(1.0 - 4.0 * footprint, 0, 1), 0.0)
    color = base * shade[:, None]
    color += np.where(brick, 0.5 * joint, 0.0)[:, None] * (_PLINTH[0] - color)
    return color


Opening = tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]
"""Half width, lower edge and upper edge, metres."""


def _inside(grid: _Grid, opening: Opening, grown: float, footprint: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Share of each footprint inside the opening grown on all sides."""
    half_x, low, high = opening
    beside = step_coverage(np.abs(grid.x) - half_x - grown, footprint)
    beyond = step_coverage(np.abs(grid.y - 0.5 * (low + high)) - 0.5 * (high - low) - grown, footprint)
    return beside * beyond * grid.has_window


def _add_shutters(
    color: Float[np.ndarray, "n 3"], grid: _Grid, opening: Opening, footprint: np.ndarray, house: np.ndarray
) -> None:
    shuttered = house & (random_unit(0, "shuttered", grid.wall_key) < 0.5) & ~grid.is_door
    half_x, low, high = opening
    wide = _inside(grid, (half_x + 0.5, low, high), 0.0, footprint) * shuttered
    slats = 0.8 + 0.35 * stripe_coverage(grid.y, period_m=0.09, width_m=0.05, footprint_m=footprint)
    tone = _SHUTTER[(random_unit(0, "shutter", grid.wall_key) * len(_SHUTTER)).astype(np.int64)]
    color += wide[:, None] * (tone * slats[:, None] - color)


def _add_awnings(color: Float[np.ndarray, "n 3"], grid: _Grid, footprint: np.ndarray) -> None:
    over = step_coverage(np.abs(grid.y - 2.78) - 0.22, footprint) * grid.is_shop
    tone = _AWNING[(random_unit(0, "awning", grid.wall_key) * len(_AWNING)).astype(np.int64)]
    letters = 0.75 + 0.5 * stripe_coverage(grid.x, period_m=0.42, width_m=0.2, footprint_m=footprint)
    color += over[:, None] * (tone * letters[:, None] - color)


def _add_openings(
    color: Float[np.ndarray, "n 3"], grid: _Grid, opening: Opening, footprint: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """Frame, sill, glass or door; returns the gloss."""
    half_x, low, high = opening
    frame = _FRAME[(random_unit(0, "frame", grid.wall_key) * len(_FRAME)).astype(np.int64)]
    color += _inside(grid, opening, 0.1, footprint)[:, None] * (frame - color)
    sill = _inside(grid, (half_x + 0.12, low - 0.14, low - 0.04), 0.0, footprint) * ~grid.is_door
    color += sill[:, None] * (_PLINTH[0] * 1.3 - color)
    door = _inside(grid, opening, 0.0, footprint) * grid.is_door
    tone = _DOOR[(random_unit(0, "door color", grid.wall_key) * len(_DOOR)).astype(np.int64)]
    color += door[:, None] * (tone - color)
    glass = _inside(grid, opening, -0.03, footprint) * ~grid.is_door
    bars = step_coverage(np.abs(grid.x) - 0.035, footprint)
    bars = np.maximum(bars, step_coverage(np.abs(grid.y - low - 0.66 * (high - low)) - 0.03, footprint))
    glass *= 1.0 - bars
    curtain = np.clip(1.6 * random_unit(0, "curtain", grid.window_key) - 0.8, 0, 0.6)
    # The reveal throws a shadow over the upper part of the pane.
    deep = np.clip((high - grid.y) / 0.4, 0.35, 1.0)
    pane = (_GLASS[0] + curtain[:, None] * (_GLASS[1] - _GLASS[0])) * deep[:, None]
    color += glass[:, None] * (pane - color)
    return 0.35 * glass
