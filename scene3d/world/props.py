"""Owns the small things along streets and around plots: parked cars, lamps, hedges, and slots for street trees."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt32

from scene3d.world.noise import hash_cells
from scene3d.world.placement import Dice, Frames, Roof, Shape, build_blocks, find_near, linear_light, place_frames
from scene3d.world.plots import Plots, PlotUse
from scene3d.world.solids import Blocks, Material
from scene3d.world.streets import STREET_HALF_M, District, StreetKind, StreetPlan
from scene3d.world.terrain import Bounds, Terrain

CORNER_CLEARANCE_M = 12.5
"""Nothing stands nearer to the middle of a crossing."""

_PAINTS = linear_light(
    "c9ccd0", "f2f2ef", "23262b", "3a4a63", "8b1f1f", "6e7478", "1f3d2e", "b59a6a", "d4552c", "4f78a8"
)
_METAL = linear_light("55585c")
_HEDGE = linear_light("3d5a24")


@dataclass(frozen=True, slots=True, eq=False)
class StreetSlots:
    """Places beside streets, one row of them on each side."""

    u: Float[np.ndarray, "n"]
    v: Float[np.ndarray, "n"]
    direction: Float[np.ndarray, "n 2"]
    """Along the street, so that the street's middle is to the left."""

    kind: Int[np.ndarray, "n"]
    key: UInt32[np.ndarray, "n"]


def make_slots(plan: StreetPlan, salt: str, pitch_m: float, from_edge_m: float) -> StreetSlots:
    """Places every `pitch_m` along every street, `from_edge_m` outside the carriageway's edge."""
    parts = []
    for axis in (0, 1):
        kind = plan.u_kind if axis == 0 else plan.v_kind.T  # [lines, stretches]
        lines, ends = (plan.u_lines, plan.v_lines) if axis == 0 else (plan.v_lines, plan.u_lines)
        first_line, first_stretch = (plan.first_i, plan.first_j) if axis == 0 else (plan.first_j, plan.first_i)
        line, stretch = (one.reshape(-1) for one in np.indices(kind.shape))
        length = (ends[1:] - ends[:-1])[stretch] - 2.0 * CORNER_CLEARANCE_M
        count = np.maximum(np.floor(length / pitch_m), 0).astype(np.int64)
        edge = np.repeat(np.arange(len(line)), 2 * count)
        rank = np.arange(len(edge)) - np.repeat(np.cumsum(2 * count) - 2 * count, 2 * count)
        number, side = rank // 2, rank % 2 * 2.0 - 1.0
        line, stretch, edge_kind = line[edge], stretch[edge], kind.reshape(-1)[edge]
        along = ends[stretch] + CORNER_CLEARANCE_M + (number + 0.5) * (length / np.maximum(count, 1))[edge]
        across = lines[line] + side * (STREET_HALF_M[edge_kind] + from_edge_m)
        key = hash_cells(plan.seed, salt, axis, first_line + line, first_stretch + stretch, rank)
        # Along +v the middle of the street is to the left of its high-u side, along +u of its low-v side.
        heading = side if axis == 0 else -side
        direction = np.stack([np.zeros(len(edge)), heading] if axis == 0 else [heading, np.zeros(len(edge))], axis=1)
        u, v = (across, along) if axis == 0 else (along, across)
        parts.append((u, v, direction, edge_kind, key))
    return StreetSlots(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def make_props(plan: StreetPlan, plots: Plots, terrain: Terrain, bounds: Bounds) -> list[Blocks]:
    """Cars, lamps and hedges near a rectangle."""
    return [
        *_street_cars(plan, terrain, bounds),
        *_parked_cars(plan, plots, terrain, bounds),
        *_lamps(plan, terrain, bounds),
        *_hedges(plan, plots, terrain, bounds),
    ]


def _street_cars(plan: StreetPlan, terrain: Terrain, bounds: Bounds) -> list[Blocks]:
    slots = make_slots(plan, "car slot", 6.6, -1.15)
    share = np.array([0.0, 0.0, 0.1, 0.42])[slots.kind]
    taken = np.flatnonzero(Dice(slots.key).unit("taken") < share)
    near = taken[find_near(plan.seed, bounds, slots.u[taken], slots.v[taken], 5.0)]
    frames = place_frames(plan.seed, terrain, slots.u[near], slots.v[near], slots.direction[near])
    return _cars(frames, Dice(slots.key[near]))


def _parked_cars(plan: StreetPlan, plots: Plots, terrain: Terrain, bounds: Bounds) -> list[Blocks]:
    """Cars in the bays of parking places and in front of houses."""
    u, v, keys = [], [], []
    for row, bay in ((row, bay) for row in range(2) for bay in range(6)):
        where = np.flatnonzero((plots.use == PlotUse.PARKING) & (plots.width > 2.0 * abs(bay - 2.5) * 2.6 + 4.0))
        u.append(plots.u_middle[where] + (bay - 2.5) * 2.6)
        v.append(plots.v_front[where] + plots.toward[where] * (4.2 + row * 11.5))
        keys.append(hash_cells(plan.seed, "bay", plots.key[where], row * 8 + bay))
    homes = np.flatnonzero(plots.use == PlotUse.HOUSE)
    side = drive_side(plots)[homes] * (0.5 * plots.width[homes] - 2.1)
    u.append(plots.u_middle[homes] + plots.toward[homes] * side)
    v.append(plots.v_front[homes] + plots.toward[homes] * 3.2)
    keys.append(hash_cells(plan.seed, "home car", plots.key[homes]))
    all_u, all_v, key = np.concatenate(u), np.concatenate(v), np.concatenate(keys)
    taken = np.flatnonzero(Dice(key).chance("taken", 0.55))
    near = taken[find_near(plan.seed, bounds, all_u[taken], all_v[taken], 5.0)]
    heading = np.where(Dice(key[near]).chance("reversed", 0.4), -1.0, 1.0)
    direction = np.stack([np.zeros(len(near)), heading], axis=1)
    frames = place_frames(plan.seed, terrain, all_u[near], all_v[near], direction)
    return _cars(frames, Dice(key[near]))


def drive_side(plots: Plots) -> Float[np.ndarray, "n"]:
    """On which side of the frame the driveway lies: away from the house's shift."""
    return np.where(plots.house_shift > 0, -1.0, 1.0)


def _cars(frames: Frames, dice: Dice) -> list[Blocks]:
    paint = dice.pick("paint", _PAINTS)
    length = dice.between("car length", 1.95, 2.3)
    body = build_blocks(
        frames,
        dice,
        Shape(half=(length, 0.88), z=(0.24, 0.66), roof=Roof(rise=0.2, end_inset=0.12, side_inset=0.07)),
        material=Material.CAR_BODY,
        color=paint,
    )
    tall = dice.between("car height", 0.5, 0.72)
    cabin = build_blocks(
        frames,
        dice,
        Shape(
            half=(length * 0.66, 0.8),
            z=(0.8, 0.86),
            offset=(-0.22, 0.0),
            roof=Roof(rise=tall, end_inset=dice.between("windscreen", 0.4, 0.7), side_inset=0.17),
        ),
        material=Material.CAR_CABIN,
        color=paint,
    )
    dry = frames.ground_z > -0.3
    return [body.select(dry), cabin.select(dry)]


def _lamps(plan: StreetPlan, terrain: Terrain, bounds: Bounds) -> list[Blocks]:
    slots = make_slots(plan, "lamp slot", 24.0, 0.45)
    lit = np.flatnonzero((slots.kind == StreetKind.CITY) | ((slots.kind == StreetKind.VILLAGE) & (slots.key % 2 == 0)))
    near = lit[find_near(plan.seed, bounds, slots.u[lit], slots.v[lit], 5.0)]
    frames = place_frames(plan.seed, terrain, slots.u[near], slots.v[near], slots.direction[near])
    dice = Dice(slots.key[near])
    metal = np.broadcast_to(_METAL, (len(near), 3))
    pole = build_blocks(frames, dice, Shape(half=(0.07, 0.07), z=(-0.5, 6.0)), material=Material.FURNITURE, color=metal)
    arm = build_blocks(
        frames,
        dice,
        Shape(half=(0.12, 0.85), z=(5.9, 6.08), offset=(0.0, 0.75)),
        material=Material.FURNITURE,
        color=metal,
    )
    return [pole, arm]


def _hedges(plan: StreetPlan, plots: Plots, terrain: Terrain, bounds: Bounds) -> list[Blocks]:
    """Along one side and along the back of village plots."""
    u, v, direction, half_length, keys = [], [], [], [], []
    for number in range(2):
        key = hash_cells(plan.seed, "hedge", plots.key, number)
        where = np.flatnonzero((plots.district == District.VILLAGE) & Dice(key).chance("hedge", 0.62))
        toward, count = plots.toward[where], len(where)
        if number == 0:
            half = 0.5 * plots.depth[where] - 0.6
            u.append(plots.u_middle[where] - 0.5 * plots.width[where] + 0.4)
            v.append(plots.v_front[where] + toward * (half + 0.5))
            direction.append(np.stack([np.zeros(count), np.ones(count)], axis=1))
        else:
            half = 0.5 * plots.width[where] - 0.2
            u.append(plots.u_middle[where])
            v.append(plots.v_front[where] + toward * (plots.depth[where] - 0.5))
            direction.append(np.stack([np.ones(count), np.zeros(count)], axis=1))
        half_length.append(half)
        keys.append(key[where])
    all_u, all_v, key = np.concatenate(u), np.concatenate(v), np.concatenate(keys)
    near = find_near(plan.seed, bounds, all_u, all_v, 25.0)
    frames = place_frames(plan.seed, terrain, all_u[near], all_v[near], np.concatenate(direction)[near])
    dice = Dice(key[near])
    hedge = build_blocks(
        frames,
        dice,
        Shape(
            half=(np.concatenate(half_length)[near], dice.between("hedge width", 0.3, 0.5)),
            z=(-1.2, dice.between("hedge height", 1.0, 1.9)),
        ),
        material=Material.HEDGE,
        color=np.broadcast_to(_HEDGE, (len(near), 3)) * dice.between("hedge shade", 0.8, 1.3)[:, None],
    )
    return [hedge.select(frames.river_m > 14.0)]
