"""Owns putting things at places of the street plan: upright frames on the ground, and blocks built in them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt32

from scene3d.world.noise import random_unit
from scene3d.world.solids import Blocks, Material
from scene3d.world.streets import warp_from_plan
from scene3d.world.terrain import Bounds, Terrain

_AXIS_STEP_M = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Dice:
    """Random attributes of things, drawn from their keys."""

    keys: UInt32[np.ndarray, "n"]

    def unit(self, salt: str) -> Float[np.ndarray, "n"]:
        """In [0, 1)."""
        return random_unit(0, salt, self.keys)

    def between(self, salt: str, low: float, high: float) -> Float[np.ndarray, "n"]:
        """Evenly in [low, high)."""
        return low + (high - low) * self.unit(salt)

    def chance(self, salt: str, probability: float) -> Bool[np.ndarray, "n"]:
        """True for this share."""
        return self.unit(salt) < probability

    def pick(self, salt: str, rows: Float[np.ndarray, "k c"]) -> Float[np.ndarray, "n c"]:
        """One row of a table for each key."""
        return rows[(self.unit(salt) * len(rows)).astype(np.int64)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames:
    """Upright local frames: x along `axis`, y a quarter turn to its left, z from the ground at the centre."""

    center: Float[np.ndarray, "n 2"]
    axis: Float[np.ndarray, "n 2"]
    ground_z: Float[np.ndarray, "n"]
    river_m: Float[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.center)

    def select(self, keep: Bool[np.ndarray, "n"] | Int[np.ndarray, "m"]) -> "Frames":
        """Some of the frames."""
        return Frames(
            center=self.center[keep], axis=self.axis[keep], ground_z=self.ground_z[keep], river_m=self.river_m[keep]
        )

    def to_world(self, x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 2"]:
        """Local (x, y) of each frame in world coordinates."""
        return self.center + x[:, None] * self.axis + y[:, None] * turn_left(self.axis)


@dataclass(frozen=True, slots=True, eq=False)
class Roof:
    """The part of a block above its eave. The insets say how much smaller its top is; a ridge when not given."""

    rise: Float[np.ndarray, "n"] | float
    end_inset: Float[np.ndarray, "n"] | float = 0.0
    """At the ends of the ridge: 0 makes a gable."""

    side_inset: Float[np.ndarray, "n"] | float = np.inf
    """On both sides of the ridge."""


def turn_left(axis: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Each vector a quarter turn counter-clockwise."""
    return np.stack([-axis[:, 1], axis[:, 0]], axis=1)


def find_near(
    seed: int, bounds: Bounds, u: Float[np.ndarray, "n"], v: Float[np.ndarray, "n"], margin_m: float
) -> Int[np.ndarray, "k"]:
    """Indices of the plan places that lie in a world rectangle grown by a margin."""
    # The warp moves nothing further than this, so most places are sorted out before the costly inverse.
    roughly = np.flatnonzero(bounds.grown(margin_m + 12.0).contains(np.stack([u, v], axis=1)))
    xy = np.stack(warp_from_plan(seed, u[roughly], v[roughly]), axis=1)
    return roughly[bounds.grown(margin_m).contains(xy)]


def place_frames(
    seed: int,
    terrain: Terrain,
    u: Float[np.ndarray, "n"],
    v: Float[np.ndarray, "n"],
    direction: Float[np.ndarray, "n 2"],
) -> Frames:
    """Frames at plan places, their x axis along a direction of the plan (turned as the warp turns it)."""
    center = np.stack(warp_from_plan(seed, u, v), axis=1)
    reach = direction * _AXIS_STEP_M
    ahead = np.stack(warp_from_plan(seed, u + reach[:, 0], v + reach[:, 1]), axis=1)
    behind = np.stack(warp_from_plan(seed, u - reach[:, 0], v - reach[:, 1]), axis=1)
    axis = ahead - behind
    axis = axis / np.sqrt((axis**2).sum(axis=1, keepdims=True))
    ground = terrain.sample(center)
    return Frames(center=center, axis=axis, ground_z=ground.height, river_m=ground.river_m)


Length = Float[np.ndarray, "n"] | float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """Where a block lies in its frame, and its size, metres; each number is one for all frames or one for each."""

    half: tuple[Length, Length]
    """Half sides along the frame's x and y."""

    z: tuple[Length, Length]
    """Bottom and eave above the frame's ground."""

    offset: tuple[Length, Length] = (0.0, 0.0)
    """Centre in the frame."""

    roof: Roof | None = None
    """What stands on the eave; nothing makes a flat top."""

    turned: Bool[np.ndarray, "n"] | bool = False
    """Where the ridge runs along the frame's y instead of its x."""


def build_blocks(
    frames: Frames,
    dice: Dice,
    shape: Shape,
    *,
    material: Material,
    color: Float[np.ndarray, "n 3"],
    trim: Float[np.ndarray, "n 3"] | None = None,
) -> Blocks:
    """One block in each frame.

    Args:
        frames: Where.
        dice: Keys of the things the blocks belong to.
        shape: The block in its frame.
        material: What they are made of.
        color: Linear light.
        trim: Second colour; the same when not given.
    """
    count = len(frames)

    def spread(value: Length) -> Float[np.ndarray, "n"]:
        return np.broadcast_to(np.asarray(value, np.float64), (count,))

    turned = np.broadcast_to(np.asarray(shape.turned, bool), (count,))
    half_x, half_y = spread(shape.half[0]), spread(shape.half[1])
    half = np.stack([np.where(turned, half_y, half_x), np.where(turned, half_x, half_y)], axis=1)
    roof = Roof(rise=0.0, side_inset=0.0) if shape.roof is None else shape.roof
    inset = np.stack([spread(roof.end_inset), spread(roof.side_inset)], axis=1)
    z_low, z_eave = (frames.ground_z + spread(level) for level in shape.z)
    return Blocks(
        center=frames.to_world(spread(shape.offset[0]), spread(shape.offset[1])),
        axis=np.where(turned[:, None], turn_left(frames.axis), frames.axis),
        half=half,
        z_low=z_low,
        z_eave=z_eave,
        z_top=z_eave + spread(roof.rise),
        top_half=np.maximum(half - inset, 0.0),
        ground_z=frames.ground_z,
        material=np.full(count, int(material), np.int64),
        color=color,
        trim=color if trim is None else trim,
        key=dice.keys,
    )


def linear_light(*colors: str) -> Float[np.ndarray, "k 3"]:
    """Hexadecimal sRGB colours as rows of linear light."""
    encoded = np.array([[int(color[i : i + 2], 16) for i in (0, 2, 4)] for color in colors], np.float64) / 255.0
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def as_bytes(color: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Linear light as 8-bit sRGB."""
    clipped = np.clip(color, 0.0, 1.0)
    encoded = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return (encoded * 255.0 + 0.5).astype(np.uint8)
