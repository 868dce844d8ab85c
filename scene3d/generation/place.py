"""Owns growing a whole place from nothing: a grid of cells on one canvas, by a layout or freely."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from scene3d.errors import SettingsError
from scene3d.events import Reporter
from scene3d.generation.generator import Generator, make_canvas
from scene3d.generation.grow_settings import GrowSettings
from scene3d.generation.layout import fit_layout
from scene3d.geometry.voxels import VoxelField

MAX_CELLS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A place and the layout that it was made by."""

    field: VoxelField
    layout: Int[np.ndarray, "x y"] | None
    """Class id of each column, -1 where nothing was asked for."""


def make_place(
    generator: Generator,
    size: tuple[int, int],
    settings: GrowSettings,
    *,
    layout: Int[np.ndarray, "a b"] | None = None,
    reporter: Reporter | None = None,
) -> Place:
    """Fill a grid of cells; the ground lies at height 0, the first corner at x = y = 0, units are metres.

    Args:
        generator: What draws the blocks.
        size: Cells along x and y.
        settings: How.
        layout: Stretched over the whole grid.
        reporter: Told about each cell.

    Raises:
        SettingsError: No cells, or too many.
    """
    if min(size) < 1 or size[0] * size[1] > MAX_CELLS:
        raise SettingsError(f"a grid of {size[0]} x {size[1]} cells; there must be 1 to {MAX_CELLS:,}")
    canvas = make_canvas(generator.spec, size)
    fitted = None if layout is None else fit_layout(layout, canvas.shape[:2])
    cells = [(i, j) for i in range(size[0]) for j in range(size[1])]
    return Place(generator.grow(canvas, cells, settings, layout=fitted, reporter=reporter), fitted)
