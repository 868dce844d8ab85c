"""Owns the sparse points of synthetic captures: textured places that several views see, with small errors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from scene3d.cameras.camera import Camera
from scene3d.cameras.models import CameraModel, project
from scene3d.geometry.rotations import quats_from_matrices
from scene3d.geometry.similarity import Similarity
from scene3d.io.colmap import ColmapImage, ColmapModel, ColmapPoints

MIN_TRACK_LENGTH = 3
DETECTION_SHARE = 0.75
"""Of the views that see a point, those that found it."""

DEPTH_TOLERANCE = 0.004
"""A view sees a point when the depth at its pixel agrees to this share, besides the slope across the pixel."""

FLAT_WEIGHT = 0.02
"""Chance of a pixel without any contrast to become a point, against one with the strongest."""

_BORDER_PX = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Places on surfaces, with the colour they were photographed in."""

    positions: Float[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSettings:
    """How many points, and how exact."""

    num_points: int
    pixel_noise_px: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tracks:
    """Points and what the views saw of them, sorted by point and within it by view."""

    positions: Float[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]
    errors_px: Float[np.ndarray, "n"]
    track_points: Int[np.ndarray, "m"]
    track_views: Int[np.ndarray, "m"]
    keypoints: Float[np.ndarray, "m 2"]
    """Pixels of the image as photographed."""


def pick_candidates(
    image: Float32[np.ndarray, "h w 3"],
    depth: Float[np.ndarray, "h2 w2"],
    camera: Camera,
    lens: CameraModel,
    count: int,
    generator: np.random.Generator,
) -> Candidates:
    """Surface points behind some pixels of one view, drawn more often where the picture has contrast.

    Args:
        image: As photographed through the lens.
        depth: Of the pinhole camera that replaces the lens, metres; 0 for sky.
        camera: That pinhole camera.
        lens: The lens.
        count: Points to draw; fewer where fewer pixels see a surface.
        generator: For the draw.
    """
    row, column = np.nonzero(depth > 0)
    plane = (np.stack([column, row], axis=1) + 0.5 - camera.K[:2, 2]) / np.diagonal(camera.K)[:2]
    rays = np.concatenate([plane, np.ones((len(plane), 1))], axis=1)
    pixels = project(lens, rays)
    cell = np.floor(np.nan_to_num(pixels, nan=-1.0)).astype(np.int64)
    inside = ((cell >= 0) & (cell < [lens.width, lens.height])).all(axis=1)
    rays, cell, row, column = rays[inside], cell[inside], row[inside], column[inside]
    weight = _contrast(image)[cell[:, 1], cell[:, 0]] + FLAT_WEIGHT
    drawn = generator.choice(len(weight), min(count, len(weight)), replace=False, p=weight / weight.sum())
    points = rays[drawn] * depth[row[drawn], column[drawn], None]
    positions = points @ camera.world_from_cam[:3, :3].T + camera.center
    colors = np.rint(image[cell[drawn, 1], cell[drawn, 0]] * 255).astype(np.uint8)
    return Candidates(positions, colors)


def join_candidates(parts: Sequence[Candidates]) -> Candidates:
    """All candidates of several views."""
    return Candidates(
        np.concatenate([part.positions for part in parts]), np.concatenate([part.colors for part in parts])
    )


def find_tracks(
    candidates: Candidates,
    cameras: Sequence[Camera],
    depths: Iterable[Float32[np.ndarray, "h w"]],
    lens: CameraModel,
    settings: TrackSettings,
    generator: np.random.Generator,
) -> Tracks:
    """Points that enough views found, with noisy keypoints and the position errors that follow from them."""
    found = np.stack(
        [
            _sees(camera, depth, lens, candidates.positions)
            & (generator.random(len(candidates.positions)) < DETECTION_SHARE)
            for camera, depth in zip(cameras, depths, strict=True)
        ],
        axis=1,
    )  # [n, views]
    long_enough = np.flatnonzero(found.sum(axis=1) >= min(MIN_TRACK_LENGTH, len(cameras)))
    kept = generator.permutation(long_enough)[: settings.num_points]
    truth, found = candidates.positions[kept], found[kept]
    track_points, track_views = np.nonzero(found)
    keypoints = _project_pairs(truth, cameras, lens, track_points, track_views)
    keypoints = keypoints + generator.normal(0, settings.pixel_noise_px, keypoints.shape)
    positions = truth + _position_errors(truth, cameras, found, settings, generator)
    residual = _project_pairs(positions, cameras, lens, track_points, track_views) - keypoints
    length = np.maximum(found.sum(axis=1), 1)
    errors = np.bincount(track_points, np.sqrt((residual**2).sum(axis=1)), minlength=len(kept)) / length
    return Tracks(
        positions=positions,
        colors=candidates.colors[kept],
        errors_px=errors,
        track_points=track_points,
        track_views=track_views,
        keypoints=keypoints,
    )


def make_colmap_model(
    tracks: Tracks,
    lens: CameraModel,
    cameras: Sequence[Camera],
    names: Sequence[str],
    capture_from_world: Similarity,
) -> ColmapModel:
    """The COLMAP model of a capture, moved into its frame; ids count from one."""
    images, keypoint_of = [], np.zeros(len(tracks.track_views), np.int64)
    for view, (camera, name) in enumerate(zip(cameras, names, strict=True)):
        mine = np.flatnonzero(tracks.track_views == view)
        keypoint_of[mine] = np.arange(len(mine))
        cam_from_capture = capture_from_world.apply_camera(camera.cam_from_world)
        images.append(
            ColmapImage(
                id=view + 1,
                name=name,
                camera_id=1,
                qvec=quats_from_matrices(cam_from_capture[:3, :3]),
                tvec=cam_from_capture[:3, 3],
                keypoints=tracks.keypoints[mine],
                point_ids=tracks.track_points[mine] + 1,
            )
        )
    count = len(tracks.positions)
    points = ColmapPoints(
        ids=np.arange(1, count + 1),
        positions=capture_from_world.apply(tracks.positions),
        colors=tracks.colors,
        errors_px=tracks.errors_px,
        track_offsets=np.searchsorted(tracks.track_points, np.arange(count + 1)),
        track_image_ids=tracks.track_views + 1,
        track_keypoints=keypoint_of,
    )
    return ColmapModel(cameras={1: lens}, images=tuple(images), points=points)


def _contrast(image: Float32[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Strength of the grey gradient, 0..1."""
    grey = image.mean(axis=2).astype(np.float64)
    vertical, horizontal = np.gradient(grey)
    strength = np.sqrt(vertical**2 + horizontal**2)
    return np.asarray(strength / max(float(strength.max()), 1e-9))


def _in_camera(camera: Camera, positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return positions @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]


def _sees(
    camera: Camera, depth: Float32[np.ndarray, "h w"], lens: CameraModel, positions: Float[np.ndarray, "n 3"]
) -> Bool[np.ndarray, "n"]:
    """Which points a view sees: inside its picture, and as deep as its depth map says nearby."""
    points = _in_camera(camera, positions)
    z = np.where(points[:, 2] > 1e-6, points[:, 2], 1.0)
    pixels = points[:, :2] / z[:, None] * np.diagonal(camera.K)[:2] + camera.K[:2, 2]
    size = np.array([camera.width, camera.height])
    inside = (points[:, 2] > 1e-6) & ((pixels > _BORDER_PX) & (pixels < size - _BORDER_PX)).all(axis=1)
    cell = np.clip(np.floor(np.where(inside[:, None], pixels, 0)).astype(np.int64), 1, size - 2)
    around = {(x, y): depth[cell[:, 1] + y, cell[:, 0] + x] for x, y in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))}
    here = around[0, 0]
    # Across a slanted surface depth changes within the pixel. The smaller step to each side is the slope's own: the
    # larger may be an edge.
    slope = sum(np.minimum(np.abs(around[x, y] - here), np.abs(around[-x, -y] - here)) for x, y in ((1, 0), (0, 1)))
    agrees = np.abs(here - z) <= DEPTH_TOLERANCE * z + 0.6 * slope
    on_sensor = np.isfinite(project(lens, points)).all(axis=1)
    return inside & agrees & (here > 0) & on_sensor


def _project_pairs(
    positions: Float[np.ndarray, "n 3"],
    cameras: Sequence[Camera],
    lens: CameraModel,
    track_points: Int[np.ndarray, "m"],
    track_views: Int[np.ndarray, "m"],
) -> Float[np.ndarray, "m 2"]:
    """Where each observation's point lies in its image."""
    pixels = np.zeros((len(track_points), 2))
    for view, camera in enumerate(cameras):
        mine = np.flatnonzero(track_views == view)
        pixels[mine] = project(lens, _in_camera(camera, positions[track_points[mine]]))
    return pixels


def _position_errors(
    positions: Float[np.ndarray, "n 3"],
    cameras: Sequence[Camera],
    found: Bool[np.ndarray, "n v"],
    settings: TrackSettings,
    generator: np.random.Generator,
) -> Float[np.ndarray, "n 3"]:
    """What triangulation from noisy keypoints would leave: the covariance of the least-squares solution."""
    information = np.zeros((len(positions), 3, 3))
    for view, camera in enumerate(cameras):
        points = _in_camera(camera, positions)
        scale = camera.K[0, 0] / np.where(found[:, view], points[:, 2], np.inf)
        ray = points / np.linalg.norm(points, axis=1, keepdims=True)
        ray = ray @ camera.cam_from_world[:3, :3]
        # One view fixes the point across its ray, not along it.
        information += scale[:, None, None] ** 2 * (np.eye(3) - ray[:, :, None] * ray[:, None, :])
    values, vectors = np.linalg.eigh(information)
    deviation = settings.pixel_noise_px / np.sqrt(np.maximum(values, 1e-9))
    draw = generator.normal(size=(len(positions), 3)) * np.minimum(deviation, 1.0)
    return np.asarray(np.einsum("nij,nj->ni", vectors, draw))
