"""Owns the seeded randomness of space: hashes of integer cells and smooth noise, the same on every machine.

Only additions, multiplications, divisions and square roots are used, which IEEE rounds exactly: a value never depends
on how many others were asked for beside it, so two crops of the world agree to the last bit.
"""

import zlib
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped, UInt32

TABLE_SIDE = 256


def hash_cells(seed: int, salt: str, *coordinates: int | Shaped[np.ndarray, "..."]) -> UInt32[np.ndarray, "..."]:
    """One well mixed 32-bit number per integer cell.

    Args:
        seed: The world.
        salt: What the number is for; other salts give unrelated numbers.
        coordinates: Integers that broadcast against each other.
    """
    start = (zlib.crc32(salt.encode()) ^ (seed * 0x9E3779B1)) & 0xFFFFFFFF
    mixed = np.full((1,), start, np.uint32)
    for coordinate in coordinates:
        cell = np.atleast_1d(np.asarray(coordinate)).astype(np.int64).astype(np.uint32)
        mixed = _mix(mixed * np.uint32(0x85EBCA6B) + cell)
    return mixed


def random_unit(seed: int, salt: str, *coordinates: int | Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """One number in [0, 1) per integer cell."""
    return hash_cells(seed, salt, *coordinates) * 2.0**-32


def smooth_noise(
    seed: int, salt: str, x: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Noise in [-1, 1] with continuous curvature; its lattice has pitch one."""
    x_floor, y_floor = np.floor(x), np.floor(y)
    x_fade, y_fade = _quintic(x - x_floor), _quintic(y - y_floor)
    column, row = x_floor.astype(np.int64), y_floor.astype(np.int64)
    corners = [random_unit(seed, salt, column + i, row + j) for j in (0, 1) for i in (0, 1)]
    near = corners[0] + (corners[1] - corners[0]) * x_fade
    far = corners[2] + (corners[3] - corners[2]) * x_fade
    return (near + (far - near) * y_fade) * 2.0 - 1.0


def detail_noise(
    x: Float[np.ndarray, "n"],
    y: Float[np.ndarray, "n"],
    *,
    wavelength_m: float,
    footprint_m: Float[np.ndarray, "n"] | float = 0.0,
) -> Float32[np.ndarray, "n"]:
    """Fast texture noise in [-1, 1]: it repeats after 256 wavelengths, and fades where a pixel covers a wavelength.

    Args:
        x: First texture coordinate, metres.
        y: Second texture coordinate, metres.
        wavelength_m: Size of one lump.
        footprint_m: Side of the surface patch that one sample stands for.
    """
    table = _table()
    u, v = x * (1.0 / wavelength_m), y * (1.0 / wavelength_m)
    u_floor, v_floor = np.floor(u), np.floor(v)
    u_fade, v_fade = _cubic((u - u_floor).astype(np.float32)), _cubic((v - v_floor).astype(np.float32))
    column = u_floor.astype(np.int64).astype(np.int32) & (TABLE_SIDE - 1)
    row = (v_floor.astype(np.int64).astype(np.int32) & (TABLE_SIDE - 1)) * TABLE_SIDE
    next_column, next_row = (column + 1) & (TABLE_SIDE - 1), (row + TABLE_SIDE) & (TABLE_SIDE * TABLE_SIDE - 1)
    near, far = table[row + column], table[next_row + column]
    near += (table[row + next_column] - near) * u_fade
    far += (table[next_row + next_column] - far) * u_fade
    near += (far - near) * v_fade
    fade = np.clip(1.5 - np.asarray(footprint_m, np.float32) / np.float32(wavelength_m), 0, 1)
    return (near * fade).astype(np.float32)


def detail_noise_3d(
    points: Float[np.ndarray, "n 3"], *, wavelength_m: float, footprint_m: Float[np.ndarray, "n"]
) -> Float32[np.ndarray, "n"]:
    """The same through space: two layers of the flat noise, blended."""
    level = points[:, 2] * (1.0 / wavelength_m)
    layer = np.floor(level)
    blend = _cubic((level - layer).astype(np.float32))
    flat = []
    for number in (layer, layer + 1.0):
        # Layers are slices of the one table, far enough apart to have nothing in common.
        shift_x, shift_y = wavelength_m * 37.0 * number, wavelength_m * 101.0 * number
        flat.append(
            detail_noise(
                points[:, 0] + shift_x, points[:, 1] + shift_y, wavelength_m=wavelength_m, footprint_m=footprint_m
            )
        )
    return flat[0] + (flat[1] - flat[0]) * blend


def stripe_coverage(
    position: Float[np.ndarray, "n"],
    *,
    period_m: float | Float[np.ndarray, "n"],
    width_m: float | Float[np.ndarray, "n"],
    footprint_m: Float[np.ndarray, "n"] | float,
) -> Float[np.ndarray, "n"]:
    """Share of a sample's footprint that lies on stripes [0, width) of a periodic pattern: an exact box filter."""
    footprint = np.maximum(footprint_m, 1e-3)
    upper = _stripes_before(position + 0.5 * footprint, period_m, width_m)
    lower = _stripes_before(position - 0.5 * footprint, period_m, width_m)
    return np.clip((upper - lower) / footprint, 0, 1)


def step_coverage(
    position: Float[np.ndarray, "n"], footprint_m: Float[np.ndarray, "n"] | float
) -> Float[np.ndarray, "n"]:
    """Share of a sample's footprint with `position` below zero: an exact box filter of an edge."""
    return np.clip(0.5 - position / np.maximum(footprint_m, 1e-3), 0, 1)


def choose(keys: UInt32[np.ndarray, "n"], salt: str, count: int) -> Int[np.ndarray, "n"]:
    """An index in 0..count-1 for each key."""
    return (random_unit(0, salt, keys) * count).astype(np.int64)


def _stripes_before(
    position: Float[np.ndarray, "n"],
    period: float | Float[np.ndarray, "n"],
    width: float | Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n"]:
    turns = np.floor(position / period)
    return turns * width + np.minimum(position - turns * period, width)


def _mix(x: UInt32[np.ndarray, "..."]) -> UInt32[np.ndarray, "..."]:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def _quintic(t: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return t * t * t * (t * (t * 6.0 - 15.0) + 10.0)


def _cubic(t: Float32[np.ndarray, "n"]) -> Float32[np.ndarray, "n"]:
    return t * t * (np.float32(3.0) - np.float32(2.0) * t)


@lru_cache(maxsize=1)
def _table() -> Float32[np.ndarray, "k"]:
    index = np.arange(TABLE_SIDE * TABLE_SIDE)
    return (random_unit(0, "texture table", index) * 2.0 - 1.0).astype(np.float32)
