"""Owns the world as a function of its seed, and rectangular crops of it with every solid that reaches into them."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int

from scene3d.world.bins import SolidBins, bin_boxes
from scene3d.world.buildings import make_buildings
from scene3d.world.plots import CellInteriors, Plots, drop_wet_plots, find_interiors, make_plots
from scene3d.world.props import make_props
from scene3d.world.solids import Balls, Blocks, join_blocks
from scene3d.world.streets import District, StreetPlan, make_street_plan, warp_from_plan
from scene3d.world.terrain import WATER_LEVEL_M, Bounds, Terrain, make_terrain
from scene3d.world.trees import make_trees

REACH_M = 6.0
"""Distances are exact up to this, and cut off there."""

_CELL_MARGIN_M = 140.0
"""A cell that touches a crop reaches at most this far outside: the largest cell's side and the warp."""


class PartKind(IntEnum):
    """Which of a crop's parts a point of the surface belongs to."""

    NONE = -1
    LAND = 0
    WATER = 1
    BLOCK = 2
    BALL = 3


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The surface nearest to some points."""

    distance: Float[np.ndarray, "n"]
    """Signed, negative inside; cut off at -REACH_M and REACH_M."""

    kind: Int[np.ndarray, "n"]
    """A PartKind."""

    index: Int[np.ndarray, "n"]
    """Which block or ball of the crop; 0 for land and water."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A rectangle of the world: the tables of its ground, and the solids in and near it."""

    seed: int
    bounds: Bounds
    terrain: Terrain
    plan: StreetPlan
    cells: CellInteriors
    plots: Plots
    blocks: Blocks
    balls: Balls
    bins: SolidBins

    def height(self, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
        """Height of the land or the water's surface, without what stands on it."""
        return np.maximum(self.terrain.sample(xy).height, WATER_LEVEL_M)

    def nearest(self, points: Float[np.ndarray, "n 3"]) -> Nearest:
        """The nearest surface to each point of the rectangle.

        The distance is exact for balls and flat blocks; for land and the outside of sloped roofs it is a lower
        bound with the right sign.
        """
        ground = self.terrain.sample(points[:, :2])
        # On a slope the nearest point of a plane is closer than the one straight below, by the cosine.
        distance = (points[:, 2] - ground.height) * ground.normal[:, 2]
        over_water = points[:, 2] - WATER_LEVEL_M
        wet = (over_water < distance) & (ground.height < WATER_LEVEL_M)
        distance = np.where(wet, over_water, distance)
        kind = np.where(wet, PartKind.WATER, PartKind.LAND).astype(np.int64)
        index = np.zeros(len(points), np.int64)
        for one_kind, solids in ((PartKind.BLOCK, self.blocks), (PartKind.BALL, self.balls)):
            first = 0 if one_kind is PartKind.BLOCK else len(self.blocks)
            for rows, solid in self.bins.pairs(points, first, first + len(solids)):
                pair_distance = solids.distance(solid - first, points[rows])
                np.minimum.at(distance, rows, pair_distance)
                closest = pair_distance <= distance[rows]
                kind[rows[closest]], index[rows[closest]] = one_kind, solid[closest] - first
        return Nearest(np.clip(distance, -REACH_M, REACH_M), kind, index)

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Signed distance to the surface of the world: see `nearest`."""
        return self.nearest(points).distance


@dataclass(frozen=True, slots=True)
class World:
    """One infinite place: everything about it follows from the seed."""

    seed: int

    def crop(self, bounds: Bounds) -> Crop:
        """A rectangle of it; what two crops share is equal in both, to the last bit."""
        terrain, plan = make_terrain(self.seed, bounds.grown(_CELL_MARGIN_M))
        cells = find_interiors(plan)
        plots = drop_wet_plots(make_plots(plan, cells), terrain)
        buildings = make_buildings(plan, cells, plots, terrain, bounds)
        props = make_props(plan, plots, terrain, bounds)
        trunks, crowns = make_trees(plan, cells, plots, terrain, bounds)
        blocks = join_blocks([*buildings, *props, trunks])
        blocks = blocks.select(_touching(blocks, bounds))
        balls = crowns.select(_touching(crowns, bounds))
        low, high = (np.concatenate(pair) for pair in zip(blocks.boxes(), balls.boxes(), strict=True))
        bins = bin_boxes(low, high, REACH_M)
        return Crop(self.seed, bounds, terrain, plan, cells, plots, blocks, balls, bins)

    def height(self, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
        """Height of the land or water at places anywhere."""
        terrain, _ = make_terrain(self.seed, _bounds_of(xy))
        return np.maximum(terrain.sample(xy).height, WATER_LEVEL_M)

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Signed distance to the surface of the world at points anywhere, cut off at REACH_M."""
        return self.crop(_bounds_of(points)).distance(points)

    def find_town(self, near: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
        """A place where city, village and open land meet: a good middle for a capture."""
        reach = 700.0
        plan = make_street_plan(self.seed, (near[0] - reach, near[0] + reach), (near[1] - reach, near[1] + reach))
        district = plan.district
        window = [district[1 + a : district.shape[0] - 1 + a, 1 + b : district.shape[1] - 1 + b]
                  for a in (-1, 0, 1) for b in (-1, 0, 1)]  # fmt: skip
        around = np.stack(window)
        built = sum(np.minimum((around == kind).sum(0), most) for kind, most in _TOWN_MIX.items())
        u = 0.5 * (plan.u_lines[1:-2] + plan.u_lines[2:-1])
        v = 0.5 * (plan.v_lines[1:-2] + plan.v_lines[2:-1])
        away = np.sqrt((u[:, None] - near[0]) ** 2 + (v[None, :] - near[1]) ** 2)
        i, j = np.unravel_index(int((built - 0.001 * away).argmax()), built.shape)
        x, y = warp_from_plan(self.seed, u[i : i + 1], v[j : j + 1])
        return float(x[0]), float(y[0])


_TOWN_MIX = {District.CITY: 3, District.VILLAGE: 3, District.FIELD: 2, District.PARK: 1}
"""The cells of a mixed neighbourhood of nine, each kind counted no further than this."""


def _bounds_of(points: Float[np.ndarray, "n k"]) -> Bounds:
    (x_min, y_min), (x_max, y_max) = points[:, :2].min(axis=0).tolist(), points[:, :2].max(axis=0).tolist()
    return Bounds(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)


def _touching(solids: Blocks | Balls, bounds: Bounds) -> np.ndarray:
    """Solids whose distance or shadow may reach into a rectangle."""
    low, high = solids.boxes()
    near = bounds.grown(30.0)
    inside_x = (high[:, 0] >= near.x_min) & (low[:, 0] < near.x_max)
    return np.asarray(inside_x & (high[:, 1] >= near.y_min) & (low[:, 1] < near.y_max))
