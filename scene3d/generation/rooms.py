"""Owns procedural flats: rooms divided by walls with doors and windows, furnished, as solids with colours and classes.

Metres, floor at height 0, no ceiling: rooms are looked into from above.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from scene3d.generation.palette import ROOM_CLASSES
from scene3d.generation.room_furniture import furnish
from scene3d.generation.room_solids import Solid, make_box

WALL_HEIGHT = 2.5
INNER_WALL, OUTER_WALL = 0.12, 0.24
DOOR_WIDTH, DOOR_HEIGHT = 0.9, 2.0
_SILL, _LINTEL = 0.9, 2.1
_LOWEST_SIDE, _LARGEST_SIDE = 2.4, 4.6
_DOOR_SHARE, _WINDOW_SHARE = 0.85, 0.8
_WALL_COLORS = np.array([[0.90, 0.88, 0.83], [0.86, 0.86, 0.88], [0.92, 0.86, 0.76], [0.80, 0.86, 0.82]])
_FLOOR_COLORS = np.array(
    [[0.55, 0.38, 0.22], [0.68, 0.52, 0.34], [0.62, 0.62, 0.60], [0.46, 0.44, 0.50], [0.76, 0.70, 0.6]]
)


@dataclass(frozen=True, slots=True)
class Room:
    """One rectangle of a flat."""

    low: tuple[float, float]
    high: tuple[float, float]
    floor: Float[np.ndarray, "3"]
    """Colour of its floor."""

    @property
    def sides(self) -> tuple[float, float]:
        """Lengths along x and y."""
        return self.high[0] - self.low[0], self.high[1] - self.low[1]


@dataclass(frozen=True, slots=True)
class Opening:
    """A hole in a wall that runs along an axis."""

    axis: int
    """0: the wall runs along x."""

    across: float
    """Where the wall's middle lies on the other axis."""

    along: float
    """Middle of the hole along the wall."""

    width: float
    is_door: bool


@dataclass(frozen=True, slots=True)
class Flat:
    """All that stands in a rectangle from (0, 0) to `size`."""

    size: tuple[float, float]
    rooms: tuple[Room, ...]
    solids: tuple[Solid, ...]
    openings: tuple[Opening, ...] = field(default=())


def make_flat(dice: np.random.Generator, *, size: tuple[float, float]) -> Flat:
    """A flat of that size, the same for the same dice."""
    rooms = [Room(low, high, _pick(_FLOOR_COLORS, dice)) for low, high in _divide((0.0, 0.0), size, dice)]
    openings = [*_doors(rooms, dice), *_windows(rooms, size, dice)]
    wall_color = _pick(_WALL_COLORS, dice)
    solids = [*_inner_walls(rooms, size, openings, wall_color), *_outer_walls(size, openings, wall_color)]
    for room in rooms:
        doors = [opening for opening in openings if opening.is_door]
        clearances = [_clearance(door) for door in doors]
        margin = OUTER_WALL / 2
        low, high = np.array(room.low) + margin, np.array(room.high) - margin
        solids += furnish(low, high, clearances, dice)
    return Flat(size, tuple(rooms), tuple(solids), tuple(openings))


def _pick(colors: Float[np.ndarray, "n 3"], dice: np.random.Generator) -> Float[np.ndarray, "3"]:
    return np.clip(colors[int(dice.integers(len(colors)))] + dice.normal(0.0, 0.03, 3), 0.05, 0.97)


def _divide(
    low: tuple[float, float], high: tuple[float, float], dice: np.random.Generator
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Rectangles, halved across their longer side until they are as small as rooms."""
    sides = (high[0] - low[0], high[1] - low[1])
    axis = int(sides[1] > sides[0])
    if sides[axis] < 2 * _LOWEST_SIDE or (sides[axis] < _LARGEST_SIDE and dice.random() < 0.7):
        return [(low, high)]
    cut = low[axis] + dice.uniform(_LOWEST_SIDE, sides[axis] - _LOWEST_SIDE)
    middle_high = (cut, high[1]) if axis == 0 else (high[0], cut)
    middle_low = (cut, low[1]) if axis == 0 else (low[0], cut)
    return [*_divide(low, middle_high, dice), *_divide(middle_low, high, dice)]


def _shared_side(one: Room, other: Room) -> tuple[int, float, float, float] | None:
    """The wall from one room to another behind its high x or high y: axis it runs along, across, from, to."""
    for axis in (0, 1):
        across = 1 - axis
        start, stop = max(one.low[axis], other.low[axis]), min(one.high[axis], other.high[axis])
        if abs(one.high[across] - other.low[across]) < 1e-9 and stop > start:
            return axis, one.high[across], start, stop
    return None


def _doors(rooms: list[Room], dice: np.random.Generator) -> list[Opening]:
    doors = []
    for one in rooms:
        for other in rooms:
            side = _shared_side(one, other)
            if side is None or dice.random() > _DOOR_SHARE:
                continue
            axis, across, start, stop = side
            free = (stop - start) / 2 - DOOR_WIDTH / 2 - OUTER_WALL
            if free > 0:
                along = (start + stop) / 2 + dice.uniform(-free, free)
                doors.append(Opening(axis, across, along, DOOR_WIDTH, True))
    return doors


def _windows(rooms: list[Room], size: tuple[float, float], dice: np.random.Generator) -> list[Opening]:
    windows = []
    for room in rooms:
        for axis in (0, 1):
            across = 1 - axis
            for place, wall in ((room.low[across], 0.0), (room.high[across], size[across])):
                if abs(place - wall) > 1e-9 or dice.random() > _WINDOW_SHARE:
                    continue
                width = dice.uniform(1.0, min(1.8, room.sides[axis] - 0.8))
                middle = (room.low[axis] + room.high[axis]) / 2
                windows.append(Opening(axis, wall, middle, width, False))
    return windows


def _clearance(door: Opening) -> Float[np.ndarray, "4"]:
    """The ground before and behind a door that must stay free: low x and y, high x and y."""
    reach = np.array([door.width / 2, 0.6]) if door.axis == 0 else np.array([0.6, door.width / 2])
    middle = np.array([door.along, door.across]) if door.axis == 0 else np.array([door.across, door.along])
    return np.concatenate([middle - reach, middle + reach])


def _inner_walls(
    rooms: list[Room], size: tuple[float, float], openings: list[Opening], color: Float[np.ndarray, "3"]
) -> list[Solid]:
    """A wall behind the high x and the high y of every room that does not end at the flat's own."""
    walls = []
    for room in rooms:
        for axis in (0, 1):
            across = 1 - axis
            if abs(room.high[across] - size[across]) > 1e-9:
                walls.append(
                    _wall(axis, room.high[across], room.low[axis], room.high[axis], INNER_WALL, openings, color)
                )
    return walls


def _outer_walls(size: tuple[float, float], openings: list[Opening], color: Float[np.ndarray, "3"]) -> list[Solid]:
    return [
        _wall(axis, across, 0.0, size[axis], OUTER_WALL, openings, color)
        for axis in (0, 1)
        for across in (0.0, size[1 - axis])
    ]


def _wall(
    axis: int,
    across: float,
    start: float,
    stop: float,
    thickness: float,
    openings: list[Opening],
    color: Float[np.ndarray, "3"],
) -> Solid:
    """A wall with the holes that lie in it; longer than asked for, so that walls overlap where they meet."""
    holes = []
    for opening in openings:
        half = opening.width / 2
        inside = start < opening.along + half and opening.along - half < stop
        if opening.axis == axis and abs(opening.across - across) < 1e-9 and inside:
            bottom, top = (-1.0, DOOR_HEIGHT) if opening.is_door else (_SILL, _LINTEL)
            low, high = (opening.along - half, across - 0.5, bottom), (opening.along + half, across + 0.5, top)
            holes.append(_turned_box(axis, low, high))
    low = (start - INNER_WALL / 2, across - thickness / 2, -1.0)
    high = (stop + INNER_WALL / 2, across + thickness / 2, WALL_HEIGHT)
    box = _turned_box(axis, low, high)
    return make_box(box[0], box[1], color, ROOM_CLASSES.index("wall"), holes=tuple(holes))


def _turned_box(
    axis: int, low: tuple[float, float, float], high: tuple[float, float, float]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """A box given along and across a wall in x and y."""
    order = [0, 1, 2] if axis == 0 else [1, 0, 2]
    return np.array(low)[order], np.array(high)[order]
