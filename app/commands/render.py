"""Owns `scene3d render`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from app.errors import ExitCode
from app.settings_flags import OptionalPath
from scene3d.errors import InputError, SettingsError
from scene3d.events import Reporter

if TYPE_CHECKING:
    from app.scenes import OpenedScene
    from scene3d.cameras.camera import Camera

DEFAULT_SIZE_PX = (960, 540)
DEFAULT_FIELD_OF_VIEW_DEG = 60.0
"""Of pictures of a bare .ply, which has no camera of its own."""

ORBIT_RADII = 2.2
"""Distance of the turn from the middle of a bare .ply, in scene radii."""

KEYFRAME_SMOOTHNESS = 0.25
"""Width of the rounding at keyframes, in distances between two of them."""

ELEVATION_RANGE_DEG = (10.0, 75.0)
SOLID_OPACITY = 0.5
"""Gaussians above it count for where the middle of the scene is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Render:
    """Make pictures, depth maps or a film from a scene.

    Without --path, each view is rendered from its own camera; with it, frames along a path.
    """

    scene: Annotated[Path, Positional, arg(metavar="SCENE")]
    """A run folder or a Gaussian .ply."""

    output: Annotated[Path | None, arg(aliases=("-o",), metavar="PATH")] = None
    """Folder for stills; of a run, RUN/renders if nothing else is said."""

    views: tuple[str, ...] = ()
    """Names of views, or all; without any, those that were held out."""

    capture: OptionalPath = None
    """Where the capture with the cameras lies: needed for a bare .ply, or if it was moved."""

    depth: bool = False
    """Depth in colours, near is bright, instead of the picture."""

    path: Literal["orbit", "flythrough", "interpolate"] | None = None
    """Around the middle of the scene, a smooth flight past the most different views, or through the views in order."""

    keyframes: OptionalPath = None
    """Cameras that --path interpolate goes through instead of the views: JSON with `cameras`, each with width, height,
    K and cam_from_world, in the world frame (levelled, z up) of the scene."""

    video: OptionalPath = None
    """Write the frames of --path as one .mp4, .webp or .gif."""

    frames: int = 120
    """Frames along --path."""

    fps: float = 24.0
    """Frames per second of the film."""

    width: int | None = None
    """Width of the pictures, pixels; without it that of the views."""

    background: Literal["black", "white"] = "black"
    """What stands behind the scene."""

    backend: Literal["auto", "cpu", "reference", "gsplat"] = "auto"
    """Rasterizer; `scene3d doctor` lists them."""

    def __post_init__(self) -> None:
        if self.width is not None and self.width < 1:
            raise SettingsError(f"--width is {self.width}; it must be at least 1")
        if self.frames < 1 or self.fps <= 0:
            raise SettingsError(f"a film of {self.frames} frames at {self.fps} per second cannot be made")
        if self.keyframes is not None and self.path != "interpolate":
            raise SettingsError("--keyframes needs --path interpolate")
        if self.video is not None and self.path is None:
            raise SettingsError("--video needs a --path", remedy="add --path orbit, flythrough or interpolate")


def run(command: Render, reporter: Reporter) -> int:
    """Open the scene, choose the cameras, render."""
    import torch

    from app.scenes import open_scene
    from scene3d.io.images import write_image
    from scene3d.video import render_frames, write_animation

    scene = open_scene(command.scene, reporter)
    cameras = {name: _resize(camera, command.width) for name, camera in choose_cameras(command, scene).items()}
    frames = render_frames(
        scene.gaussians,
        list(cameras.values()),
        shown="depth" if command.depth else "image",
        background=torch.full((3,), 1.0 if command.background == "white" else 0.0),
        backend=None if command.backend == "auto" else command.backend,
        reporter=reporter,
    )
    if command.video is not None:
        write_animation(command.video, frames, fps=command.fps)
        print(f"{len(cameras)} frames in {command.video}")
        return ExitCode.DONE
    folder = command.output or (scene.run.root / "renders" if scene.run else command.scene.with_suffix(".renders"))
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(name_pictures(cameras, depth=command.depth), frames, strict=True):
        write_image(folder / name, frame)
    print(f"{len(cameras)} pictures in {folder}")
    return ExitCode.DONE


def choose_cameras(command: Render, scene: "OpenedScene") -> "dict[str, Camera]":
    """Cameras by the name of the picture: the views', or those along the path."""
    from app.scenes import open_capture, pick_cameras
    from scene3d.cameras.trajectories import flythrough_path, interpolate_path, smooth_path

    if command.keyframes is not None:
        keyframes = read_keyframes(command.keyframes)
        path = interpolate_path(keyframes, command.frames)
        path = smooth_path(path, KEYFRAME_SMOOTHNESS * command.frames / len(keyframes))
        return {f"keyframes_{number:04d}": camera for number, camera in enumerate(path)}
    known = command.capture is not None or scene.run is not None
    cameras = (
        pick_cameras(scene, open_capture(scene, command.capture), command.views) if known or not command.path else {}
    )
    if command.path is None:
        return cameras
    if command.path != "orbit" and not cameras:
        raise SettingsError(f"a bare .ply has no cameras for --path {command.path}", remedy="give --capture FOLDER")
    if command.path == "interpolate":
        path = interpolate_path(list(cameras.values()), command.frames)
    elif command.path == "flythrough":
        path = flythrough_path(list(cameras.values()), num_frames=command.frames)
    else:
        path = make_orbit(scene, list(cameras.values()), command.frames)
    return {f"{command.path}_{number:04d}": camera for number, camera in enumerate(path)}


def read_keyframes(path: Path) -> "list[Camera]":
    """The cameras of a keyframe file.

    Raises:
        InputError: It is damaged, or holds no cameras.
    """
    import numpy as np

    from scene3d.cameras.camera import Camera
    from scene3d.io.bounded_json import read_json_object

    record = read_json_object(path)
    try:
        return [
            Camera(
                width=int(each["width"]),
                height=int(each["height"]),
                K=np.array(each["K"], np.float64).reshape(3, 3),
                cam_from_world=np.array(each["cam_from_world"], np.float64).reshape(4, 4),
            )
            for each in record["cameras"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"holds no usable cameras ({error!r})", where=path) from error


def make_orbit(scene: "OpenedScene", cameras: "list[Camera]", num_frames: int) -> "tuple[Camera, ...]":
    """A turn around the middle of the scene, as far away and as high as its photographs were taken."""
    import numpy as np

    from scene3d.cameras.trajectories import orbit_path
    from scene3d.gaussians.cleaning import scene_radius

    solid = scene.gaussians.means[scene.gaussians.opacities > SOLID_OPACITY]
    points = (solid if len(solid) else scene.gaussians.means).double().numpy()
    if len(points) == 0:
        raise InputError("the scene is empty, there is nothing to turn around")
    middle = np.median(points, axis=0)
    if not cameras:
        radius = ORBIT_RADII * scene_radius(scene.gaussians.means)
        return orbit_path(make_default_camera(), target=middle, radius=radius, num_frames=num_frames)
    offsets = np.stack([camera.center for camera in cameras]) - middle
    distances = np.linalg.norm(offsets, axis=1)
    elevations_deg = np.degrees(np.arcsin(offsets[:, 2] / np.maximum(distances, 1e-12)))
    return orbit_path(
        cameras[0],
        target=middle,
        radius=float(np.median(distances)),
        elevation_deg=float(np.clip(np.median(elevations_deg), *ELEVATION_RANGE_DEG)),
        num_frames=num_frames,
    )


def make_default_camera() -> "Camera":
    """A camera for a scene that has none."""
    import numpy as np

    from scene3d.cameras.camera import Camera

    width, height = DEFAULT_SIZE_PX
    focal = width / 2 / np.tan(np.radians(DEFAULT_FIELD_OF_VIEW_DEG) / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(width=width, height=height, K=K, cam_from_world=np.eye(4))


def name_pictures(names: Iterable[str], *, depth: bool) -> list[str]:
    """File names for pictures of views: folders become part of the name; where two are the same, all get a number."""
    ending = "_depth.png" if depth else ".png"
    stems = [re.sub(r"[^A-Za-z0-9._-]", "_", re.sub(r"\.[A-Za-z]+$", "", name)).lstrip(".")[-100:] for name in names]
    if len(set(stems)) < len(stems):
        stems = [f"{number:04d}_{stem}" for number, stem in enumerate(stems)]
    return [stem + ending for stem in stems]


def _resize(camera: "Camera", width: int | None) -> "Camera":
    return camera if width is None else camera.scaled(width / camera.width)
