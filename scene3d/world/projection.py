"""Owns looking at a crop through a camera or along parallel rays: what lies where in the picture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from scene3d.cameras.camera import Camera
from scene3d.world.crop import Crop, PartKind
from scene3d.world.raster import ProjectedTriangles, SampleBuffer, box_samples, draw_triangles
from scene3d.world.solids import BLOCK_TRIANGLES, TRIANGLE_FACES

NEAR_M = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A crop's surface as triangles and balls; buffer indices count the triangles first, then the balls."""

    crop: Crop
    triangles: Float[np.ndarray, "t 3 3"]
    normals: Float[np.ndarray, "t 3"]
    kind: Int[np.ndarray, "t"]
    """A PartKind."""

    owner: Int[np.ndarray, "t"]
    """Which block; 0 for land and water."""

    face: Int[np.ndarray, "t"]
    """Which face of the block; 0 for land and water."""

    center: Float[np.ndarray, "t 3"]
    radius: Float[np.ndarray, "t"]
    """A ball around each triangle."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParallelView:
    """A picture along parallel rays: pixel (0, 0) starts at `origin` of the (right, down) plane."""

    right: Float[np.ndarray, "3"]
    down: Float[np.ndarray, "3"]
    toward: Float[np.ndarray, "3"]
    """From the scene to the eye."""

    origin: Float[np.ndarray, "2"]
    pixel_m: float
    width: int
    height: int

    def to_pixels(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Where points lie in the picture."""
        plane = np.stack([points @ self.right, points @ self.down], axis=-1)
        return (plane - self.origin) / self.pixel_m


def make_geometry(crop: Crop) -> Geometry:
    """Everything in a crop that can be seen."""
    land, water = crop.terrain.triangles(), crop.terrain.water_triangles()
    block = crop.blocks.triangles().reshape(-1, 3, 3)
    triangles = np.concatenate([land, water, block])
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    length = np.sqrt((cross**2).sum(axis=1, keepdims=True))
    per_block, num_blocks = len(BLOCK_TRIANGLES), len(crop.blocks)
    still = np.zeros(len(land) + len(water), np.int64)
    kinds = ((PartKind.LAND, len(land)), (PartKind.WATER, len(water)), (PartKind.BLOCK, len(block)))
    kind = np.concatenate([np.full(count, int(kind), np.int64) for kind, count in kinds])
    owner = np.concatenate([still, np.repeat(np.arange(num_blocks), per_block)])
    face = np.concatenate([still, np.tile(TRIANGLE_FACES, num_blocks)])
    center = triangles.mean(axis=1)
    # A simple roof does not need all of its block's triangles: those have no area.
    real = length[:, 0] > 1e-9
    return Geometry(
        crop=crop,
        triangles=triangles[real],
        normals=cross[real] / length[real],
        kind=kind[real],
        owner=owner[real],
        face=face[real],
        center=center[real],
        radius=np.sqrt(((triangles - center[:, None]) ** 2).sum(axis=2).max(axis=1))[real],
    )


def draw_camera(geometry: Geometry, camera: Camera) -> SampleBuffer:
    """The nearest part at each pixel centre of a camera; keys are one over depth."""
    buffer = SampleBuffer.empty(camera.width, camera.height)
    rotation, translation = camera.cam_from_world[:3, :3], camera.cam_from_world[:3, 3]
    draw_triangles(buffer, _project_triangles(geometry, camera), key_limit=1 / NEAR_M)
    balls = geometry.crop.balls
    center = balls.center @ rotation.T + translation
    in_view = _find_in_view(center, balls.radius, camera)
    ahead = in_view[center[in_view, 2] > balls.radius[in_view] + NEAR_M]
    center, radius = center[ahead], balls.radius[ahead]
    boxes = _ball_boxes(center, radius, camera.K)
    for ball, x, y in box_samples(buffer, boxes):
        ray_x = (x + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
        ray_y = (y + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
        one = center[ball]
        along = one[:, 0] * ray_x + one[:, 1] * ray_y + one[:, 2]
        length = ray_x * ray_x + ray_y * ray_y + 1.0
        excess = np.einsum("ij,ij->i", one, one) - radius[ball] ** 2
        inside = along * along - length * excess
        hit = np.flatnonzero(inside >= 0)
        # The smaller root of |t ray - centre| = radius, as 1 / t: the larger root of the reversed polynomial.
        key = (along[hit] + np.sqrt(inside[hit])) / excess[hit]
        buffer.keep_nearest((y * buffer.width + x)[hit], key, len(geometry.triangles) + ahead[ball[hit]])
    return buffer


def draw_parallel(geometry: Geometry, view: ParallelView) -> tuple[SampleBuffer, float]:
    """The nearest part at each pixel centre along parallel rays, and what to add to keys to get distance `toward`."""
    buffer = SampleBuffer.empty(view.width, view.height)
    depth = geometry.triangles @ view.toward
    balls = geometry.crop.balls
    ball_depth = balls.center @ view.toward
    lowest = min(float(depth.min()), float((ball_depth - balls.radius).min(initial=np.inf)))
    shift = lowest - 1.0  # keys stay above zero, which means nothing
    pixels = view.to_pixels(geometry.triangles)  # [t, 3, 2]
    draw_triangles(buffer, _flat_triangles(pixels, depth - shift))
    center, radius_px = view.to_pixels(balls.center), balls.radius / view.pixel_m
    boxes = np.concatenate([center - radius_px[:, None], center + radius_px[:, None]], axis=1)
    for ball, x, y in box_samples(buffer, boxes):
        away = (x + 0.5 - center[ball, 0]) ** 2 + (y + 0.5 - center[ball, 1]) ** 2
        inside = radius_px[ball] ** 2 - away
        hit = np.flatnonzero(inside >= 0)
        key = ball_depth[ball[hit]] + np.sqrt(inside[hit]) * view.pixel_m - shift
        buffer.keep_nearest((y * buffer.width + x)[hit], key, len(geometry.triangles) + ball[hit])
    return buffer, shift


def _project_triangles(geometry: Geometry, camera: Camera) -> ProjectedTriangles:
    """Edges and inverse depth without clipping: the rows of the inverse of the three corners' matrix."""
    rotation, translation = camera.cam_from_world[:3, :3], camera.cam_from_world[:3, 3]
    seen = _find_in_view(geometry.center @ rotation.T + translation, geometry.radius, camera)
    corners = geometry.triangles[seen] @ rotation.T + translation
    first, second, third = corners[:, 0], corners[:, 1], corners[:, 2]
    cross = np.stack([np.cross(second, third), np.cross(third, first), np.cross(first, second)], axis=1)
    volume = np.einsum("ij,ij->i", first, cross[:, 0])
    front = np.flatnonzero(
        (volume < -1e-12) & (np.maximum(np.maximum(first[:, 2], second[:, 2]), third[:, 2]) > NEAR_M)
    )
    boxes = _perspective_boxes(corners[front], camera.K)
    edges = (cross[front] / volume[front, None, None]) @ np.linalg.inv(camera.K)
    return ProjectedTriangles(edges=edges, keys=edges.sum(axis=1), boxes=boxes, index=seen[front])


def _find_in_view(
    center: Float[np.ndarray, "n 3"], radius: Float[np.ndarray, "n"], camera: Camera
) -> Int[np.ndarray, "k"]:
    """Balls, in the camera's frame, that may reach into the picture."""
    inside = center[:, 2] > NEAR_M - radius
    for axis, side in ((0, camera.width), (1, camera.height)):
        focal, middle = camera.K[axis, axis], camera.K[axis, 2]
        for sign, edge in ((-1.0, middle), (1.0, side - middle)):
            # Distance to the plane through the eye and this edge of the picture.
            beyond = sign * center[:, axis] * focal - center[:, 2] * edge
            inside &= beyond <= radius * np.sqrt(focal**2 + edge**2)
    return np.flatnonzero(inside)


def _perspective_boxes(corners: Float[np.ndarray, "t 3 3"], K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "t 4"]:
    """Pixel boxes of what lies beyond the near plane."""
    # [3 corners, 3 axes, t]: long rows make the reductions fast.
    one = np.ascontiguousarray(corners.transpose(1, 2, 0))
    following = one[[1, 2, 0]]
    z, next_z = one[:, 2], following[:, 2]
    crossed = (z > NEAR_M) != (next_z > NEAR_M)
    share = (NEAR_M - z) / np.where(crossed, next_z - z, 1.0)
    cut = one + share[:, None] * (following - one)
    points = np.concatenate([one, cut])  # [6, 3, t]
    valid = np.concatenate([z > NEAR_M, crossed])  # [6, t]
    depth = np.where(valid, np.maximum(points[:, 2], NEAR_M), 1.0)
    columns = []
    for fold, empty in ((np.minimum, np.inf), (np.maximum, -np.inf)):
        for axis in (0, 1):
            pixels = points[:, axis] / depth * K[axis, axis] + K[axis, 2]
            columns.append(fold.reduce(np.where(valid, pixels, empty), axis=0))
    return np.stack(columns, axis=1)


def _ball_boxes(
    center: Float[np.ndarray, "n 3"], radius: Float[np.ndarray, "n"], K: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "n 4"]:
    """Pixel boxes of balls in front of the camera: the tangents from the eye, axis by axis."""
    depth = center[:, 2]
    scale = depth**2 - radius**2
    columns = []
    for axis in (0, 1):
        aside = center[:, axis]
        spread = radius * np.sqrt(aside**2 + scale)
        for sign in (-1.0, 1.0):
            columns.append((aside * depth + sign * spread) / scale * K[axis, axis] + K[axis, 2])
    return np.stack([columns[0], columns[2], columns[1], columns[3]], axis=1)


def _flat_triangles(pixels: Float[np.ndarray, "t 3 2"], key: Float[np.ndarray, "t 3"]) -> ProjectedTriangles:
    """Barycentric functions of triangles already in the picture's plane."""
    x, y = pixels[:, :, 0], pixels[:, :, 1]
    next_x, next_y = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    # The function of corner k vanishes on the edge between the two others.
    opposite = np.stack([next_y - y, x - next_x, y * next_x - x * next_y], axis=2)[:, [1, 2, 0]]
    area = opposite.sum(axis=1)[:, 2]
    # With y downward, what faces the eye runs clockwise: its area is positive in these terms.
    front = np.flatnonzero(area > 1e-12)
    edges = opposite[front] / area[front, None, None]
    keys = (edges * key[front, :, None]).sum(axis=1)
    boxes = np.concatenate([pixels[front].min(axis=1), pixels[front].max(axis=1)], axis=1)
    return ProjectedTriangles(edges=edges, keys=keys, boxes=boxes, index=front)
