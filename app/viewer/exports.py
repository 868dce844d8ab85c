"""Owns files made from a scene on the page's wish: all of it or a part, and films along keyframes."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.viewer.frames import make_camera
from app.viewer.job_record import Job
from app.viewer.jobs import Jobs
from app.viewer.records import find_capture_folder, plain_name
from app.viewer.scale import in_unit, read_unit
from app.viewer.stage import Stage
from app.viewer.workspace import Workspace
from scene3d.cameras.camera import Camera
from scene3d.exporting import CropBox, export_scene
from scene3d.io.atomic import make_folder, write_json

FILM_WIDTH_PX, FILM_HEIGHT_PX, FILM_FPS = 960, 540, 24
MAX_FILM_S = 300.0
MAX_KEYFRAMES = 200
KEYFRAMES_SCHEMA_VERSION = 1


class Pose(BaseModel):
    """A camera of the browser."""

    position: list[float] = Field(min_length=3, max_length=3)
    rotation: list[float] = Field(min_length=4, max_length=4)
    fov: float

    def numbers(self) -> list[float]:
        """As `make_camera` takes them."""
        return [*self.position, *self.rotation, self.fov]


class Box(BaseModel):
    """A crop box in the world frame."""

    min: tuple[float, float, float]
    max: tuple[float, float, float]


class Export(BaseModel):
    """A scene, or part of it, as a file."""

    format: Literal["ply", "splat", "spz"]
    crop: Box | None = None
    frame: Literal["capture", "metres", "world"] = "capture"


class Film(BaseModel):
    """A flight through keyframes."""

    keyframes: list[Pose] = Field(min_length=2, max_length=MAX_KEYFRAMES)
    seconds: float = Field(gt=0, le=MAX_FILM_S)


def export_stage(workspace: Workspace, stage: Stage, wish: Export) -> dict[str, Any]:
    """Write a scene or part of it for downloading.

    Raises:
        SettingsError: The box holds nothing.
    """
    folder = workspace.cache(stage.run) / "export"
    make_folder(folder)
    stem = Path(stage.run.name).stem + ("-crop" if wish.crop else "")
    name = f"{plain_name(stem)}.{wish.format}"
    world_from_file = stage.scene.world_from_capture
    if wish.frame == "metres":
        world_from_file = in_unit(world_from_file, read_unit(workspace, stage.run, find_capture_folder(stage)))
    record = export_scene(
        folder / name,
        stage.scene.gaussians,
        world_from_file,
        frame="world" if wish.frame == "world" else "capture",
        crop=None if wish.crop is None else CropBox(minimum=wish.crop.min, maximum=wish.crop.max, frame="world"),
        epsg=stage.scene.epsg if wish.frame == "capture" else None,
    )
    return {**record, "name": name, "file": f"export/{name}"}


def order_film(workspace: Workspace, jobs: Jobs, stage: Stage, wish: Film) -> Job:
    """Leave the keyframes on disk and let `scene3d render` fly through them.

    Raises:
        InputError: A keyframe is no camera.
        LimitExceeded: The queue is full.
    """
    folder = workspace.cache(stage.run) / "film"
    make_folder(folder)
    cameras = [make_camera(pose.numbers(), FILM_WIDTH_PX, FILM_HEIGHT_PX) for pose in wish.keyframes]
    number = 1 + len(list(folder.glob("keyframes-*.json")))
    keyframes, video = folder / f"keyframes-{number}.json", folder / f"film-{number}.mp4"
    record = {"schema_version": KEYFRAMES_SCHEMA_VERSION, "cameras": [_camera_record(camera) for camera in cameras]}
    write_json(keyframes, record)
    frames = max(2, round(wish.seconds * FILM_FPS))
    words = ["render", str(stage.run.root), "--path", "interpolate", "--keyframes", str(keyframes)]
    words += ["--video", str(video), "--frames", str(frames), "--fps", str(FILM_FPS)]
    return jobs.submit("film", f"Film of {stage.run.name}", words, run=stage.run.id, product=f"film/{video.name}")


def _camera_record(camera: Camera) -> dict[str, Any]:
    return {
        "width": camera.width,
        "height": camera.height,
        "K": camera.K.tolist(),
        "cam_from_world": camera.cam_from_world.tolist(),
    }
