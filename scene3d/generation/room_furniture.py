"""Owns furniture: simple shapes for each class, and where they stand in a room."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from scene3d.generation.palette import ROOM_CLASSES
from scene3d.generation.room_solids import Solid

_SUNK = 0.3
"""What stands on the floor begins so far below it: a common face would be a surface of its own."""

_GAP = 0.05
_TRIES = 14
_WOOD = np.array([[0.45, 0.28, 0.14], [0.62, 0.44, 0.26], [0.30, 0.18, 0.10], [0.85, 0.83, 0.80]])
_CLOTH = np.array([[0.25, 0.35, 0.58], [0.60, 0.22, 0.22], [0.35, 0.45, 0.32], [0.72, 0.66, 0.56], [0.30, 0.30, 0.34]])
_SHADE = np.array([0.95, 0.88, 0.60])
_LINEN = np.array([0.92, 0.92, 0.90])

Piece = tuple[Float[np.ndarray, "2"], list[Solid]]
"""Width along the wall and depth away from it, and solids with x in 0..width, y in 0..depth from the wall."""


def furnish(
    low: Float[np.ndarray, "2"],
    high: Float[np.ndarray, "2"],
    clearances: Sequence[Float[np.ndarray, "4"]],
    dice: np.random.Generator,
) -> list[Solid]:
    """Furniture of one room, by what kind of room the dice make it.

    Args:
        low: Corner of the free floor.
        high: The opposite one.
        clearances: Rectangles that stay free: low x and y, high x and y.
        dice: Of kinds, sizes, colours and places.
    """
    taken = list(clearances)
    solids: list[Solid] = []
    for make, by_wall in _ROOMS[int(dice.integers(len(_ROOMS)))]:
        piece = make(dice)
        for _ in range(_TRIES):
            placed = _place(piece, low, high, by_wall, dice)
            if placed is not None and not any(_overlap(placed[0], one) for one in taken):
                taken.append(placed[0])
                solids += placed[1]
                break
    return solids


def make_bed(dice: np.random.Generator) -> Piece:
    """Mattress, head and pillows."""
    width, depth = dice.choice([0.9, 1.4, 1.8]), 2.0
    wood, cloth = _tint(_WOOD, dice), _tint(_CLOTH, dice)
    solids = [
        _block("bed", (0.0, 0.0, 0.0), (width, 0.1, dice.uniform(0.8, 1.1)), wood),
        _block("bed", (0.0, 0.05, 0.0), (width, depth, 0.45), cloth),
    ]
    for start in (0.08,) if width < 1.2 else (0.08, width / 2 + 0.05):
        stop = start + (width - 0.16 if width < 1.2 else width / 2 - 0.13)
        solids.append(_block("bed", (start, 0.15, 0.4), (stop, 0.55, 0.58), _LINEN))
    return np.array([width, depth]), solids


def make_cabinet(dice: np.random.Generator) -> Piece:
    """A closed cupboard or a low sideboard."""
    width, depth, height = dice.uniform(0.8, 2.0), dice.uniform(0.4, 0.6), dice.choice([0.8, 1.2, 2.0])
    return np.array([width, depth]), [_block("cabinet", (0.0, 0.0, 0.0), (width, depth, height), _tint(_WOOD, dice))]


def make_sofa(dice: np.random.Generator) -> Piece:
    """Seat, back and arms."""
    width, depth, cloth = dice.uniform(1.5, 2.4), 0.9, _tint(_CLOTH, dice)
    return np.array([width, depth]), [
        _block("sofa", (0.0, 0.0, 0.0), (width, depth, 0.42), cloth),
        _block("sofa", (0.0, 0.0, 0.0), (width, 0.28, 0.85), cloth),
        _block("sofa", (0.0, 0.0, 0.0), (0.2, depth, 0.62), cloth),
        _block("sofa", (width - 0.2, 0.0, 0.0), (width, depth, 0.62), cloth),
    ]


def make_lamp(dice: np.random.Generator) -> Piece:
    """A pole with a shade."""
    height, side = dice.uniform(1.4, 1.8), 0.44
    foot, wood = side / 2 - 0.05, _tint(_WOOD, dice)
    return np.array([side, side]), [
        _block("lighting", (foot, foot, 0.0), (side - foot, side - foot, height - 0.1), wood, kind="cylinder"),
        _block("lighting", (0.0, 0.0, height - 0.35), (side, side, height), _SHADE, kind="cylinder", sunk=False),
    ]


def make_desk(dice: np.random.Generator) -> Piece:
    """A table by the wall with a chair before it."""
    width, solids = dice.uniform(1.0, 1.5), []
    solids += _table((0.0, 0.0), (width, 0.65), 0.74, _tint(_WOOD, dice))
    solids += _chair((width / 2 - 0.22, 0.6), 2, _tint(_CLOTH, dice))
    return np.array([width, 1.1]), solids


def make_coffee_table(dice: np.random.Generator) -> Piece:
    """A low table, sometimes with a stool at its end."""
    width, depth = dice.uniform(0.8, 1.2), dice.uniform(0.5, 0.7)
    solids = _table((0.0, 0.0), (width, depth), 0.42, _tint(_WOOD, dice))
    if dice.random() < 0.6:
        solids.append(_stool((width + 0.3, depth / 2), _tint(_CLOTH, dice)))
        return np.array([width + 0.5, depth]), solids
    return np.array([width, depth]), solids


def make_dining(dice: np.random.Generator) -> Piece:
    """A table with chairs, or stools, along both sides."""
    places = int(dice.integers(1, 4))
    width, depth, reach = 0.65 * places + 0.3, 0.9, 0.4
    solids = _table((0.0, reach), (width, reach + depth), 0.75, _tint(_WOOD, dice))
    cloth, with_backs = _tint(_CLOTH, dice), dice.random() < 0.7
    for place in range(places):
        left = 0.15 + 0.65 * place + 0.1
        for front, quarter in ((0.0, 0), (depth + 2 * reach - 0.44, 2)):
            if with_backs:
                solids += _chair((left, front), quarter, cloth)
            else:
                solids.append(_stool((left + 0.22, front + 0.22), cloth))
    return np.array([width, depth + 2 * reach]), solids


_ROOMS: tuple[tuple[tuple[Callable[[np.random.Generator], Piece], bool], ...], ...] = (
    ((make_bed, True), (make_cabinet, True), (make_desk, True), (make_lamp, True)),
    ((make_sofa, True), (make_coffee_table, False), (make_cabinet, True), (make_lamp, True), (make_cabinet, True)),
    ((make_dining, False), (make_cabinet, True), (make_lamp, True)),
    ((make_bed, True), (make_cabinet, True), (make_bed, True), (make_lamp, True)),
    ((make_dining, False), (make_sofa, True), (make_cabinet, True)),
)
"""What stands in each kind of room, and whether by a wall: bedrooms, living rooms, dining rooms."""


def _tint(colors: Float[np.ndarray, "n 3"], dice: np.random.Generator) -> Float[np.ndarray, "3"]:
    return np.clip(colors[int(dice.integers(len(colors)))] + dice.normal(0.0, 0.03, 3), 0.04, 0.97)


def _block(
    name: str,
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    color: Float[np.ndarray, "3"],
    *,
    kind: Literal["box", "cylinder"] = "box",
    sunk: bool = True,
) -> Solid:
    bottom = low[2] - _SUNK if sunk and low[2] == 0 else low[2]
    corner = np.array([low[0], low[1], bottom], np.float64)
    return Solid(kind, corner, np.array(high, np.float64), color, ROOM_CLASSES.index(name))


def _table(
    low: tuple[float, float], high: tuple[float, float], height: float, color: Float[np.ndarray, "3"]
) -> list[Solid]:
    leg = 0.08
    solids = [_block("table", (*low, height - 0.08), (*high, height), color)]
    for x in (low[0], high[0] - leg):
        for y in (low[1], high[1] - leg):
            solids.append(_block("table", (x, y, 0.0), (x + leg, y + leg, height - 0.04), color))
    return solids


def _chair(corner: tuple[float, float], quarter: int, color: Float[np.ndarray, "3"]) -> list[Solid]:
    """A seat on a foot, its back towards y = 0 and turned by quarters."""
    side, back = 0.44, 0.08
    x, y = corner
    behind = ((x, y), (x + side, y + back)) if quarter == 0 else ((x, y + side - back), (x + side, y + side))
    inset = 0.06
    return [
        _block("chair", (x, y, 0.36), (x + side, y + side, 0.46), color),
        _block("chair", (x + inset, y + inset, 0.0), (x + side - inset, y + side - inset, 0.4), color),
        _block("chair", (*behind[0], 0.4), (*behind[1], 0.92), color),
    ]


def _stool(middle: tuple[float, float], color: Float[np.ndarray, "3"]) -> Solid:
    x, y = middle
    return _block("stool", (x - 0.2, y - 0.2, 0.0), (x + 0.2, y + 0.2, 0.46), color, kind="cylinder")


def _place(
    piece: Piece, low: Float[np.ndarray, "2"], high: Float[np.ndarray, "2"], by_wall: bool, dice: np.random.Generator
) -> tuple[Float[np.ndarray, "4"], list[Solid]] | None:
    """A piece at one of the four walls, or free in the room; None where it does not fit."""
    quarter = int(dice.integers(4))
    size = piece[0] if quarter % 2 == 0 else piece[0][::-1]
    free = high - low - size - 2 * _GAP
    if (free < 0).any():
        return None
    corner = low + _GAP + dice.uniform(0.0, 1.0, 2) * free
    if by_wall:
        axis = 1 if quarter % 2 == 0 else 0
        # Unturned pieces have their wall at low y; quarters turn counter-clockwise.
        at_low = quarter in (0, 3)
        corner[axis] = low[axis] if at_low else high[axis] - size[axis]
    solids = [_turned(solid, piece[0], quarter, corner) for solid in piece[1]]
    return np.concatenate([corner, corner + size]), solids


def _turned(solid: Solid, size: Float[np.ndarray, "2"], quarter: int, corner: Float[np.ndarray, "2"]) -> Solid:
    """A solid of a piece turned by quarters and moved so that the piece's low corner lies at `corner`."""
    ends = []
    for x, y in (solid.low[:2], solid.high[:2]):
        turned = ((x, y), (size[1] - y, x), (size[0] - x, size[1] - y), (y, size[0] - x))[quarter]
        ends.append(np.array(turned) + corner)
    low = np.array([*np.minimum(*ends), solid.low[2]])
    high = np.array([*np.maximum(*ends), solid.high[2]])
    return replace(solid, low=low, high=high)


def _overlap(one: Float[np.ndarray, "4"], other: Float[np.ndarray, "4"]) -> bool:
    return bool((one[:2] < other[2:]).all() and (other[:2] < one[2:]).all())
