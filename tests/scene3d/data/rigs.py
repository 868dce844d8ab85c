"""Small captures with a known up direction, made of cameras and points; written to disk with noise for photographs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from scene3d.cameras.camera import Camera
from scene3d.cameras.models import CameraModel
from scene3d.cameras.trajectories import look_at
from scene3d.data.capture import Capture, SparsePoints, View
from scene3d.geometry.rotations import quats_from_matrices
from scene3d.geometry.similarity import Similarity
from scene3d.io.colmap import ColmapImage, ColmapModel, ColmapPoints, write_colmap
from scene3d.seeding import make_numpy_generator

K = np.array([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]])
WIDTH, HEIGHT = 80, 60


def make_camera(position, target, up=(0.0, 0.0, 1.0), wobble_deg: float = 0.0, rng=None) -> Camera:
    pose = look_at(np.array(position, float), np.array(target, float), np.array(up, float))
    if wobble_deg:
        turn = Rotation.from_rotvec(np.radians(wobble_deg) * rng.normal(size=3)).as_matrix()
        center = np.array(position, float)
        pose[:3, :3] = turn @ pose[:3, :3]
        pose[:3, 3] = -pose[:3, :3] @ center
    return Camera(width=WIDTH, height=HEIGHT, K=K, cam_from_world=pose)


def make_capture(cameras: Sequence[Camera], positions: np.ndarray | None = None, root: Path = Path(".")) -> Capture:
    """Views in the given order; every point is tracked by the views whose image it falls in."""
    views = tuple(
        View(name=f"{i:04d}.png", image_path=root / "images" / f"{i:04d}.png", camera=camera)
        for i, camera in enumerate(cameras)
    )
    if positions is None or not len(positions):
        return Capture(root=root, views=views, points=SparsePoints.empty())
    seen = np.stack([sees(camera, positions) for camera in cameras], axis=1)  # [points, views]
    rows, columns = np.nonzero(seen)
    points = SparsePoints(
        positions=np.asarray(positions, np.float64),
        colors=np.full((len(positions), 3), 128, np.uint8),
        errors_px=np.full(len(positions), 0.5),
        track_offsets=np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(positions)))]),
        track_views=columns.astype(np.int64),
    )
    return Capture(root=root, views=views, points=points)


def sees(camera: Camera, positions: np.ndarray) -> np.ndarray:
    in_camera = positions @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    front = in_camera[:, 2] > 1e-9
    pixels = (in_camera @ camera.K.T)[:, :2] / np.where(front, in_camera[:, 2], 1.0)[:, None]
    return front & (pixels > 0).all(1) & (pixels < [camera.width, camera.height]).all(1)


def town_points(rng, count: int = 1500, side: float = 60.0) -> np.ndarray:
    """Mostly flat ground with bumps, some boxes on it."""
    ground = np.concatenate([rng.uniform(-side, side, (count, 2)), rng.normal(0, 0.15, (count, 1))], axis=1)
    boxes = np.concatenate([rng.uniform(-side, side, (count // 3, 2)), rng.uniform(0, 8, (count // 3, 1))], axis=1)
    return np.concatenate([ground, boxes])


def grid(side: float, steps: int) -> np.ndarray:
    line = np.linspace(-side, side, steps)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def nadir(headings: Sequence[float] = (0.0, 180.0), wobble_deg: float = 3.0) -> Capture:
    rng = make_numpy_generator(0, "nadir")
    cameras = []
    for i, (x, y) in enumerate(grid(40, 6)):
        angle = np.radians(headings[i % len(headings)])
        up = (np.sin(angle), np.cos(angle), 0.0)
        cameras.append(make_camera((x, y, 45 + rng.normal()), (x, y, 0), up, wobble_deg, rng))
    return make_capture(cameras, town_points(rng))


def oblique(headings: Sequence[float] = (0.0, 90.0, 180.0, 270.0), off_nadir_deg: float = 45.0) -> Capture:
    rng = make_numpy_generator(0, "oblique")
    reach = 40 * np.tan(np.radians(off_nadir_deg))
    cameras = []
    for i, (x, y) in enumerate(grid(30, 6)):
        angle = np.radians(headings[i % len(headings)])
        target = (x + reach * np.sin(angle), y + reach * np.cos(angle), 0)
        cameras.append(make_camera((x, y, 40), target, wobble_deg=2, rng=rng))
    return make_capture(cameras, town_points(rng, side=110))


def orbit(elevation_deg: float = 30.0, num_views: int = 24) -> Capture:
    rng = make_numpy_generator(0, "orbit")
    elevation = np.radians(elevation_deg)
    cameras = []
    for azimuth in np.linspace(0, 2 * np.pi, num_views, endpoint=False):
        flat = 20 * np.cos(elevation) * np.array([np.cos(azimuth), np.sin(azimuth)])
        cameras.append(make_camera((*flat, 20 * np.sin(elevation)), (0, 0, 1), wobble_deg=2, rng=rng))
    return make_capture(cameras, town_points(rng, side=12))


def facade(yaw_deg: float = 15.0, pitch_deg: float = 0.0) -> Capture:
    """A wall in the plane y = 0 seen by people who walk along it and turn a little."""
    rng = make_numpy_generator(0, "facade")
    wall = np.stack(
        [
            rng.uniform(-20, 20, 2000),
            rng.normal(0, 0.05, 2000) + 0.3 * rng.integers(0, 2, 2000),
            rng.uniform(0, 12, 2000),
        ],
        axis=1,
    )
    cameras = []
    for x in np.linspace(-15, 15, 14):
        yaw = np.radians(rng.normal(0, yaw_deg)) if yaw_deg else 0.0
        target = (x + 15 * np.sin(yaw), -15 + 15 * np.cos(yaw), 1.7 + 15 * np.tan(np.radians(pitch_deg)))
        cameras.append(make_camera((x, -15 + rng.normal(), 1.7 + 0.1 * rng.normal()), target, wobble_deg=1, rng=rng))
    return make_capture(cameras, wall)


def room() -> Capture:
    """Somebody turning round in a room that has a floor, four walls and a ceiling."""
    rng = make_numpy_generator(0, "room")
    points = rng.uniform([-4, -3, 0], [4, 3, 2.6], (3000, 3))
    face = rng.integers(0, 6, 3000)
    low, high = np.array([-4, -3, 0.0]), np.array([4, 3, 2.6])
    axis = face % 3
    points[np.arange(3000), axis] = np.where(face < 3, low[axis], high[axis])
    cameras = []
    for azimuth in np.linspace(0, 2 * np.pi, 20, endpoint=False):
        position = rng.uniform([-1, -1, 1.5], [1, 1, 1.7])
        ahead = [np.cos(azimuth), np.sin(azimuth), rng.normal(0, 0.1)]
        cameras.append(make_camera(position, position + ahead, wobble_deg=2, rng=rng))
    return make_capture(cameras, points)


def cloud_before_cameras() -> Capture:
    """No plane anywhere: points fill a ball, cameras stand in an arc and look slightly down at it."""
    rng = make_numpy_generator(0, "cloud")
    cameras = [
        make_camera((9 * np.cos(a), 9 * np.sin(a), 2.0), (0, 0, 0), wobble_deg=1, rng=rng)
        for a in np.linspace(0, 2, 12)
    ]
    ball = rng.normal(size=(1500, 3))
    return make_capture(cameras, 2 * ball / np.linalg.norm(ball, axis=1, keepdims=True) * rng.uniform(0, 1, (1500, 1)))


def moved(capture: Capture, move: Similarity) -> Capture:
    """As if structure from motion had come out in another frame."""
    return replace(capture.transformed(move), world_from_capture=Similarity.identity())


def colmap_model_of(capture: Capture, lens: CameraModel | None = None) -> ColmapModel:
    """The capture as structure from motion would have left it, one lens for all; points keep their tracks."""
    first = capture.views[0].camera if capture.views else make_camera((0, 0, 1), (0, 0, 0))
    params = (float(first.K[0, 0]), float(first.K[1, 1]), float(first.K[0, 2]), float(first.K[1, 2]))
    lens = lens or CameraModel(name="PINHOLE", width=first.width, height=first.height, params=params)
    points = capture.points
    images = []
    keypoint_of_entry = np.zeros(len(points.track_views), np.int64)
    for index, view in enumerate(capture.views):
        entries = np.nonzero(points.track_views == index)[0]
        keypoint_of_entry[entries] = np.arange(len(entries))
        pose = view.camera.cam_from_world
        images.append(
            ColmapImage(
                id=index + 1,
                name=view.name,
                camera_id=1,
                qvec=quats_from_matrices(pose[:3, :3]),
                tvec=pose[:3, 3],
                keypoints=np.full((len(entries), 2), 1.0),
                point_ids=points.track_points[entries] + 1,
            )
        )
    colmap_points = ColmapPoints(
        ids=np.arange(1, len(points) + 1),
        positions=points.positions,
        colors=points.colors,
        errors_px=points.errors_px,
        track_offsets=points.track_offsets,
        track_image_ids=points.track_views + 1,
        track_keypoints=keypoint_of_entry,
    )
    return ColmapModel(cameras={1: lens}, images=tuple(images), points=colmap_points)


def write_capture(
    root: Path, capture: Capture, *, lens: CameraModel | None = None, size: tuple[int, int] | None = None
) -> Path:
    """A folder as a person would bring it: images/ with noise pictures and sparse/0."""
    model = colmap_model_of(capture, lens)
    write_colmap(root / "sparse" / "0", model)
    rng = make_numpy_generator(0, "photographs")
    width, height = size or (model.cameras[1].width, model.cameras[1].height)
    for view in capture.views:
        path = root / "images" / view.name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return root
