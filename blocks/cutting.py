"""Owns how a region is cut into cells: one cut after the other, each where it leaves the smaller largest load."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from blocks.cells import Cut, Tree
from blocks.cut_choices import Choice, Ground, OpenCell, Outcomes, assess_cuts, find_choices
from blocks.rectangle import Rectangle
from blocks.visibility import count_loads

MAX_DEPTH = 24
"""No more cuts above one cell than this: a plan has to be read back, and JSON is read to a bounded depth."""

MAX_HALVINGS = 8
"""How often the middle of what is left is tried where one half of a cell is too small to stand alone."""


@dataclass(frozen=True, slots=True)
class Division:
    """A cell in two."""

    axis: int
    at: float
    halves: tuple[OpenCell, OpenCell]
    """Below it, and the rest."""

    gains: bool = True
    """Whether it lowers the load enough to be worth while for itself."""


FindDivision = Callable[[Ground, OpenCell], Division | None]


def cut_ground(
    ground: Ground,
    rectangle: Rectangle,
    find_division: FindDivision,
    *,
    num_cells: int,
    rank: Callable[[OpenCell], int],
    enough: int = 0,
) -> Tree:
    """Cut the cell of highest rank again and again, until there are enough cells or none can be cut.

    Cuts that gain nothing come last, the cell with most points first: where views overlap a lot, a small cell sees as
    much as a large one, and its rank alone would have it cut to slivers.

    Args:
        ground: What is divided.
        rectangle: Around all of it.
        find_division: How to cut a cell; None where it cannot be.
        num_cells: At most so many.
        rank: Of a cell.
        enough: Cells of no higher rank stay whole.
    """
    cells = {0: make_root(ground, rectangle)}
    cuts: dict[int, tuple[Division, int]] = {}
    unwilling: dict[int, Division | None] = {}
    while len(cells) < num_cells:
        waiting = [number for number, cell in cells.items() if number not in unwilling and rank(cell) > enough]
        if waiting:
            number = max(waiting, key=lambda each: (rank(cells[each]), -each))
            division = find_division(ground, cells[number]) if cells[number].depth < MAX_DEPTH else None
            if division is None or not division.gains:
                unwilling[number] = division
                continue
        else:
            possible = [each for each, found in unwilling.items() if found is not None]
            if not possible:
                break
            number = max(possible, key=lambda each: (len(cells[each].rows), -each))
            division = unwilling.pop(number)
        assert division is not None
        first = 2 * len(cuts) + 1
        cuts[number] = division, first
        del cells[number]
        cells |= dict(zip((first, first + 1), division.halves, strict=True))
    return _frozen(0, cuts, iter(range(num_cells)))


def make_root(ground: Ground, rectangle: Rectangle) -> OpenCell:
    """The whole rectangle as one cell."""
    rows = np.flatnonzero(rectangle.covers(ground.uv, ground.settings.expand_ratio)).astype(np.int32)
    everybody = np.ones((1, ground.observations.num_views), bool)
    load = int(count_loads(ground.observations, everybody)[0])
    return OpenCell(rectangle=rectangle, rows=rows, load=load)


def _frozen(number: int, cuts: dict[int, tuple[Division, int]], numbers: Iterator[int]) -> Tree:
    if number not in cuts:
        return next(numbers)
    division, first = cuts[number]
    low, high = _frozen(first, cuts, numbers), _frozen(first + 1, cuts, numbers)
    return Cut(division.axis, division.at, low, high)


def divide_by_load(ground: Ground, cell: OpenCell) -> Division | None:
    """The cut that leaves the smaller largest load, across the longer side.

    Where that would make too long a cell, or cells too small, the shorter side is tried as well and the better of the
    two is taken. Long cells are made only where nothing else is possible, or where nothing else comes near: what they
    cost, more views that see two cells, is in their load already. A cut that hardly lowers the load is not made; where
    the number of cells is given, the points are halved.
    """
    longer = int(cell.rectangle.sides[1] > cell.rectangle.sides[0])
    cuts: list[Choice] = []
    for axis in (longer, 1 - longer):
        cuts += find_choices(ground, cell, axis)
        if cuts and not min(cuts, key=attrgetter("by_load")).is_long:
            break
    return _best_division(ground, cell, _without_long(cuts, ground.settings.min_gain))


def _without_long(choices: list[Choice], min_gain: float) -> list[Choice]:
    """The cuts that make no long cell, unless a long one lowers the largest load much further."""
    short = [each for each in choices if not each.is_long]
    if not short:
        return choices
    long_enough = (1 - min_gain) * min(each.worst_load for each in short)
    return choices if min(each.worst_load for each in choices) < long_enough else short


def _best_division(ground: Ground, cell: OpenCell, choices: list[Choice]) -> Division | None:
    if not choices:
        return None
    best = min(choices, key=attrgetter("by_load"))
    gains = best.worst_load <= (1 - ground.settings.min_gain) * cell.load
    if not gains:
        if ground.settings.blocks is None:
            return None
        best = min(choices, key=attrgetter("by_points"))
    return replace(_make_division(ground, cell, best.outcomes, best.index), gains=gains)


def divide_at_middle(ground: Ground, cell: OpenCell) -> Division | None:
    """The middle of the longer side, as BlockGaussian cuts.

    A half too small to stand alone stays with its neighbour, and what is left is halved in its place.
    """
    longer = int(cell.rectangle.sides[1] > cell.rectangle.sides[0])
    for axis in (longer, 1 - longer):
        low, high = cell.rectangle.low[axis], cell.rectangle.high[axis]
        for _ in range(MAX_HALVINGS):
            middle = (low + high) / 2
            outcomes = assess_cuts(ground, cell, axis, np.array([middle]))
            if outcomes.are_large_enough(ground.settings).all():
                return _make_division(ground, cell, outcomes, 0)
            low, high = (low, middle) if outcomes.num_points[0, 0] > outcomes.num_points[1, 0] else (middle, high)
    return None


def _make_division(ground: Ground, cell: OpenCell, outcomes: Outcomes, index: int) -> Division:
    at = float(outcomes.positions[index])
    coordinates = ground.uv[cell.rows, outcomes.axis]
    halves = []
    for side, rectangle in enumerate(cell.rectangle.cut(outcomes.axis, at)):
        low, high = rectangle.span(outcomes.axis, ground.settings.expand_ratio)
        inside = (coordinates >= low) & (coordinates <= high)
        load = int(outcomes.loads[side, index])
        halves.append(OpenCell(rectangle=rectangle, rows=cell.rows[inside], load=load, depth=cell.depth + 1))
    return Division(outcomes.axis, at, (halves[0], halves[1]))
