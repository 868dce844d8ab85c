"""Owns the trees: where they stand, their trunks, and crowns made of balls of leaves."""

import numpy as np
from jaxtyping import Bool, Float, UInt32

from scene3d.world.noise import hash_cells, random_unit, smooth_noise
from scene3d.world.placement import Dice, Frames, Shape, build_blocks, find_near, linear_light, place_frames
from scene3d.world.plots import CellInteriors, Plots, PlotUse
from scene3d.world.props import make_slots
from scene3d.world.solids import Balls, Blocks, Material
from scene3d.world.streets import District, StreetPlan
from scene3d.world.terrain import Bounds, Terrain

BALLS_PER_TREE = 44
PARK_PITCH_M = 6.5

_LEAVES = linear_light("4d6632", "5a7439", "435a30", "6a7d3e", "7a8444", "4a643c", "84753c")
_NEEDLES = linear_light("2f4a2c", "38523a", "2a4530")
_BARK = linear_light("5a4836")


def _spiral(count: int) -> Float[np.ndarray, "k 2"]:
    """Unit vectors that turn by the golden angle; rounded, so that every machine has the same."""
    angle = np.arange(count) * (np.pi * (3.0 - np.sqrt(5.0)))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).round(4)


def _broadleaf() -> Float[np.ndarray, "k 4"]:
    """(x, y, z, radius) of each ball of an egg-shaped crown, in crown radii and heights."""
    level = (np.arange(BALLS_PER_TREE) + 0.5) / BALLS_PER_TREE
    across = np.sqrt(1.0 - (2.0 * level - 1.0) ** 2)
    shell = 0.74 * across[:, None] * _spiral(BALLS_PER_TREE)
    crown = np.concatenate([shell, (0.14 + 0.74 * level)[:, None], np.full((BALLS_PER_TREE, 1), 0.29)], axis=1)
    # A few large ones fill the inside, so that the sky does not shine through.
    crown[:4] = [(0.0, 0.0, 0.5, 0.68), (0.16, 0.1, 0.3, 0.55), (-0.15, 0.08, 0.68, 0.5), (0.05, -0.2, 0.5, 0.6)]
    return crown.round(4)


def _conifer() -> Float[np.ndarray, "k 4"]:
    """The same for a cone of branches around a stem."""
    level = np.arange(BALLS_PER_TREE) / BALLS_PER_TREE
    level = 1.0 - np.sqrt(1.0 - level * 0.998)
    slim = 1.0 - level
    shell = 0.72 * slim[:, None] * _spiral(BALLS_PER_TREE)
    crown = np.concatenate([shell, level[:, None] * 0.94 + 0.06, (0.26 * slim + 0.13)[:, None]], axis=1)
    crown[0:16:4] = [(0.0, 0.0, 0.16, 0.62), (0.0, 0.0, 0.36, 0.46), (0.0, 0.0, 0.55, 0.34), (0.0, 0.0, 0.72, 0.22)]
    return crown.round(4)


_BROADLEAF, _CONIFER = _broadleaf(), _conifer()


def make_trees(
    plan: StreetPlan, cells: CellInteriors, plots: Plots, terrain: Terrain, bounds: Bounds
) -> tuple[Blocks, Balls]:
    """Trunks and crowns of every tree near a rectangle."""
    places = [_park_trees(plan, cells), _garden_trees(plan, plots), _street_trees(plan)]
    u, v, key, size = (np.concatenate(column) for column in zip(*places, strict=True))
    near = find_near(plan.seed, bounds, u, v, 8.0)
    size, key = size[near], key[near]
    # Trees stand upright whatever the street does, but each is turned its own way.
    heading = np.stack([random_unit(0, "turn x", key), random_unit(0, "turn y", key)], axis=1) * 2.0 - 1.001
    heading /= np.sqrt((heading**2).sum(axis=1, keepdims=True))
    frames = place_frames(plan.seed, terrain, u[near], v[near], heading)
    dry = (frames.ground_z > -0.3) & (frames.river_m > 9.0)
    return _grow(frames.select(dry), Dice(key[dry]), size[dry])


def _grow(frames: Frames, dice: Dice, size: Float[np.ndarray, "n"]) -> tuple[Blocks, Balls]:
    conifer = dice.chance("conifer", 0.16)
    height = size * dice.between("tree height", 0.8, 1.25) * np.where(conifer, 1.25, 1.0)
    radius = height * np.where(conifer, 0.22, 0.34) * dice.between("crown radius", 0.85, 1.15)
    crown_low = height * np.where(conifer, 0.08, 0.2)
    crown_high = height
    bark = np.broadcast_to(_BARK, (len(frames), 3))
    girth = 0.02 * height + 0.05
    trunk = build_blocks(
        frames, dice, Shape(half=(girth, girth), z=(-0.8, 0.62 * height)), material=Material.WOOD, color=bark
    )
    shape = np.where(conifer[:, None, None], _CONIFER, _BROADLEAF)  # [n, balls, 4]
    jitter = random_unit(0, "ball", dice.keys[:, None, None], np.arange(BALLS_PER_TREE)[None, :, None], np.arange(4))
    shape = shape + (jitter - 0.5) * [0.2, 0.2, 0.08, 0.14]
    x, y = shape[:, :, 0] * radius[:, None], shape[:, :, 1] * radius[:, None]
    axis_x, axis_y = frames.axis[:, :1], frames.axis[:, 1:]
    z = frames.ground_z[:, None] + crown_low[:, None] + shape[:, :, 2] * (crown_high - crown_low)[:, None]
    center = np.stack(
        [frames.center[:, :1] + x * axis_x - y * axis_y, frames.center[:, 1:] + x * axis_y + y * axis_x, z], axis=2
    )
    leaf = np.where(conifer[:, None], dice.pick("needles", _NEEDLES), dice.pick("leaves", _LEAVES))
    tint = leaf[:, None, :] * (0.78 + 0.44 * jitter[:, :, :1])
    repeats = np.full(len(frames), BALLS_PER_TREE)
    balls = Balls(
        center=center.reshape(-1, 3),
        radius=(shape[:, :, 3] * radius[:, None]).reshape(-1),
        color=tint.reshape(-1, 3),
        crown_low=np.repeat(frames.ground_z + crown_low - 0.3 * radius, repeats),
        crown_high=np.repeat(frames.ground_z + crown_high, repeats),
    )
    return trunk, balls


Places = tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], UInt32[np.ndarray, "n"], Float[np.ndarray, "n"]]
"""u, v, key, size."""


def _park_trees(plan: StreetPlan, cells: CellInteriors) -> Places:
    """Groves in parks, on a jittered grid thinned by a noise; hedgerow trees around fields."""
    green = (plan.district == District.PARK) | (plan.district == District.FIELD)
    across = np.floor((cells.u_high - cells.u_low) / PARK_PITCH_M).astype(np.int64) * green
    along = np.floor((cells.v_high - cells.v_low) / PARK_PITCH_M).astype(np.int64)
    count = (across * along).reshape(-1)
    cell = np.repeat(np.arange(count.size), count)
    rank = np.arange(len(cell)) - np.repeat(np.cumsum(count) - count, count)
    i, j = np.divmod(cell, plan.district.shape[1])
    row, column = np.divmod(rank, across[i, j])
    key = hash_cells(plan.seed, "park tree", plan.cell_keys[i, j], rank)
    dice = Dice(key)
    u = cells.u_low[i, j] + (column + dice.between("u", 0.15, 0.85)) * PARK_PITCH_M
    v = cells.v_low[i, j] + (row + dice.between("v", 0.15, 0.85)) * PARK_PITCH_M
    grove = smooth_noise(plan.seed, "grove", u / 24.0, v / 24.0)
    border = (row == 0) | (column == 0) | (row == along[i, j] - 1) | (column == across[i, j] - 1)
    in_park = (grove > -0.02) & dice.chance("grows", 0.85) & ~near_park_path(plan, cells, i, j, u, v)
    in_field = border & (grove > 0.25) & dice.chance("grows", 0.7)
    grown = np.where(plan.district[i, j] == District.PARK, in_park, in_field)
    return u[grown], v[grown], key[grown], dice.between("size", 6.0, 11.0)[grown]


def near_park_path(
    plan: StreetPlan,
    cells: CellInteriors,
    i: np.ndarray,
    j: np.ndarray,
    u: Float[np.ndarray, "n"],
    v: Float[np.ndarray, "n"],
) -> Bool[np.ndarray, "n"]:
    """Which places are too near the path through a park for a tree."""
    return park_path_offset(plan, cells, i, j, u, v) < 2.6


def park_path_offset(
    plan: StreetPlan,
    cells: CellInteriors,
    i: np.ndarray,
    j: np.ndarray,
    u: Float[np.ndarray, "n"],
    v: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n"]:
    """Distance across to the middle of the winding path that crosses each park from side to side."""
    along = (u - cells.u_low[i, j]) / (cells.u_high[i, j] - cells.u_low[i, j])
    deep = cells.v_high[i, j] - cells.v_low[i, j]
    key = plan.cell_keys[i, j]
    start, end = random_unit(0, "path start", key), random_unit(0, "path end", key)
    sway = (along * (1.0 - along)) * (random_unit(0, "path sway", key) - 0.5) * 1.6
    middle = cells.v_low[i, j] + deep * (0.25 + 0.5 * (start + (end - start) * along) + sway)
    return np.abs(v - middle)


def _garden_trees(plan: StreetPlan, plots: Plots) -> Places:
    parts = []
    for number in range(4):
        key = hash_cells(plan.seed, "garden tree", plots.key, number)
        dice = Dice(key)
        open_use = (plots.use == PlotUse.GARDEN) & (number < 4)
        behind = plots.setback + 2.0 * plots.house_half_y + 5.5
        start = np.where(open_use, 3.0, behind)
        room = plots.depth - start - 2.0
        share = np.where(plots.district == District.CITY, np.where(open_use, 0.9, 0.45), 0.5)
        grown = np.flatnonzero((room > 1.0) & (dice.unit("grows") < share) & ~plots.has_pool)
        aside = (dice.unit("u") - 0.5) * (plots.width - 4.0)
        deep = start + dice.unit("v") * room
        u, v = plots.u_middle + aside, plots.v_front + plots.toward * deep
        parts.append((u[grown], v[grown], key[grown], dice.between("size", 4.0, 8.5)[grown]))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return joined[0], joined[1], joined[2], joined[3]


def _street_trees(plan: StreetPlan) -> Places:
    slots = make_slots(plan, "tree slot", 10.5, 1.0)
    dice = Dice(slots.key)
    # A third of the stretches is an avenue; the others have a tree now and then.
    share = np.array([0.12, 0.3, 0.16, 0.5])[slots.kind]
    grown = dice.unit("grows") < share
    return slots.u[grown], slots.v[grown], slots.key[grown], dice.between("size", 5.0, 7.5)[grown]
