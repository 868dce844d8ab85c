"""Owns the division of city and village cells into plots, and what each plot is used for."""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int, UInt32

from scene3d.world.noise import hash_cells
from scene3d.world.placement import Dice
from scene3d.world.streets import PAVEMENT_M, STREET_HALF_M, District, StreetPlan, warp_from_plan
from scene3d.world.terrain import Terrain

RIVER_CLEARANCE_M = 24.0
"""No building's middle is nearer to the middle of a river."""

PLOT_WIDTH_M = {District.CITY: 19.0, District.VILLAGE: 20.0}


class PlotUse(IntEnum):
    """What stands on a plot."""

    GARDEN = 0
    HOUSE = 1
    TERRACE = 2
    TOWER = 3
    PARKING = 4


@dataclass(frozen=True, slots=True, eq=False)
class CellInteriors:
    """What streets and pavements leave of each cell, in plan coordinates, and its plots."""

    u_low: Float[np.ndarray, "ni nj"]
    u_high: Float[np.ndarray, "ni nj"]
    v_low: Float[np.ndarray, "ni nj"]
    v_high: Float[np.ndarray, "ni nj"]
    plots_per_row: Int[np.ndarray, "ni nj"]
    """Plots in each of the two rows; zero where the cell is not built on."""

    first_plot: Int[np.ndarray, "ni nj"]


@dataclass(frozen=True, slots=True, eq=False)
class Plots:
    """All plots of a plan, row after row within each cell; row 0 faces the street at v low, row 1 at v high."""

    seed: int
    i: Int[np.ndarray, "n"]
    j: Int[np.ndarray, "n"]
    key: UInt32[np.ndarray, "n"]
    use: Int[np.ndarray, "n"]
    district: Int[np.ndarray, "n"]
    u_middle: Float[np.ndarray, "n"]
    width: Float[np.ndarray, "n"]
    v_front: Float[np.ndarray, "n"]
    toward: Float[np.ndarray, "n"]
    """+1 where the plot extends from its street towards higher v, else -1."""

    depth: Float[np.ndarray, "n"]
    house_half_x: Float[np.ndarray, "n"]
    house_half_y: Float[np.ndarray, "n"]
    house_shift: Float[np.ndarray, "n"]
    """Where the house's middle lies along the frame's x, from the plot's middle."""

    setback: Float[np.ndarray, "n"]
    has_pool: Bool[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.i)


def find_interiors(plan: StreetPlan) -> CellInteriors:
    """The inner rectangle of each cell."""
    u_edge = STREET_HALF_M[plan.u_kind] + PAVEMENT_M[plan.u_kind]
    v_edge = STREET_HALF_M[plan.v_kind] + PAVEMENT_M[plan.v_kind]
    u_low, u_high = plan.u_lines[:-1, None] + u_edge[:-1], plan.u_lines[1:, None] - u_edge[1:]
    v_low, v_high = plan.v_lines[None, :-1] + v_edge[:, :-1], plan.v_lines[None, 1:] - v_edge[:, 1:]
    count = np.zeros(u_low.shape, np.int64)
    for district, width in PLOT_WIDTH_M.items():
        fitting = np.maximum(np.floor((u_high - u_low) / width + 0.5), 1).astype(np.int64)
        count = np.where(plan.district == district, fitting, count)
    first = np.cumsum(2 * count.reshape(-1)) - 2 * count.reshape(-1)
    return CellInteriors(u_low, u_high, v_low, v_high, count, first.reshape(count.shape))


def make_plots(plan: StreetPlan, cells: CellInteriors) -> Plots:
    """Every plot of the plan."""
    per_cell = 2 * cells.plots_per_row.reshape(-1)
    flat_cell = np.repeat(np.arange(per_cell.size), per_cell)
    rank = np.arange(len(flat_cell)) - cells.first_plot.reshape(-1)[flat_cell]
    i, j = np.divmod(flat_cell, plan.district.shape[1])
    per_row = cells.plots_per_row[i, j]
    row, slot = np.divmod(rank, np.maximum(per_row, 1))
    key = hash_cells(plan.seed, "plot", plan.cell_keys[i, j], rank)
    dice = Dice(key)
    width = (cells.u_high[i, j] - cells.u_low[i, j]) / np.maximum(per_row, 1)
    depth = 0.5 * (cells.v_high[i, j] - cells.v_low[i, j])
    district = plan.district[i, j]
    use = _choose_use(dice, district, width, depth)
    half_x, half_y, setback = _house_size(dice, use, width, depth)
    room = np.maximum(0.5 * width - 1.8 - half_x, 0.0)
    shift = np.where(use == PlotUse.HOUSE, dice.between("house shift", -1.0, 1.0) * room, 0.0)
    behind = depth - setback - 2.0 * half_y
    return Plots(
        seed=plan.seed,
        i=i,
        j=j,
        key=key,
        use=use,
        district=district,
        u_middle=cells.u_low[i, j] + (slot + 0.5) * width,
        width=width,
        v_front=np.where(row == 0, cells.v_low[i, j], cells.v_high[i, j]),
        toward=np.where(row == 0, 1.0, -1.0),
        depth=depth,
        house_half_x=half_x,
        house_half_y=half_y,
        house_shift=shift,
        setback=setback,
        has_pool=(use == PlotUse.HOUSE) & dice.chance("pool", 0.16) & (behind > 12.0),
    )


def drop_wet_plots(plots: Plots, terrain: Terrain) -> Plots:
    """The same plots, with gardens instead of buildings where the river is too near."""
    middle = plots.v_front + plots.toward * (plots.setback + plots.house_half_y)
    center = np.stack(warp_from_plan(plots.seed, plots.u_middle + plots.toward * plots.house_shift, middle), axis=1)
    wet = terrain.sample(center).river_m < RIVER_CLEARANCE_M
    return replace(
        plots,
        use=np.where(wet, PlotUse.GARDEN, plots.use),
        house_half_x=np.where(wet, 0.0, plots.house_half_x),
        house_half_y=np.where(wet, 0.0, plots.house_half_y),
        has_pool=plots.has_pool & ~wet,
    )


def _choose_use(
    dice: Dice, district: Int[np.ndarray, "n"], width: Float[np.ndarray, "n"], depth: Float[np.ndarray, "n"]
) -> Int[np.ndarray, "n"]:
    roll = dice.unit("plot use")
    city = np.where(roll < 0.76, PlotUse.TERRACE, np.where(roll < 0.86, PlotUse.TOWER, PlotUse.PARKING))
    city = np.where(roll > 0.95, PlotUse.GARDEN, city)
    city = np.where((city == PlotUse.TOWER) & ((depth < 24.0) | (width < 17.0)), PlotUse.TERRACE, city)
    city = np.where(depth < 13.0, PlotUse.GARDEN, city)
    village = np.where((roll < 0.9) & (depth > 17.0) & (width > 12.0), PlotUse.HOUSE, PlotUse.GARDEN)
    return np.where(district == District.CITY, city, village).astype(np.int64)


def _house_size(
    dice: Dice, use: Int[np.ndarray, "n"], width: Float[np.ndarray, "n"], depth: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Half sides of the main building and its distance from the front, by use."""
    kinds = [use == PlotUse.HOUSE, use == PlotUse.TERRACE, use == PlotUse.TOWER]
    zero = np.zeros(len(use))
    house_x = np.minimum(dice.between("house x", 4.4, 6.6), 0.5 * width - 1.8)
    half_x = np.select(kinds, [house_x, 0.5 * width, dice.between("tower x", 6.5, 8.0)], zero)
    terrace_y = np.minimum(dice.between("terrace y", 5.2, 6.8), 0.5 * depth - 0.5)
    half_y = np.select(kinds, [dice.between("house y", 3.6, 4.6), terrace_y, dice.between("tower y", 6.5, 8.5)], zero)
    setback = np.select(kinds, [dice.between("setback", 3.5, 6.5), zero + 0.3, dice.between("setback", 3.0, 5.0)], zero)
    return half_x, half_y, setback
