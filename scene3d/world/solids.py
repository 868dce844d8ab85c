"""Owns the two kinds of solid that stand on the ground, blocks with a roof and balls: records, meshes, distances."""

from dataclasses import dataclass, fields, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int, UInt32

# Vertices of a block: bottom 0-3, eaves 4-7, top 8-11, each counter-clockwise from local (-x, -y).
_FACES = (
    ((0, 1, 5), (0, 5, 4)),  # wall at local -y
    ((1, 2, 6), (1, 6, 5)),  # wall at +x
    ((2, 3, 7), (2, 7, 6)),  # wall at +y
    ((3, 0, 4), (3, 4, 7)),  # wall at -x
    ((4, 5, 9), (4, 9, 8)),  # slope towards -y
    ((6, 7, 11), (6, 11, 10)),  # slope towards +y
    ((5, 6, 10), (5, 10, 9)),  # slope towards +x: hip or gable
    ((7, 4, 8), (7, 8, 11)),  # slope towards -x
    ((8, 9, 10), (8, 10, 11)),  # top
    ((3, 2, 1), (3, 1, 0)),  # bottom
)
BLOCK_TRIANGLES = np.array([triangle for face in _FACES for triangle in face])
TRIANGLE_FACES = np.array([index for index, face in enumerate(_FACES) for _ in face])
FIRST_ROOF_FACE = 4
TOP_FACE = 8
BOTTOM_FACE = 9
_GABLE_OVER_WALL = np.array([4, 6, 5, 7])
_FACE_NORMALS = np.array(
    [
        (0, -1, 0), (1, 0, 0), (0, 1, 0), (-1, 0, 0),
        (0, -1, 0), (0, 1, 0), (1, 0, 0), (-1, 0, 0),
        (0, 0, 1), (0, 0, -1),
    ]
)  # fmt: skip
"""Local directions of the faces; a slope's is where it leans to."""


class Material(IntEnum):
    """What a block is made of, which decides how it is painted and its class."""

    HOUSE = 0
    TERRACE = 1
    TOWER = 2
    TILES = 3
    METAL = 4
    FLAT_ROOF = 5
    CHIMNEY = 6
    WOOD = 7
    HEDGE = 8
    CAR_BODY = 9
    CAR_CABIN = 10
    FURNITURE = 11
    SHED = 12
    PARAPET = 13


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """Boxes turned about the vertical, each topped by a roof whose sides slope up to a smaller rectangle."""

    center: Float[np.ndarray, "n 2"]
    axis: Float[np.ndarray, "n 2"]
    """Unit vector of the local x direction; local y is a quarter turn to the left of it."""

    half: Float[np.ndarray, "n 2"]
    z_low: Float[np.ndarray, "n"]
    z_eave: Float[np.ndarray, "n"]
    z_top: Float[np.ndarray, "n"]
    top_half: Float[np.ndarray, "n 2"]
    """Half sides of the top: (half x, 0) is a gable, (less, 0) a hip, (0, 0) a pyramid, `half` itself a flat top."""

    ground_z: Float[np.ndarray, "n"]
    """Where windows and doors count their height from."""

    material: Int[np.ndarray, "n"]
    color: Float[np.ndarray, "n 3"]
    trim: Float[np.ndarray, "n 3"]
    """Second colour: the wall under a gable."""

    key: UInt32[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.center)

    def vertices(self) -> Float[np.ndarray, "n 12 3"]:
        """World coordinates in the order of BLOCK_TRIANGLES."""
        signs_x, signs_y = np.array([-1.0, 1.0, 1.0, -1.0]), np.array([-1.0, -1.0, 1.0, 1.0])
        lower_x, lower_y = self.half[:, :1] * signs_x, self.half[:, 1:] * signs_y
        local_x = np.concatenate([lower_x, lower_x, self.top_half[:, :1] * signs_x], axis=1)
        local_y = np.concatenate([lower_y, lower_y, self.top_half[:, 1:] * signs_y], axis=1)
        z = np.repeat(np.stack([self.z_low, self.z_eave, self.z_top], axis=1), 4, axis=1)
        axis_x, axis_y = self.axis[:, :1], self.axis[:, 1:]
        x = self.center[:, :1] + local_x * axis_x - local_y * axis_y
        y = self.center[:, 1:] + local_x * axis_y + local_y * axis_x
        return np.stack([x, y, z], axis=2)

    def triangles(self) -> Float[np.ndarray, "n 20 3 3"]:
        """Every block's surface, counter-clockwise from outside; a simple roof leaves some without area."""
        return self.vertices()[:, BLOCK_TRIANGLES]

    def to_local(self, index: Int[np.ndarray, "m"], points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 2"]:
        """Horizontal coordinates of points in the frames of blocks `index`."""
        shifted = points[:, :2] - self.center[index]
        axis = self.axis[index]
        along = shifted[:, 0] * axis[:, 0] + shifted[:, 1] * axis[:, 1]
        across = shifted[:, 1] * axis[:, 0] - shifted[:, 0] * axis[:, 1]
        return np.stack([along, across], axis=1)

    def distance(self, index: Int[np.ndarray, "m"], points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m"]:
        """Signed distance of each point to its block, negative inside.

        Exact for flat blocks and inside any block; near the edges of a sloped roof, outside, it is a lower bound.
        """
        local = np.abs(self.to_local(index, points))
        half, z = self.half[index], points[:, 2]
        low, eave, top = self.z_low[index], self.z_eave[index], self.z_top[index]
        beside_x, beside_y = local[:, 0] - half[:, 0], local[:, 1] - half[:, 1]
        beside_z = np.maximum(low - z, z - top)
        outside = np.sqrt(np.maximum(beside_x, 0) ** 2 + np.maximum(beside_y, 0) ** 2 + np.maximum(beside_z, 0) ** 2)
        box = outside + np.minimum(np.maximum(np.maximum(beside_x, beside_y), beside_z), 0)
        run = half - self.top_half[index]
        slope_x = _slope_distance(beside_x, z - eave, top - eave, run[:, 0])
        slope_y = _slope_distance(beside_y, z - eave, top - eave, run[:, 1])
        return np.maximum(box, np.maximum(slope_x, slope_y))

    def find_faces(
        self, index: Int[np.ndarray, "m"], points: Float[np.ndarray, "m 3"]
    ) -> tuple[Int[np.ndarray, "m"], Float[np.ndarray, "m 3"]]:
        """The face of its block nearest to each point near the surface, and the face's outward normal."""
        local, half, z = self.to_local(index, points), self.half[index], points[:, 2]
        rise, run = self.z_top[index] - self.z_eave[index], half - self.top_half[index]
        above = z - self.z_eave[index]
        walls, slopes = [], []
        # In the order of the faces: walls -y, +x, +y, -x; slopes -y, +y, +x, -x.
        for axis, sign in ((1, -1), (0, 1), (1, 1), (0, -1)):
            walls.append(sign * local[:, axis] - half[:, axis])
        for axis, sign in ((1, -1), (1, 1), (0, 1), (0, -1)):
            slopes.append(_slope_distance(sign * local[:, axis] - half[:, axis], above, rise, run[:, axis]))
        planes = np.stack([*walls, *slopes, z - self.z_top[index], self.z_low[index] - z])
        face = planes.argmax(axis=0)
        # A wall's plane above the eave is a gable.
        gable = (face < FIRST_ROOF_FACE) & (above > 0) & (rise > 0)
        face = np.where(gable, _GABLE_OVER_WALL[face % FIRST_ROOF_FACE], face)
        tilt = _FACE_NORMALS[face]
        across = np.where(tilt[:, 0] != 0, run[:, 0], run[:, 1])
        sloped = (face >= FIRST_ROOF_FACE) & (face < TOP_FACE)
        length = np.where(sloped, np.sqrt(rise**2 + across**2), 1.0)
        level = tilt[:, :2] * np.where(sloped, rise / length, 1.0)[:, None]
        up = np.where(sloped, across / length, tilt[:, 2])
        axis_x, axis_y = self.axis[index].T
        normal_x = level[:, 0] * axis_x - level[:, 1] * axis_y
        return face, np.stack([normal_x, level[:, 0] * axis_y + level[:, 1] * axis_x, up], axis=1)

    def boxes(self) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        """Lowest and highest corner of each block's bounding box."""
        corners = self.vertices()
        return corners.min(axis=1), corners.max(axis=1)

    def select(self, keep: Bool[np.ndarray, "n"] | Int[np.ndarray, "m"]) -> "Blocks":
        """Some of the blocks."""
        return replace(self, **{field.name: getattr(self, field.name)[keep] for field in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Balls:
    """Spheres: the clumps of leaves in a crown."""

    center: Float[np.ndarray, "n 3"]
    radius: Float[np.ndarray, "n"]
    color: Float[np.ndarray, "n 3"]
    crown_low: Float[np.ndarray, "n"]
    """Lowest height of the crown that the ball belongs to."""

    crown_high: Float[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.center)

    def distance(self, index: Int[np.ndarray, "m"], points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m"]:
        """Exact signed distance of each point to its ball."""
        return np.sqrt(((points - self.center[index]) ** 2).sum(axis=1)) - self.radius[index]

    def boxes(self) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
        """Lowest and highest corner of each ball's bounding box."""
        return self.center - self.radius[:, None], self.center + self.radius[:, None]

    def select(self, keep: Bool[np.ndarray, "n"] | Int[np.ndarray, "m"]) -> "Balls":
        """Some of the balls."""
        return replace(self, **{field.name: getattr(self, field.name)[keep] for field in fields(self)})


def join_blocks(parts: list[Blocks]) -> Blocks:
    """All blocks of several records, in order."""
    return Blocks(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Blocks)})


def join_balls(parts: list[Balls]) -> Balls:
    """All balls of several records, in order."""
    return Balls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Balls)})


def _slope_distance(
    beside: Float[np.ndarray, "m"],
    above: Float[np.ndarray, "m"],
    rise: Float[np.ndarray, "m"],
    run: Float[np.ndarray, "m"],
) -> Float[np.ndarray, "m"]:
    """Distance to the plane through the eave that climbs `rise` over `run`; minus infinity where there is none."""
    length = np.sqrt(rise**2 + run**2)
    real = (rise > 0) & (run > 0)
    return np.where(real, (beside * rise + above * run) / np.where(real, length, 1.0), -np.inf)
