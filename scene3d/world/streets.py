"""Owns the plan of streets: a jittered grid in warped coordinates, the district of each cell, the kind of each street.

The plan lives in (u, v): world (x, y) moved by a smooth warp, so that streets are straight and square in (u, v) and
gently curved in the world.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int, UInt32

from scene3d.world.noise import hash_cells, random_unit, smooth_noise

CELL_PITCH_M = 84.0
LINE_JITTER = 0.2
"""Largest shift of a street from its grid line, as a share of the pitch; below 0.5 lines never cross."""

WARP_M = 9.0
WARP_LENGTH_M = 170.0


class District(IntEnum):
    """What a cell between four streets is used for."""

    PARK = 0
    FIELD = 1
    VILLAGE = 2
    CITY = 3


class StreetKind(IntEnum):
    """What runs along one side of a cell."""

    TRACK = 0
    COUNTRY = 1
    VILLAGE = 2
    CITY = 3


STREET_HALF_M = np.array([1.4, 2.9, 3.1, 4.6])
"""Half width of the carriageway, by kind."""

PAVEMENT_M = np.array([0.0, 0.0, 1.6, 2.8])
"""Width of the pavement on each side, by kind."""


@dataclass(frozen=True, slots=True, eq=False)
class StreetPlan:
    """The cells of one range of the infinite grid, as tables; cell [a, b] is cell (first_i + a, first_j + b)."""

    seed: int
    first_i: int
    first_j: int
    u_lines: Float[np.ndarray, "ni1"]
    v_lines: Float[np.ndarray, "nj1"]
    district: Int[np.ndarray, "ni nj"]
    cell_keys: UInt32[np.ndarray, "ni nj"]
    u_kind: Int[np.ndarray, "ni1 nj"]
    """Kind of the street on line i, beside cells (i - 1, j) and (i, j)."""

    v_kind: Int[np.ndarray, "ni nj1"]
    """Kind of the street on line j, beside cells (i, j - 1) and (i, j)."""

    def locate(self, u: Float[np.ndarray, "n"], v: Float[np.ndarray, "n"]) -> "PlanSpots":
        """The cell and the four streets around each place; places must lie inside the tables."""
        i, j = _find_interval(self.u_lines, u), _find_interval(self.v_lines, v)
        offsets = np.stack([u - self.u_lines[i], self.u_lines[i + 1] - u, v - self.v_lines[j], self.v_lines[j + 1] - v])
        kinds = np.stack([self.u_kind[i, j], self.u_kind[i + 1, j], self.v_kind[i, j], self.v_kind[i, j + 1]])
        return PlanSpots(i=i, j=j, offsets=offsets, kinds=kinds)


@dataclass(frozen=True, slots=True, eq=False)
class PlanSpots:
    """Where places lie in the plan: table indices, distance and kind of the streets at u low, u high, v low, v high."""

    i: Int[np.ndarray, "n"]
    j: Int[np.ndarray, "n"]
    offsets: Float[np.ndarray, "4 n"]
    kinds: Int[np.ndarray, "4 n"]


def make_street_plan(seed: int, u_range: tuple[float, float], v_range: tuple[float, float]) -> StreetPlan:
    """The plan of all cells that touch a rectangle of (u, v)."""
    first_i, last_i = (int(np.floor(edge / CELL_PITCH_M)) + shift for edge, shift in zip(u_range, (-1, 1), strict=True))
    first_j, last_j = (int(np.floor(edge / CELL_PITCH_M)) + shift for edge, shift in zip(v_range, (-1, 1), strict=True))
    i, j = np.arange(first_i, last_i + 1), np.arange(first_j, last_j + 1)
    ring = _district(seed, np.arange(first_i - 1, last_i + 2), np.arange(first_j - 1, last_j + 2))
    i_lines, j_lines = np.append(i, last_i + 1), np.append(j, last_j + 1)
    u_kind = _street_kind(np.maximum(ring[:-1, 1:-1], ring[1:, 1:-1]), _is_main(seed, "u", i_lines)[:, None])
    v_kind = _street_kind(np.maximum(ring[1:-1, :-1], ring[1:-1, 1:]), _is_main(seed, "v", j_lines)[None, :])
    return StreetPlan(
        seed=seed,
        first_i=first_i,
        first_j=first_j,
        u_lines=_line(seed, "u", i_lines),
        v_lines=_line(seed, "v", j_lines),
        district=ring[1:-1, 1:-1],
        cell_keys=hash_cells(seed, "cell", i[:, None], j[None, :]),
        u_kind=u_kind,
        v_kind=v_kind,
    )


def warp_to_plan(
    seed: int, x: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """World (x, y) to plan (u, v)."""
    across, along = x / WARP_LENGTH_M, y / WARP_LENGTH_M
    return x + WARP_M * smooth_noise(seed, "warp u", across, along), y + WARP_M * smooth_noise(
        seed, "warp v", across, along
    )


def warp_from_plan(
    seed: int, u: Float[np.ndarray, "..."], v: Float[np.ndarray, "..."]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Plan (u, v) to world (x, y), to a fraction of a millimetre."""
    x, y = u, v
    # The warp's slope stays below 0.2, so each round gains more than half a digit.
    for _ in range(10):
        u_now, v_now = warp_to_plan(seed, x, y)
        x, y = x + (u - u_now), y + (v - v_now)
    return x, y


def _find_interval(lines: Float[np.ndarray, "k"], values: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    return np.clip(np.searchsorted(lines, values, side="right") - 1, 0, len(lines) - 2)


def _line(seed: int, axis: str, index: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    jitter = random_unit(seed, f"line {axis}", index) * 2.0 - 1.0
    return CELL_PITCH_M * (index + LINE_JITTER * jitter)


def _is_main(seed: int, axis: str, index: Int[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    return random_unit(seed, f"main {axis}", index) < 0.45


def _district(seed: int, i: Int[np.ndarray, "ni"], j: Int[np.ndarray, "nj"]) -> Int[np.ndarray, "ni nj"]:
    column, row = i[:, None], j[None, :]
    density = smooth_noise(seed, "density", (column + 0.5) / 2.6, (row + 0.5) / 2.6)
    density = density + 0.22 * (2.0 * random_unit(seed, "density jitter", column, row) - 1.0)
    open_land = np.where(random_unit(seed, "open land", column, row) < 0.35, District.PARK, District.FIELD)
    return np.where(density > 0.2, District.CITY, np.where(density > -0.28, District.VILLAGE, open_land)).astype(
        np.int64
    )


def _street_kind(denser: Int[np.ndarray, "a b"], main: Bool[np.ndarray, "c d"]) -> Int[np.ndarray, "a b"]:
    country = np.where(main, StreetKind.COUNTRY, StreetKind.TRACK)
    built = np.where(denser == District.CITY, StreetKind.CITY, StreetKind.VILLAGE)
    return np.where(denser >= District.VILLAGE, built, country).astype(np.int64)
