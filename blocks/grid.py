"""Owns the regular grid of cells: the division that everything better is compared with."""

import numpy as np
from jaxtyping import Bool

from blocks.cells import Cut, Tree, leaves_of
from blocks.cut_choices import Ground
from blocks.rectangle import Rectangle, rectangles_of
from blocks.visibility import count_seen, views_of_spans

MAX_GRIDS = 8
"""Grids that are tried, each with one cell more, where small cells had to be merged."""


def cut_into_grid(ground: Ground, rectangle: Rectangle, num_cells: int) -> Tree:
    """Near-square cells of equal size, small ones merged with their neighbours.

    Where merging leaves fewer cells than wanted, finer grids are tried; if none comes out right, the one with most
    cells that are not too many.
    """
    best: Tree = 0
    for number in range(num_cells, num_cells + MAX_GRIDS):
        tree = _without_small(ground, rectangle, _regular(rectangle, number))
        found = len(leaves_of(tree))
        if len(leaves_of(best)) < found <= num_cells:
            best = tree
        if found == num_cells:
            break
    return best


def _regular(rectangle: Rectangle, num_cells: int) -> Tree:
    """Strips across u, each cut into cells across v; all cells have the same area."""
    length, width = rectangle.sides
    num_strips = int(np.clip(round(np.sqrt(num_cells * length / width)), 1, num_cells))
    per_strip = [num_cells // num_strips + (strip < num_cells % num_strips) for strip in range(num_strips)]
    edges = rectangle.low[0] + length * np.cumsum(per_strip) / num_cells
    first = np.cumsum([0, *per_strip[:-1]])
    strips = []
    for number, start in zip(per_strip, first.tolist(), strict=True):
        rows = rectangle.low[1] + width * np.arange(1, number + 1) / number
        strips.append(_in_a_row(list(range(start, start + number)), rows.tolist(), 1))
    return _in_a_row(strips, edges.tolist(), 0)


def _in_a_row(parts: list[int] | list[Tree], ends: list[float], axis: int) -> Tree:
    """Cuts between parts that lie one after the other, as balanced as can be."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    low, high = _in_a_row(parts[:half], ends[:half], axis), _in_a_row(parts[half:], ends[half:], axis)
    return Cut(axis, ends[half - 1], low, high)


def _without_small(ground: Ground, rectangle: Rectangle, tree: Tree) -> Tree:
    """Merge the cell with fewest points with its neighbour, while one is too small."""
    while not isinstance(tree, int):
        small, sizes = _find_small(ground, rectangles_of(tree, rectangle))
        if not small.any():
            break
        tree = _renumbered(_removed(tree, int(np.argmin(np.where(small, sizes, np.inf)))))
    return tree


def _find_small(ground: Ground, rectangles: list[Rectangle]) -> tuple[Bool[np.ndarray, "b"], np.ndarray]:
    """Which cells have too few views or points, and how many points each has."""
    settings = ground.settings
    groups = [np.flatnonzero(each.covers(ground.uv, settings.expand_ratio)) for each in rectangles]
    sizes = np.array([len(rows) for rows in groups])
    assigned = views_of_spans(
        count_seen(ground.observations, groups).T,
        sizes,
        ground.observations.num_seen,
        cover_view=settings.cover_view,
        cover_block=settings.cover_block,
    )
    return (sizes < settings.min_points) | (assigned.sum(axis=1) < settings.min_views), sizes


def _removed(tree: Tree, leaf: int) -> Tree:
    """The tree without a cell, whose place falls to what lies across the cut."""
    if isinstance(tree, int):
        return tree
    if tree.low == leaf:
        return tree.high
    if tree.high == leaf:
        return tree.low
    return Cut(tree.axis, tree.at, _removed(tree.low, leaf), _removed(tree.high, leaf))


def _renumbered(tree: Tree) -> Tree:
    """Cells numbered from 0, low before high."""
    new = {old: number for number, old in enumerate(leaves_of(tree))}

    def copy(node: Tree) -> Tree:
        return new[node] if isinstance(node, int) else Cut(node.axis, node.at, copy(node.low), copy(node.high))

    return copy(tree)
