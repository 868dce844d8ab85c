"""Owns the buildings: houses, terraces, towers and barns, each put together from a few blocks."""

import numpy as np
from jaxtyping import Int

from scene3d.world.building_parts import (
    BRICK,
    FACADES,
    FLOOR_M,
    FOUNDATION_M,
    METALS,
    PLINTH_M,
    TILES,
    make_flat_top,
    make_pitched_roof,
    make_wings,
)
from scene3d.world.noise import hash_cells
from scene3d.world.placement import Dice, Frames, Roof, Shape, build_blocks, find_near, linear_light, place_frames
from scene3d.world.plots import RIVER_CLEARANCE_M, CellInteriors, Plots, PlotUse
from scene3d.world.solids import Blocks, Material
from scene3d.world.streets import District, StreetPlan
from scene3d.world.terrain import Bounds, Terrain


def make_buildings(
    plan: StreetPlan, cells: CellInteriors, plots: Plots, terrain: Terrain, bounds: Bounds
) -> list[Blocks]:
    """The blocks of every building whose middle lies near a rectangle."""
    v_middle = plots.v_front + plots.toward * (plots.setback + plots.house_half_y)
    u_middle = plots.u_middle + plots.toward * plots.house_shift
    built = np.flatnonzero(plots.house_half_x > 0)
    near = built[find_near(plan.seed, bounds, u_middle[built], v_middle[built], 25.0)]
    direction = np.stack([plots.toward[near], np.zeros(len(near))], axis=1)
    frames = place_frames(plan.seed, terrain, u_middle[near], v_middle[near], direction)
    parts: list[Blocks] = []
    for use, make in ((PlotUse.HOUSE, _houses), (PlotUse.TERRACE, _terraces), (PlotUse.TOWER, _towers)):
        chosen = np.flatnonzero(plots.use[near] == use)
        parts += make(frames.select(chosen), plots, near[chosen])
    return parts + _barns(plan, cells, terrain, bounds)


def _houses(frames: Frames, plots: Plots, index: Int[np.ndarray, "n"]) -> list[Blocks]:
    dice = Dice(plots.key[index])
    half_x, half_y = plots.house_half_x[index], plots.house_half_y[index]
    wall = dice.pick("facade", FACADES)
    eave = PLINTH_M + FLOOR_M[Material.HOUSE] * (1.0 + dice.chance("two floors", 0.55))
    body = build_blocks(
        frames, dice, Shape(half=(half_x, half_y), z=(-FOUNDATION_M, eave)), material=Material.HOUSE, color=wall
    )
    roof_parts = make_pitched_roof(frames, dice, (half_x, half_y), eave, wall)
    return [body, *roof_parts, *make_wings(frames, dice, half_y, eave, wall)]


def _terraces(frames: Frames, plots: Plots, index: Int[np.ndarray, "n"]) -> list[Blocks]:
    dice = Dice(plots.key[index])
    half_x, half_y = plots.house_half_x[index], plots.house_half_y[index]
    wall = dice.pick("facade", FACADES)
    floors = 3.0 + np.floor(dice.unit("floors") * 3.2)
    eave = PLINTH_M + 0.6 + FLOOR_M[Material.TERRACE] * floors
    body = build_blocks(
        frames, dice, Shape(half=(half_x, half_y), z=(-FOUNDATION_M, eave)), material=Material.TERRACE, color=wall
    )
    pitched = dice.chance("pitched", 0.55)
    mansard = dice.chance("mansard", 0.3)
    rise = np.where(mansard, 2.8, dice.between("roof slope", 0.5, 0.8) * (half_y + 0.4))
    roof = build_blocks(
        frames,
        dice,
        Shape(
            half=(half_x, half_y + 0.4),
            z=(eave - 0.4, eave - 0.22),
            roof=Roof(rise=rise, side_inset=np.where(mansard, 1.5, np.inf)),
        ),
        material=Material.TILES,
        color=dice.pick("tile", TILES),
        trim=wall,
    )
    flat = np.flatnonzero(~pitched)
    flat_frames, flat_dice = frames.select(flat), Dice(dice.keys[flat])
    top = make_flat_top(flat_frames, flat_dice, (half_x[flat], half_y[flat]), eave[flat], wall[flat])
    stack = build_blocks(
        frames,
        dice,
        Shape(half=(0.5, 0.9), z=(eave - 0.5, eave + rise * 0.75 + 1.3), offset=(half_x - 0.8, half_y * 0.3)),
        material=Material.CHIMNEY,
        color=np.broadcast_to(BRICK, wall.shape),
    )
    back = np.flatnonzero(dice.chance("back wing", 0.4) & (plots.depth[index] > 2.0 * half_y + 9.0))
    few = Dice(dice.keys[back])
    wing = build_blocks(
        frames.select(back),
        few,
        Shape(
            half=(3.4, 3.6),
            z=(-FOUNDATION_M, eave[back] - 2.0 * FLOOR_M[Material.TERRACE]),
            offset=(few.between("wing side", -2.0, 2.0), half_y[back] + 3.4),
        ),
        material=Material.TERRACE,
        color=wall[back] * 0.92,
    )
    return [body, roof.select(pitched), *top, stack.select(pitched), wing]


def _towers(frames: Frames, plots: Plots, index: Int[np.ndarray, "n"]) -> list[Blocks]:
    dice = Dice(plots.key[index])
    half = (plots.house_half_x[index], plots.house_half_y[index])
    wall = dice.pick("facade", FACADES[[0, 1, 7, 8, 9, 13]])
    eave = PLINTH_M + FLOOR_M[Material.TOWER] * (7.0 + np.floor(dice.unit("floors") * 5.0)) + 0.3
    body = build_blocks(frames, dice, Shape(half=half, z=(-FOUNDATION_M, eave)), material=Material.TOWER, color=wall)
    return [body, *make_flat_top(frames, dice, half, eave, wall)]


def _barns(plan: StreetPlan, cells: CellInteriors, terrain: Terrain, bounds: Bounds) -> list[Blocks]:
    """A barn in the corner of some fields."""
    i, j = np.nonzero(plan.district == District.FIELD)
    dice = Dice(hash_cells(plan.seed, "barn", plan.cell_keys[i, j]))
    wide = (cells.u_high - cells.u_low > 44.0) & (cells.v_high - cells.v_low > 34.0)
    with_barn = np.flatnonzero(dice.chance("barn", 0.35) & wide[i, j])
    i, j, dice = i[with_barn], j[with_barn], Dice(dice.keys[with_barn])
    u, v = cells.u_low[i, j] + 20.0, cells.v_low[i, j] + 13.0
    near = find_near(plan.seed, bounds, u, v, 25.0)
    dice = Dice(dice.keys[near])
    frames = place_frames(plan.seed, terrain, u[near], v[near], np.tile([1.0, 0.0], (len(near), 1)))
    half = (dice.between("barn x", 9.0, 13.0), dice.between("barn y", 4.5, 6.5))
    wood = np.broadcast_to(linear_light("7d6650"), (len(near), 3)) * dice.between("barn shade", 0.7, 1.2)[:, None]
    body = build_blocks(frames, dice, Shape(half=half, z=(-FOUNDATION_M, 4.2)), material=Material.SHED, color=wood)
    roof = build_blocks(
        frames,
        dice,
        Shape(half=(half[0] + 0.5, half[1] + 0.5), z=(3.85, 4.0), roof=Roof(rise=(half[1] + 0.5) * 0.5)),
        material=Material.METAL,
        color=dice.pick("metal", METALS),
        trim=wood,
    )
    dry = frames.river_m > RIVER_CLEARANCE_M
    return [body.select(dry), roof.select(dry)]
