"""Owns camera paths: aiming, orbits, and smooth flights through given cameras."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from scene3d.cameras.camera import Camera
from scene3d.errors import InputError, SettingsError
from scene3d.geometry.rotations import unit

WORLD_UP = np.array([0.0, 0.0, 1.0])


def look_at(
    position: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], up: Float[np.ndarray, "3"] = WORLD_UP
) -> Float[np.ndarray, "4 4"]:
    """`cam_from_world` of a camera at a position that sees the target in its centre, with `up` upwards in the image.

    Looking along `up` leaves the turn about the axis open; then world +y points up in the image (or +x along y).

    Raises:
        InputError: Position and target are the same place.
    """
    forward = unit(target - position)
    for upwards in (up, np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])):
        right = np.cross(forward, upwards)
        if np.linalg.norm(right) > 1e-6 * np.linalg.norm(upwards):
            break
    right = unit(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = rotation
    cam_from_world[:3, 3] = -rotation @ position
    return cam_from_world


def orbit_path(
    camera: Camera,
    *,
    target: Float[np.ndarray, "3"],
    radius: float,
    elevation_deg: float = 35.0,
    start_deg: float = 0.0,
    num_frames: int = 120,
) -> tuple[Camera, ...]:
    """One full turn around a target at constant height in a z-up world, looking at it; the end meets the start.

    Args:
        camera: Gives image size and intrinsics; its pose is not used.
        target: World coordinates of the centre of the turn.
        radius: Distance to the target, world units.
        elevation_deg: Angle above the horizon as seen from the target.
        start_deg: Compass of the first frame, from +x towards +y.
        num_frames: Frames of the whole turn; the frame after the last would be the first again.
    """
    _check_frames(num_frames)
    elevation = np.radians(elevation_deg)
    frames = []
    for azimuth in np.radians(start_deg) + 2 * np.pi * np.arange(num_frames) / num_frames:
        direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        frames.append(replace(camera, cam_from_world=look_at(target + radius * np.array(direction), target)))
    return tuple(frames)


def interpolate_path(cameras: Sequence[Camera], num_frames: int) -> tuple[Camera, ...]:
    """A path through every camera at even speed: positions on straight lines, rotations on great circles.

    All frames have the image size and intrinsics of the first camera. First and last frame are the first and last
    camera exactly. Speed counts turning as well as moving, so that turning on the spot takes time too.
    """
    _check_frames(num_frames)
    if not cameras:
        raise InputError("there is no camera to make a path from", remedy="give at least one")
    steps = _step_lengths(cameras)
    kept = [cameras[0], *(camera for camera, step in zip(cameras[1:], steps, strict=True) if step > 0)]
    if len(kept) == 1:
        return (cameras[0],) * num_frames
    knots = np.concatenate([[0.0], np.cumsum(steps[steps > 0])])
    times = np.linspace(0, knots[-1], num_frames)
    centers = np.stack([camera.center for camera in kept])
    rotations = Slerp(knots, Rotation.from_matrix([camera.cam_from_world[:3, :3] for camera in kept]))(times)
    positions = np.stack([np.interp(times, knots, centers[:, axis]) for axis in range(3)], axis=1)
    return _posed(cameras[0], rotations.as_matrix(), positions)


def smooth_path(cameras: Sequence[Camera], sigma_frames: float) -> tuple[Camera, ...]:
    """The same path with its corners rounded: each pose becomes the Gaussian mean of its neighbours in time.

    Both ends stay where they are, as if the path rested there before and after.
    """
    if sigma_frames <= 0 or len(cameras) < 3:
        return tuple(cameras)
    reach = int(np.ceil(3 * sigma_frames))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    centers = np.stack([camera.center for camera in cameras])
    rotations = Rotation.from_matrix([camera.cam_from_world[:3, :3] for camera in cameras])
    last = len(cameras) - 1
    smooth_centers, smooth_rotations = [], []
    for frame in range(len(cameras)):
        # The window shrinks towards the ends and stays symmetric: a lopsided mean would pull the ends inwards.
        half = min(reach, frame, last - frame)
        window = np.arange(frame - half, frame + half + 1)
        share = weights[reach - half : reach + half + 1]
        smooth_centers.append(share @ centers[window] / share.sum())
        smooth_rotations.append(rotations[window].mean(share).as_matrix())
    return _posed(cameras[0], np.stack(smooth_rotations), np.stack(smooth_centers))


def flythrough_path(
    cameras: Sequence[Camera], *, num_frames: int = 240, num_stops: int = 12, smoothness: float = 0.5
) -> tuple[Camera, ...]:
    """A smooth flight past the most different viewpoints of a capture, by a short way.

    Where the cameras have no common up (straight-down flights there and back), they are rolled about their axes so that
    the picture does not spin.

    Args:
        cameras: The capture's cameras, in any order.
        num_frames: Length of the flight.
        num_stops: Viewpoints picked (each as far from those before as possible) and strung together.
        smoothness: Width of the rounding, in distances between two stops.
    """
    stops = [cameras[index] for index in _spread_out(cameras, num_stops)]
    stops = [stops[index] for index in _short_way(np.stack([camera.center for camera in stops]))] if stops else []
    mean_up = np.mean([camera.cam_from_world[1, :3] for camera in cameras], axis=0) if cameras else WORLD_UP
    if np.linalg.norm(mean_up) < 0.5:
        stops = _unrolled(stops)
    path = interpolate_path(stops, num_frames)
    return smooth_path(path, smoothness * num_frames / max(len(stops) - 1, 1) / 2)


def _check_frames(num_frames: int) -> None:
    if num_frames < 1:
        raise SettingsError(f"a path of {num_frames} frames was asked for; it needs at least one")


def _posed(
    template: Camera, rotations: Float[np.ndarray, "n 3 3"], centers: Float[np.ndarray, "n 3"]
) -> tuple[Camera, ...]:
    frames = []
    for rotation, center in zip(rotations, centers, strict=True):
        cam_from_world = np.eye(4)
        cam_from_world[:3, :3] = rotation
        cam_from_world[:3, 3] = -rotation @ center
        frames.append(replace(template, cam_from_world=cam_from_world))
    return tuple(frames)


def _step_lengths(cameras: Sequence[Camera]) -> Float[np.ndarray, "m"]:
    """Effort from each camera to the next: distance in units of the longest step, plus the angle in radians."""
    if len(cameras) < 2:
        return np.zeros(0)
    centers = np.stack([camera.center for camera in cameras])
    distances = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    rotations = Rotation.from_matrix([camera.cam_from_world[:3, :3] for camera in cameras])
    angles = np.array([(b * a.inv()).magnitude() for a, b in pairwise(rotations)])
    longest = distances.max()
    # Below a billionth of the longest step, or a billionth of a turn, two cameras are one.
    moved = distances / longest if longest > 0 else distances
    efforts = moved + angles
    return np.where(efforts > 1e-9, efforts, 0.0)


def _spread_out(cameras: Sequence[Camera], count: int) -> list[int]:
    """Farthest-point picks over centres, beginning at the first camera."""
    centers = np.stack([camera.center for camera in cameras]) if cameras else np.zeros((0, 3))
    picked: list[int] = []
    nearest = np.full(len(centers), np.inf)
    while len(picked) < min(count, len(centers)):
        index = int(np.argmax(nearest)) if picked else 0
        if picked and nearest[index] <= 0:
            break
        picked.append(index)
        nearest = np.minimum(nearest, np.linalg.norm(centers - centers[index], axis=1))
    return picked


def _unrolled(stops: Sequence[Camera]) -> list[Camera]:
    """Each camera rolled about its own axis to turn as little as possible against the one before."""
    result = list(stops[:1])
    for camera in stops[1:]:
        turn = camera.cam_from_world[:3, :3] @ result[-1].cam_from_world[:3, :3].T
        # The roll that maximises the trace of what is left of the turn.
        angle = np.arctan2(turn[0, 1] - turn[1, 0], turn[0, 0] + turn[1, 1])
        roll = np.eye(4)
        roll[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        result.append(replace(camera, cam_from_world=roll @ camera.cam_from_world))
    return result


def _short_way(centers: Float[np.ndarray, "n 3"]) -> list[int]:
    """An order that makes the open path through all places short: nearest neighbour, then reversals that shorten it."""
    distances = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    order = [int(np.argmax(distances.sum(1)))]
    while len(order) < len(centers):
        left = [index for index in range(len(centers)) if index not in order]
        order.append(min(left, key=lambda index: distances[order[-1], index]))

    def length(way: list[int]) -> float:
        return float(distances[way[:-1], way[1:]].sum())

    improved = True
    while improved:
        improved = False
        for i in range(len(order) - 1):
            for j in range(i + 2, len(order) + 1):
                turned = order[:i] + order[i:j][::-1] + order[j:]
                if length(turned) < length(order) - 1e-12:
                    order, improved = turned, True
    return order
