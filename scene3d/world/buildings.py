"""Owns the buildings: houses, terraces, towers and barns, each put together from a few blocks."""

import numpy as np
from jaxtyping import Float, Int

from scene3d.world.noise import hash_cells
from scene3d.world.placement import Dice, Frames, Roof, Shape, build_blocks, find_near, linear_light, place_frames
from scene3d.world.plots import RIVER_CLEARANCE_M, CellInteriors, Plots, PlotUse
from scene3d.world.solids import Blocks, Material
from scene3d.world.streets import District, StreetPlan
from scene3d.world.terrain import Bounds, Terrain

FLOOR_M = {Material.HOUSE: 2.8, Material.TERRACE: 3.2, Material.TOWER: 3.1}
PLINTH_M = 0.45
FOUNDATION_M = 3.0
"""How far walls reach below the ground at the middle, so that none hangs in the air on a slope."""

_FACADES = linear_light(
    "e8dcc4",
    "f1ead9",
    "d9b98c",
    "c98f6b",
    "e3c7a8",
    "b5523f",
    "9c4a3a",
    "d8d4cc",
    "bfb8aa",
    "dfe3e2",
    "e6d27f",
    "a9b7b0",
    "cfa7a0",
    "f4f1ea",
)
_TILES = linear_light("8f4632", "a4533a", "7a3a2c", "b0623f", "5d4a44", "4d4f55", "94553f")
_METALS = linear_light("8d9498", "6d7f74", "7b6a62", "a9aeb0")
_GRAVELS = linear_light("8b8882", "77756f", "9d978c", "5f5f60", "a8a7a3")
_BRICK = linear_light("8a4a3a")


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
    wall = dice.pick("facade", _FACADES)
    eave = PLINTH_M + FLOOR_M[Material.HOUSE] * (1.0 + dice.chance("two floors", 0.55))
    body = build_blocks(
        frames, dice, Shape(half=(half_x, half_y), z=(-FOUNDATION_M, eave)), material=Material.HOUSE, color=wall
    )
    roof_parts = _pitched_roof(frames, dice, (half_x, half_y), eave, wall)
    return [body, *roof_parts, *_wings(frames, dice, half_y, eave, wall)]


def _pitched_roof(
    frames: Frames,
    dice: Dice,
    half: tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]],
    eave: Float[np.ndarray, "n"],
    wall: Float[np.ndarray, "n 3"],
) -> list[Blocks]:
    """A gable or hip roof with eaves, and a chimney."""
    turned = dice.chance("ridge turned", 0.3)
    run = np.where(turned, half[0], half[1])
    slope = dice.between("roof slope", 0.6, 0.95) * np.where(turned, 0.8, 1.0)
    overhang = 0.45
    hip = dice.chance("hip", 0.32)
    tile = dice.pick("tile", _TILES) * dice.between("tile shade", 0.85, 1.15)[:, None]
    low = eave - overhang * slope
    roof = build_blocks(
        frames,
        dice,
        Shape(
            half=(half[0] + overhang, half[1] + overhang),
            z=(low - 0.14, low),
            roof=Roof(rise=slope * (run + overhang), end_inset=np.where(hip, run * 0.95, 0.0)),
            turned=turned,
        ),
        material=Material.TILES,
        color=tile,
        trim=wall,
    )
    # A quarter of the way from the ridge, so that it stands out whichever way the ridge runs.
    side = np.where(dice.chance("chimney side", 0.5), 1.0, -1.0)
    aside, along = 0.28 * run * side, dice.between("chimney along", -0.4, 0.4) * np.where(turned, half[1], half[0])
    chimney = build_blocks(
        frames,
        dice,
        Shape(
            half=(0.42, 0.34),
            z=(eave, eave + slope * run * 0.72 + 1.2),
            offset=(np.where(turned, aside, along), np.where(turned, along, aside)),
        ),
        material=Material.CHIMNEY,
        color=np.broadcast_to(_BRICK, wall.shape),
    )
    return [roof, chimney.select(dice.chance("chimney", 0.75) & ~hip)]


def _wings(
    frames: Frames, dice: Dice, half_y: Float[np.ndarray, "n"], eave: Float[np.ndarray, "n"], wall: np.ndarray
) -> list[Blocks]:
    """A lower wing with a gable at the back of some houses, and a shed behind others."""
    winged = np.flatnonzero(dice.chance("wing", 0.42))
    some, few = frames.select(winged), Dice(dice.keys[winged])
    wing_eave = np.maximum(eave[winged] - 1.3, 2.6)
    aside, back = few.between("wing side", -2.2, 2.2), half_y[winged] + 1.5
    half = (few.between("wing x", 2.0, 2.6), few.between("wing y", 1.9, 2.7))
    body = build_blocks(
        some,
        few,
        Shape(half=half, z=(-FOUNDATION_M, wing_eave), offset=(aside, back)),
        material=Material.HOUSE,
        color=wall[winged],
    )
    roof = build_blocks(
        some,
        few,
        Shape(
            half=(half[0] + 0.35, half[1] + 0.35),
            z=(wing_eave - 0.38, wing_eave - 0.25),
            offset=(aside, back),
            roof=Roof(rise=(half[0] + 0.35) * 0.75),
            turned=True,
        ),
        material=Material.TILES,
        color=few.pick("tile", _TILES) * few.between("tile shade", 0.85, 1.15)[:, None],
        trim=wall[winged],
    )
    shedded = np.flatnonzero(~dice.chance("wing", 0.42) & dice.chance("shed", 0.5))
    yard, tool = frames.select(shedded), Dice(dice.keys[shedded])
    shed = build_blocks(
        yard,
        tool,
        Shape(
            half=(1.7, 1.3),
            z=(-0.6, 2.0),
            offset=(tool.between("shed side", -5.0, 5.0), half_y[shedded] + 7.5),
            roof=Roof(rise=0.7),
        ),
        material=Material.SHED,
        color=tool.pick("shed", _METALS) * [0.8, 0.6, 0.45],
    )
    return [body, roof, shed]


def _terraces(frames: Frames, plots: Plots, index: Int[np.ndarray, "n"]) -> list[Blocks]:
    dice = Dice(plots.key[index])
    half_x, half_y = plots.house_half_x[index], plots.house_half_y[index]
    wall = dice.pick("facade", _FACADES)
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
        color=dice.pick("tile", _TILES),
        trim=wall,
    )
    flat = np.flatnonzero(~pitched)
    flat_frames, flat_dice = frames.select(flat), Dice(dice.keys[flat])
    top = _flat_top(flat_frames, flat_dice, (half_x[flat], half_y[flat]), eave[flat], wall[flat])
    stack = build_blocks(
        frames,
        dice,
        Shape(half=(0.5, 0.9), z=(eave - 0.5, eave + rise * 0.75 + 1.3), offset=(half_x - 0.8, half_y * 0.3)),
        material=Material.CHIMNEY,
        color=np.broadcast_to(_BRICK, wall.shape),
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
    wall = dice.pick("facade", _FACADES[[0, 1, 7, 8, 9, 13]])
    eave = PLINTH_M + FLOOR_M[Material.TOWER] * (7.0 + np.floor(dice.unit("floors") * 5.0)) + 0.3
    body = build_blocks(frames, dice, Shape(half=half, z=(-FOUNDATION_M, eave)), material=Material.TOWER, color=wall)
    return [body, *_flat_top(frames, dice, half, eave, wall)]


def _flat_top(
    frames: Frames,
    dice: Dice,
    half: tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]],
    eave: Float[np.ndarray, "n"],
    wall: Float[np.ndarray, "n 3"],
) -> list[Blocks]:
    """Gravel, a parapet on four sides, a stair hut and air handlers."""
    gravel = dice.pick("gravel", _GRAVELS)
    inner = (half[0] - 0.05, half[1] - 0.05)
    parts = [
        build_blocks(
            frames, dice, Shape(half=inner, z=(eave - 0.2, eave + 0.06)), material=Material.FLAT_ROOF, color=gravel
        )
    ]
    thick, z = 0.18, (eave - 0.1, eave + 0.75)
    for side in (-1.0, 1.0):
        along_x = Shape(half=(half[0], thick), z=z, offset=(0.0, side * (half[1] - thick)))
        along_y = Shape(half=(thick, half[1] - 2.0 * thick), z=z, offset=(side * (half[0] - thick), 0.0))
        for shape in (along_x, along_y):
            parts.append(build_blocks(frames, dice, shape, material=Material.PARAPET, color=wall * 0.85))
    hut_at = (dice.between("hut x", -0.4, 0.4) * half[0], dice.between("hut y", -0.3, 0.3) * half[1])
    parts.append(
        build_blocks(
            frames,
            dice,
            Shape(half=(1.9, 1.5), z=(eave, eave + 2.5), offset=hut_at),
            material=Material.FLAT_ROOF,
            color=wall * 0.9,
        )
    )
    metal = np.broadcast_to(_METALS[3], wall.shape)
    for number in ("one", "two", "three"):
        at = (
            dice.between(f"vent x {number}", -0.75, 0.75) * half[0],
            dice.between(f"vent y {number}", -0.6, 0.6) * half[1],
        )
        size = (dice.between(f"vent size {number}", 0.4, 0.9), 0.55)
        vent = build_blocks(
            frames, dice, Shape(half=size, z=(eave, eave + 1.0), offset=at), material=Material.FLAT_ROOF, color=metal
        )
        parts.append(vent.select(dice.chance(f"vent {number}", 0.6)))
    return parts


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
        color=dice.pick("metal", _METALS),
        trim=wood,
    )
    dry = frames.river_m > RIVER_CLEARANCE_M
    return [body.select(dry), roof.select(dry)]
