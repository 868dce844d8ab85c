"""Owns the order in which blocks grow: away from what is known, several at once where they do not touch."""

from collections.abc import Mapping, Sequence

Cell = tuple[int, int]

_BESIDE, _DIAGONAL = 1.0, 0.4
"""How much a finished neighbour counts against a window of which everything is known (1)."""


def plan_batches(
    cells: Sequence[Cell], known_share: Mapping[Cell, float], *, reach: int, batch: int
) -> list[list[Cell]]:
    """Batches of cells to draw one after the other.

    Those that know most of their surroundings come first; within a batch no two windows overlap, so that none of them
    has to know the other. Without anything known the cell with the lowest indices begins. The order of `cells` does
    not matter.

    Args:
        cells: Cells to fill, without repetition.
        known_share: Share of each cell's window that is known at the start; missing cells have none.
        reach: Windows of cells at least this many cells apart along an axis do not overlap.
        batch: At most so many cells in a batch.
    """
    waiting, score = sorted(set(cells)), {cell: known_share.get(cell, 0.0) for cell in cells}
    batches = []
    while waiting:
        ranked = sorted(waiting, key=lambda cell: (-round(score[cell], 6), cell))
        chosen: list[Cell] = []
        for cell in ranked:
            is_alone = bool(chosen) and score[cell] <= 0.0
            if len(chosen) < batch and not is_alone and all(_apart(cell, other, reach) for other in chosen):
                chosen.append(cell)
        batches.append(chosen)
        waiting = [cell for cell in waiting if cell not in chosen]
        for cell in waiting:
            score[cell] += sum(_support(cell, other, reach) for other in chosen)
    return batches


def _apart(one: Cell, other: Cell, reach: int) -> bool:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) >= reach


def _support(cell: Cell, done: Cell, reach: int) -> float:
    if _apart(cell, done, reach):
        return 0.0
    return _BESIDE if cell[0] == done[0] or cell[1] == done[1] else _DIAGONAL
