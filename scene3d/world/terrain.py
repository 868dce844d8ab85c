"""Owns the ground: hills and river valleys on one global triangulated lattice.

The ground is defined as the piecewise linear surface over the lattice, so triangles, heights and distances agree
exactly and every crop cuts the same surface.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from scene3d.world.noise import smooth_noise
from scene3d.world.streets import STREET_HALF_M, StreetPlan, make_street_plan, warp_to_plan

LATTICE_PITCH_M = 4.0
WATER_LEVEL_M = -0.9
"""Everything lower than this is under water, everywhere in the world."""

HILL_HEIGHT_M = 17.0
RIVER_HALF_M = 7.0
RIVER_BED_M = -2.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A rectangle of ground with sides along x and y, metres."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @classmethod
    def around(cls, center: tuple[float, float], half_m: float) -> "Bounds":
        """The square with this centre and half side."""
        x, y = center
        return cls(x_min=x - half_m, y_min=y - half_m, x_max=x + half_m, y_max=y + half_m)

    def grown(self, margin_m: float) -> "Bounds":
        """The same rectangle with its sides moved outward."""
        return Bounds(
            x_min=self.x_min - margin_m,
            y_min=self.y_min - margin_m,
            x_max=self.x_max + margin_m,
            y_max=self.y_max + margin_m,
        )

    def contains(self, points: Float[np.ndarray, "n k"]) -> np.ndarray:
        """Which points lie inside, by their first two coordinates."""
        x, y = points[:, 0], points[:, 1]
        return np.asarray((x >= self.x_min) & (x < self.x_max) & (y >= self.y_min) & (y < self.y_max))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroundSamples:
    """The ground at some places."""

    height: Float[np.ndarray, "n"]
    """Height of the land or river bed; the water's surface is at WATER_LEVEL_M where that is higher."""

    normal: Float[np.ndarray, "n 3"]
    """Smoothed upward normal, for shading."""

    u: Float[np.ndarray, "n"]
    v: Float[np.ndarray, "n"]
    river_m: Float[np.ndarray, "n"]
    """Distance to the middle of the nearest river, roughly."""


@dataclass(frozen=True, slots=True, eq=False)
class Terrain:
    """A range of the lattice; vertex [b, a] lies at x = (first_column + a) * pitch, y = (first_row + b) * pitch."""

    first_column: int
    first_row: int
    vertices: Float[np.ndarray, "rows columns 6"]
    """Height, normal x, normal y (of a normal with z = 1), plan u, plan v, distance to the river."""

    def sample(self, xy: Float[np.ndarray, "n 2"]) -> GroundSamples:
        """The ground at places inside the range, interpolated over the lattice's triangles."""
        # The place within a cell is found before the range's first cell is taken off: it must not depend on the range.
        scaled = xy / LATTICE_PITCH_M
        cell = np.floor(scaled)
        along, across = (scaled - cell)[:, :1], (scaled - cell)[:, 1:]
        rows, columns, _ = self.vertices.shape
        first = [self.first_column, self.first_row]
        column, row = np.clip(cell.astype(np.int64) - first, 0, [columns - 2, rows - 2]).T
        flat = self.vertices.reshape(-1, 6)
        corner = row * columns + column
        low, high = flat[corner], flat[corner + columns + 1]
        middle = flat[corner + np.where(along[:, 0] >= across[:, 0], 1, columns)]
        longer, shorter = np.maximum(along, across), np.minimum(along, across)
        values = low + longer * (middle - low) + shorter * (high - middle)
        length = np.sqrt(values[:, 1] ** 2 + values[:, 2] ** 2 + 1.0)
        normal = np.stack([values[:, 1] / length, values[:, 2] / length, 1.0 / length], axis=1)
        return GroundSamples(height=values[:, 0], normal=normal, u=values[:, 3], v=values[:, 4], river_m=values[:, 5])

    def triangles(self) -> Float[np.ndarray, "t 3 3"]:
        """The land's triangles, two for each lattice cell, counter-clockwise from above."""
        return self._two_per_cell(self._corners(self.vertices[:, :, 0]))

    def water_triangles(self) -> Float[np.ndarray, "t 3 3"]:
        """The water's surface over every cell that has a vertex under water."""
        height = self.vertices[:, :, 0]
        lowest = np.minimum(np.minimum(height[:-1, :-1], height[1:, :-1]), np.minimum(height[:-1, 1:], height[1:, 1:]))
        corners = self._corners(np.full(height.shape, WATER_LEVEL_M))
        wet = np.repeat((lowest < WATER_LEVEL_M).reshape(-1), 2)
        return self._two_per_cell(corners)[wet]

    def _corners(self, height: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns 3"]:
        rows, columns = height.shape
        x = (self.first_column + np.arange(columns)) * LATTICE_PITCH_M
        y = (self.first_row + np.arange(rows)) * LATTICE_PITCH_M
        return np.stack([*np.broadcast_arrays(x[None, :], y[:, None]), height], axis=2)

    def _two_per_cell(self, corners: Float[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "t 3 3"]:
        low, right = corners[:-1, :-1], corners[:-1, 1:]
        high, left = corners[1:, 1:], corners[1:, :-1]
        pair = np.stack([np.stack([low, right, high], axis=2), np.stack([low, high, left], axis=2)], axis=2)
        return pair.reshape(-1, 3, 3)


def make_terrain(seed: int, bounds: Bounds) -> tuple[Terrain, StreetPlan]:
    """The lattice that covers a rectangle, and the plan of the streets on it."""
    first_column, last_column = _lattice_range(bounds.x_min, bounds.x_max)
    first_row, last_row = _lattice_range(bounds.y_min, bounds.y_max)
    # One ring more on each side, for the normals.
    x = np.arange(first_column - 1, last_column + 2) * LATTICE_PITCH_M
    y = np.arange(first_row - 1, last_row + 2) * LATTICE_PITCH_M
    grid_x, grid_y = np.broadcast_arrays(x[None, :], y[:, None])
    u, v = warp_to_plan(seed, grid_x, grid_y)
    plan = make_street_plan(seed, (float(u.min()), float(u.max())), (float(v.min()), float(v.max())))
    river_m = _river_distance(seed, grid_x, grid_y)
    height = _height(seed, grid_x, grid_y, river_m, _street_distance(plan, u, v))
    slope_x = (height[1:-1, 2:] - height[1:-1, :-2]) / (2.0 * LATTICE_PITCH_M)
    slope_y = (height[2:, 1:-1] - height[:-2, 1:-1]) / (2.0 * LATTICE_PITCH_M)
    inner = [one[1:-1, 1:-1] for one in (height, u, v, river_m)]
    vertices = np.stack([inner[0], -slope_x, -slope_y, *inner[1:]], axis=2)
    return Terrain(first_column=first_column, first_row=first_row, vertices=vertices), plan


def _lattice_range(low: float, high: float) -> tuple[int, int]:
    return int(np.floor(low / LATTICE_PITCH_M)), int(np.ceil(high / LATTICE_PITCH_M)) + 1


def _river_distance(seed: int, x: Float[np.ndarray, "a b"], y: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
    """Distance to the zero line of a noise, to first order: value over slope."""
    step = 3.0
    value = _river_value(seed, x, y)
    slope_x = (_river_value(seed, x + step, y) - _river_value(seed, x - step, y)) / (2.0 * step)
    slope_y = (_river_value(seed, x, y + step) - _river_value(seed, x, y - step)) / (2.0 * step)
    return np.abs(value) / np.sqrt(slope_x**2 + slope_y**2 + 0.0015**2)


def _river_value(seed: int, x: Float[np.ndarray, "a b"], y: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
    wide = smooth_noise(seed, "river wide", x / 460.0, y / 460.0)
    return wide + 0.16 * smooth_noise(seed, "river narrow", x / 130.0, y / 130.0)


def _street_distance(
    plan: StreetPlan, u: Float[np.ndarray, "a b"], v: Float[np.ndarray, "a b"]
) -> Float[np.ndarray, "a b"]:
    """Distance to the edge of the nearest carriageway; negative on it."""
    spots = plan.locate(u.reshape(-1), v.reshape(-1))
    return (spots.offsets - STREET_HALF_M[spots.kinds]).min(axis=0).reshape(u.shape)


def _height(
    seed: int,
    x: Float[np.ndarray, "a b"],
    y: Float[np.ndarray, "a b"],
    river_m: Float[np.ndarray, "a b"],
    street_m: Float[np.ndarray, "a b"],
) -> Float[np.ndarray, "a b"]:
    hills = 0.75 * smooth_noise(seed, "hills wide", x / 290.0, y / 290.0)
    hills = hills + 0.25 * smooth_noise(seed, "hills narrow", x / 110.0, y / 110.0)
    valley = _ramp((river_m - RIVER_HALF_M - 6.0) / 130.0)
    land = HILL_HEIGHT_M * (0.5 + 0.5 * hills) * valley
    bumps = 0.12 * smooth_noise(seed, "bumps", x / 11.0, y / 11.0) * _ramp((street_m - 4.0) / 10.0)
    bed = RIVER_BED_M * (1.0 - _ramp((river_m - RIVER_HALF_M + 3.0) / 7.0))
    # A street crosses the river on a causeway: the bed is not dug near it.
    return land + bumps + bed * _ramp((street_m - 4.0) / 6.0)


def _ramp(t: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
