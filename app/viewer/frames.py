"""Owns pictures for the browser: which camera is meant, one rendering at a time, and nothing stale."""

import io
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import Tensor

from app.viewer.contribution import Contributions
from app.viewer.grown import find_grown
from app.viewer.seams import SeamSide, find_seams
from app.viewer.shading import Shown, paint_blocks, paint_contribution, paint_origin, paint_seams, shade
from app.viewer.stage import Stage
from scene3d.cameras.camera import Camera
from scene3d.errors import InputError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view

MAX_SIDE_PX = 2560
JPEG_QUALITY = 82
MAX_CLIENTS = 1000
MAX_PAINTED = 2
PICK_SIDE_PX = 5
PICK_ALPHA = 0.3
"""Where less than this share of the light is stopped, nothing is there to be picked."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One encoded picture and what it took."""

    content: bytes
    media_type: str
    raster_s: float
    encode_s: float


class Painter:
    """Renders for all clients, one picture at a time; of each client only the newest request counts."""

    def __init__(self, contributions: Contributions) -> None:
        self._contributions = contributions
        self._render_lock = Lock()
        self._state_lock = Lock()
        self._newest: OrderedDict[str, int] = OrderedDict()
        self._painted: OrderedDict[tuple[str, str], Gaussians] = OrderedDict()

    def paint(
        self, stage: Stage, camera: Camera, shown: Shown, *, client: str = "", number: int = 0, kind: str = "jpg"
    ) -> Picture | None:
        """The picture of one camera; None where the same client has asked for a newer one meanwhile."""
        self._register(client, number)
        with self._render_lock:
            if self._is_stale(client, number):
                return None
            start_s = time.perf_counter()
            values = shade(self._gaussians(stage, shown), camera, shown)
            raster_s = time.perf_counter() - start_s
        start_s = time.perf_counter()
        content = encode(values, kind)
        media_type = "image/png" if kind == "png" else "image/jpeg"
        return Picture(content, media_type, raster_s, time.perf_counter() - start_s)

    def pick(self, stage: Stage, camera: Camera, x: float, y: float) -> Float[np.ndarray, "3"]:
        """The world point that shows at a pixel: where half of the light of its ray is stopped.

        Raises:
            InputError: Nothing is there.
        """
        # Only the pixel and its neighbours are drawn: a camera whose image is that small piece.
        corner = np.floor([x, y]) - PICK_SIDE_PX // 2
        K = camera.K.copy()
        K[:2, 2] -= corner
        piece = Camera(width=PICK_SIDE_PX, height=PICK_SIDE_PX, K=K, cam_from_world=camera.cam_from_world)
        with self._render_lock, torch.no_grad():
            rendering = render_view(stage.scene.gaussians, piece, median_depth=True)
        assert rendering.median_depth is not None
        middle = PICK_SIDE_PX // 2
        depth = float(rendering.median_depth[middle, middle]) or float(rendering.depth[middle, middle])
        if float(rendering.alpha[middle, middle]) < PICK_ALPHA or depth <= 0:
            raise InputError("there is nothing at this place", remedy="click on a surface")
        ray = np.linalg.inv(K) @ [middle + 0.5, middle + 0.5, 1.0]
        return (camera.world_from_cam @ [*(ray * depth), 1.0])[:3]

    def _gaussians(self, stage: Stage, shown: Shown) -> Gaussians:
        if shown in ("image", "depth", "normal", "alpha"):
            return stage.scene.gaussians
        name = (f"{stage.run.id}/{stage.key}", shown)
        if name not in self._painted:
            self._painted[name] = self._paint_gaussians(stage, shown)
        self._painted.move_to_end(name)
        while len(self._painted) > MAX_PAINTED:
            self._painted.popitem(last=False)
        return self._painted[name]

    def _paint_gaussians(self, stage: Stage, shown: Shown) -> Gaussians:
        if shown == "blocks":
            return paint_blocks(stage)
        if shown == "contribution":
            return paint_contribution(stage.scene.gaussians, self._contributions.weights(stage))
        if shown in ("seam_step", "seam_color"):
            return _seams(stage, shown)
        return _by_origin(stage, shown)

    def _register(self, client: str, number: int) -> None:
        with self._state_lock:
            self._newest[client] = max(number, self._newest.get(client, 0))
            self._newest.move_to_end(client)
            while len(self._newest) > MAX_CLIENTS:
                self._newest.popitem(last=False)

    def _is_stale(self, client: str, number: int) -> bool:
        with self._state_lock:
            return bool(client) and number < self._newest.get(client, 0)


def find_grown_mask(stage: Stage) -> Bool[Tensor, "n"] | None:
    """Which Gaussians were grown; None where the scene holds none that were."""
    return find_grown(stage.run.root, len(stage.scene.gaussians))


def make_camera(pose: Sequence[float], width: int, height: int) -> Camera:
    """The camera that the browser means.

    Args:
        pose: Position, rotation (world from camera, wxyz) and vertical field of view in degrees: eight numbers.
        width: Of the picture, pixels.
        height: Of the picture, pixels.

    Raises:
        InputError: Numbers that no camera has.
    """
    if len(pose) != 8 or not np.isfinite(pose).all() or np.linalg.norm(pose[3:7]) < 1e-6:
        raise InputError("this is no camera: eight numbers are needed")
    if not 1 <= pose[7] <= 170:
        raise InputError(f"a field of view of {pose[7]:g} degrees cannot be drawn")
    check_size(width, height)
    focal = height / 2 / np.tan(np.radians(pose[7]) / 2)
    rotation = Rotation.from_quat([*pose[4:7], pose[3]]).as_matrix()
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = rotation.T
    cam_from_world[:3, 3] = -rotation.T @ np.asarray(pose[:3], np.float64)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Camera(width=width, height=height, K=K, cam_from_world=cam_from_world)


def camera_of_view(stage: Stage, index: int, width: int, height: int) -> Camera:
    """The camera of a photograph, its picture as large as fits into a box.

    Raises:
        InputError: There is no such photograph.
    """
    check_size(width, height)
    if not 0 <= index < len(stage.views):
        raise InputError("there is no such photograph")
    camera = stage.views[index].camera
    return camera.scaled(min(width / camera.width, height / camera.height))


def check_size(width: int, height: int) -> None:
    """Refuse pictures that are too large to be made while somebody waits.

    Raises:
        InputError: They are.
    """
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise InputError(f"pictures have 1 to {MAX_SIDE_PX} pixels on a side, not {width} x {height}")


def encode(values: Float[Tensor, "h w 3"], kind: str) -> bytes:
    """A picture as JPEG or PNG."""
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    stream = io.BytesIO()
    if kind == "png":
        Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    else:
        Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def _seams(stage: Stage, side: SeamSide) -> Gaussians:
    seams = find_seams(stage)
    if not seams:
        raise InputError("no seam has been measured in this scene", remedy="grow a cell")
    return paint_seams(stage.scene.gaussians, seams, side)


def _by_origin(stage: Stage, shown: Shown) -> Gaussians:
    """All Gaussians tinted by where they come from, or those that photographs made alone."""
    grown = find_grown_mask(stage)
    if grown is None:
        raise InputError("nothing has been grown in this scene")
    gaussians = stage.scene.gaussians
    return paint_origin(gaussians, grown) if shown == "origin" else gaussians.select(~grown)
