"""Owns what the scene panel asks the server: the scene, pictures of it, places in it, and parts of it as files."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from app.viewer.frames import Painter, camera_of_view, find_grown_mask, make_camera
from app.viewer.jobs import Jobs
from app.viewer.light import light_name, num_light
from app.viewer.scale import Unit, in_unit, read_unit, set_unit
from app.viewer.shading import Shown, list_shown
from app.viewer.stage import Stage, Stages, find_field_of_view_deg
from app.viewer.workspace import Workspace
from scene3d.cameras.camera import Camera
from scene3d.exporting import CropBox, export_scene
from scene3d.geometry.rotations import quats_from_matrices
from scene3d.io.atomic import make_folder, write_json

Numbers = list[float]
FILM_WIDTH_PX, FILM_HEIGHT_PX, FILM_FPS = 960, 540, 24
MAX_FILM_S = 300.0
TARGET_SHARE = 1.0


class Pose(BaseModel):
    """A camera of the browser."""

    position: Numbers = Field(min_length=3, max_length=3)
    rotation: Numbers = Field(min_length=4, max_length=4)
    fov: float

    def numbers(self) -> Numbers:
        """As `make_camera` takes them."""
        return [*self.position, *self.rotation, self.fov]


class Pick(BaseModel):
    """A click on the picture."""

    pose: Pose
    width: int
    height: int
    x: float
    y: float


class Box(BaseModel):
    """A crop box in the world frame."""

    min: tuple[float, float, float]
    max: tuple[float, float, float]


class Export(BaseModel):
    """A scene, or part of it, as a file."""

    format: Literal["ply", "splat", "spz"]
    crop: Box | None = None
    frame: Literal["capture", "metres", "world"] = "capture"


class KnownDistance(BaseModel):
    """How long a distance in the world frame really is."""

    world_distance: float
    metres: float


class Film(BaseModel):
    """A flight through keyframes."""

    keyframes: list[Pose] = Field(min_length=2, max_length=200)
    seconds: float = Field(gt=0, le=MAX_FILM_S)


def make_router(workspace: Workspace, stages: Stages, painter: Painter, jobs: Jobs) -> APIRouter:
    """The routes of the scene panel."""
    router = APIRouter()

    @router.get("/scene3d-api/runs/{run_id}/scene")
    def describe_scene(run_id: str) -> dict[str, Any]:
        stage = stages.get(workspace.find_run(run_id))
        return to_record(stage, read_unit(workspace, stage.run, find_capture_folder(stage)))

    @router.get("/scene3d-frame/{run_id}")
    def frame(
        run_id: str,
        size: str,
        pose: str = "",
        view: int | None = None,
        shown: Shown = "image",
        client: str = "",
        n: int = 0,
        type: Literal["jpg", "png"] = "jpg",
    ) -> Response:
        stage = stages.get(workspace.find_run(run_id))
        width, height = (int(side) if side.isdigit() else 0 for side in f"{size}x0".split("x")[:2])
        camera = (
            make_camera([_number(part) for part in pose.split(",")], width, height)
            if view is None
            else camera_of_view(stage, view, width, height)
        )
        picture = painter.paint(stage, camera, shown, client=client[:40], number=n, kind=type)
        if picture is None:
            return Response(status_code=204)
        timing = f"raster;dur={1e3 * picture.raster_s:.2f}, encode;dur={1e3 * picture.encode_s:.2f}"
        headers = {"Server-Timing": timing, "Cache-Control": "no-store"}
        return Response(picture.content, media_type=picture.media_type, headers=headers)

    @router.post("/scene3d-api/runs/{run_id}/pick")
    def pick(run_id: str, click: Pick) -> dict[str, Numbers]:
        stage = stages.get(workspace.find_run(run_id))
        camera = make_camera(click.pose.numbers(), click.width, click.height)
        point = painter.pick(stage, camera, click.x, click.y)
        in_capture = stage.scene.world_from_capture.inverse().apply(point[None])[0]
        return {"world": point.tolist(), "capture": in_capture.tolist()}

    @router.post("/scene3d-api/runs/{run_id}/scale")
    def scale(run_id: str, known: KnownDistance) -> dict[str, Any]:
        stage = stages.get(workspace.find_run(run_id))
        distance = known.world_distance / stage.scene.world_from_capture.scale
        return {"unit": unit_record(stage, set_unit(workspace, stage.run, distance, known.metres))}

    @router.post("/scene3d-api/runs/{run_id}/export")
    def export(run_id: str, wish: Export) -> dict[str, Any]:
        stage = stages.get(workspace.find_run(run_id))
        return export_stage(workspace, stage, wish)

    @router.post("/scene3d-api/runs/{run_id}/film")
    def film(run_id: str, wish: Film) -> dict[str, Any]:
        stage = stages.get(workspace.find_run(run_id))
        return order_film(workspace, jobs, stage, wish)

    @router.post("/scene3d-api/runs/{run_id}/share")
    def share(run_id: str) -> dict[str, Any]:
        stage = stages.get(workspace.find_run(run_id))
        return make_share(stage, workspace.cache(stage.run))

    @router.post("/scene3d-api/runs/{run_id}/evaluate")
    def evaluate(run_id: str) -> dict[str, Any]:
        return {"job": order_evaluation(jobs, workspace.find_run(run_id)).id}

    return router


def to_record(stage: Stage, unit: Unit) -> dict[str, Any]:
    """Everything the panel needs to know of a scene before the first picture."""
    return {
        "id": stage.run.id,
        "name": Path(stage.run.name).name,
        "key": stage.key,
        "live": stage.is_live,
        "iteration": stage.iteration,
        "num_gaussians": len(stage.scene.gaussians),
        "home": {"pose": pose_record(stage.home), "target": stage.middle.tolist()},
        "radius": stage.radius,
        "bounds": {"min": stage.bounds[0].tolist(), "max": stage.bounds[1].tolist()},
        "shown": list_shown(stage, find_grown_mask(stage)),
        "light": {"file": light_name(stage), "num": num_light(stage)},
        "unit": unit_record(stage, unit),
        "views": [
            {
                "index": index,
                "name": view.name,
                "held_out": view.name in stage.held_out,
                "target": _target_of(stage, view.camera),
                **pose_record(view.camera),
            }
            for index, view in enumerate(stage.views)
        ],
    }


def pose_record(camera: Camera) -> dict[str, Any]:
    """A camera as the browser holds it."""
    world_from_cam = camera.world_from_cam
    return {
        "position": world_from_cam[:3, 3].tolist(),
        "rotation": quats_from_matrices(world_from_cam[None, :3, :3])[0].tolist(),
        "fov": find_field_of_view_deg(camera),
    }


def unit_record(stage: Stage, unit: Unit) -> dict[str, Any]:
    """The unit, and how many of it one unit of the world frame is."""
    return {"name": unit.name, "per_world": unit.per_capture / stage.scene.world_from_capture.scale}


def export_stage(workspace: Workspace, stage: Stage, wish: Export) -> dict[str, Any]:
    """Write a scene or part of it for downloading.

    Raises:
        SettingsError: The box holds nothing.
    """
    folder = workspace.cache(stage.run) / "export"
    make_folder(folder)
    stem = Path(stage.run.name).stem + ("-crop" if wish.crop else "")
    name = f"{_plain(stem)}.{wish.format}"
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


def order_film(workspace: Workspace, jobs: Jobs, stage: Stage, wish: Film) -> dict[str, Any]:
    """Leave the keyframes on disk and let `scene3d render` fly through them."""
    folder = workspace.cache(stage.run) / "film"
    make_folder(folder)
    number = 1 + len(list(folder.glob("film-*.mp4")))
    keyframes = folder / f"keyframes-{number}.json"
    cameras = [make_camera(pose.numbers(), FILM_WIDTH_PX, FILM_HEIGHT_PX) for pose in wish.keyframes]
    write_json(keyframes, {"schema_version": 1, "cameras": [_camera_record(camera) for camera in cameras]})
    video = folder / f"film-{number}.mp4"
    frames = max(2, round(wish.seconds * FILM_FPS))
    words = ["render", str(stage.run.root), "--path", "interpolate", "--keyframes", str(keyframes)]
    words += ["--video", str(video), "--frames", str(frames), "--fps", str(FILM_FPS)]
    job = jobs.submit("film", f"Film of {stage.run.name}", words, run=stage.run.id, product=f"film/{video.name}")
    return {"job": job.id, "title": job.title}


def find_capture_folder(stage: Stage) -> Path | None:
    """Where the photographs of a scene lay when it was made."""
    place = stage.scene.record.get("capture")
    return None if place is None else Path(place)


def _target_of(stage: Stage, camera: Camera) -> list[float]:
    """The place on a camera's axis that is nearest to the middle of the scene: what to turn about from there."""
    ahead = camera.world_from_cam[:3, 2]
    depth = float(np.dot(stage.middle - camera.center, ahead))
    return (camera.center + max(depth, 0.1 * stage.radius) * ahead).tolist()


def _camera_record(camera: Camera) -> dict[str, Any]:
    return json.loads(
        json.dumps(
            {
                "width": camera.width,
                "height": camera.height,
                "K": camera.K.tolist(),
                "cam_from_world": camera.cam_from_world.tolist(),
            }
        )
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _plain(name: str) -> str:
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "_" for sign in name) or "scene"
