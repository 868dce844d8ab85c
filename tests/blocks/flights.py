"""Toy flights: views straight down over uneven ground, with exact tracks; what partitions are tested on."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import look_at
from scene3d.data.capture import Capture
from scene3d.data.split import Split
from scene3d.geometry.similarity import Similarity
from scene3d.seeding import make_numpy_generator
from tests.scene3d.data.rigs import HEIGHT, WIDTH, K, make_capture

LENGTH, BREADTH = 14.0, 9.0


def uneven_ground(count: int, seed: int = 0) -> np.ndarray:
    """An oblong of ground, half of whose points lie in one small district; a few boxes stand on it."""
    rng = make_numpy_generator(seed, "uneven ground")
    ground = rng.uniform(-0.5, 0.5, (count, 2)) * [LENGTH, BREADTH]
    dense = rng.random(count) < 0.5
    ground[dense] = ground[dense] * 0.35 + [0.25 * LENGTH, 0.2 * BREADTH]
    heights = np.where(rng.random(count) < 0.2, rng.uniform(0, 0.3, count), rng.normal(0, 0.01, count))
    return np.concatenate([ground, heights[:, None]], axis=1)


def flight(count: int = 6000, columns: int = 24, rows: int = 16, height: float = 1.0) -> Capture:
    """A grid of views above uneven ground, each of which shows 1.33 x 1 units for each unit of height."""
    places = np.stack(
        np.meshgrid(np.linspace(-0.5, 0.5, columns) * LENGTH, np.linspace(-0.5, 0.5, rows) * BREADTH), axis=-1
    )
    cameras = [nadir_camera(place, height) for place in places.reshape(-1, 2)]
    return make_capture(cameras, uneven_ground(count))


def nadir_camera(place: np.ndarray, height: float = 1.0) -> Camera:
    pose = look_at(np.array([*place, height]), np.array([*place, 0.0]), np.array([0.0, 1.0, 0.0]))
    return Camera(width=WIDTH, height=HEIGHT, K=K, cam_from_world=pose)


def everyone(capture: Capture) -> Split:
    """All views are trained on."""
    return Split(train=tuple(range(len(capture.views))), test=(), rule="none is held out")


def turned(capture: Capture, angle_rad: float, scale: float = 1.0, move: tuple[float, float] = (0.0, 0.0)) -> Capture:
    """The same capture turned about z, scaled and moved along the ground."""
    rotation = Rotation.from_rotvec([0, 0, angle_rad]).as_matrix()
    moved = capture.transformed(Similarity(scale, rotation, np.array([*move, 0.0])))
    return replace(moved, world_from_capture=Similarity.identity())
