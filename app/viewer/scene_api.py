"""Owns what the scene panel asks the server: the scene, pictures of it, places in it, and parts of it as files."""

from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.viewer.contribution import Measuring
from app.viewer.exports import Export, Film, Pose, export_stage, order_film
from app.viewer.frames import Picture, camera_of_view, make_camera
from app.viewer.orders import order_evaluation
from app.viewer.picture_desk import PictureDesk
from app.viewer.records import find_capture_folder, scene_record, unit_record
from app.viewer.scale import read_unit, set_unit
from app.viewer.shading import Shown
from app.viewer.sharing import make_share
from app.viewer.stage import Stage
from scene3d.cameras.camera import Camera
from scene3d.gaussians.cleaning import CleaningSettings

if TYPE_CHECKING:
    from app.viewer.server import Services


class Pick(BaseModel):
    """A click on the picture."""

    pose: Pose
    width: int
    height: int
    x: float
    y: float


class KnownDistance(BaseModel):
    """How long a distance in the world frame really is."""

    world_distance: float
    metres: float


def make_router(services: "Services") -> APIRouter:
    """The routes of the scene panel."""
    router = APIRouter()
    workspace, painter, jobs = services.workspace, services.painter, services.jobs
    desk = PictureDesk()

    def open_stage(run_id: str) -> Stage:
        return services.stages.get(workspace.find_run(run_id))

    @router.get("/scene3d-api/runs/{run_id}/scene")
    def describe_scene(run_id: str) -> dict[str, Any]:
        stage = open_stage(run_id)
        return scene_record(stage, read_unit(workspace, stage.run, find_capture_folder(stage)))

    @router.get("/scene3d-frame/{run_id}")
    async def frame(
        run_id: str,
        size: str,
        pose: str = "",
        view: int | None = None,
        shown: Shown = "image",
        client: str = "",
        n: int = 0,
        type: Literal["jpg", "png"] = "jpg",
    ) -> Response:
        def draw() -> Picture | None:
            stage = open_stage(run_id)
            camera = find_camera(stage, size, pose, view)
            return painter.paint(stage, camera, shown, client=client[:40], number=n, kind=type)

        return answer_picture(await desk.draw(draw))

    @router.get("/scene3d-api/runs/{run_id}/contribution")
    def contribution(run_id: str) -> dict[str, Any]:
        stage = open_stage(run_id)
        measuring = services.contributions.ask(stage, workspace.cache(stage.run))
        return contribution_record(measuring)

    @router.post("/scene3d-api/runs/{run_id}/pick")
    def pick(run_id: str, click: Pick) -> dict[str, list[float]]:
        stage = open_stage(run_id)
        point = painter.pick(stage, make_camera(click.pose.numbers(), click.width, click.height), click.x, click.y)
        in_capture = stage.scene.world_from_capture.inverse().apply(point[None])[0]
        return {"world": point.tolist(), "capture": in_capture.tolist()}

    @router.post("/scene3d-api/runs/{run_id}/scale")
    def scale(run_id: str, known: KnownDistance) -> dict[str, Any]:
        stage = open_stage(run_id)
        distance = known.world_distance / stage.scene.world_from_capture.scale
        return {"unit": unit_record(stage, set_unit(workspace, stage.run, distance, known.metres))}

    @router.post("/scene3d-api/runs/{run_id}/export")
    def export(run_id: str, wish: Export) -> dict[str, Any]:
        return export_stage(workspace, open_stage(run_id), wish)

    @router.post("/scene3d-api/runs/{run_id}/film")
    def film(run_id: str, wish: Film) -> dict[str, Any]:
        job = order_film(workspace, jobs, open_stage(run_id), wish)
        return {"job": job.id, "title": job.title}

    @router.post("/scene3d-api/runs/{run_id}/share")
    def share(run_id: str) -> dict[str, Any]:
        stage = open_stage(run_id)
        return make_share(stage, workspace.cache(stage.run))

    @router.post("/scene3d-api/runs/{run_id}/evaluate")
    def evaluate(run_id: str) -> dict[str, Any]:
        return {"job": order_evaluation(jobs, workspace.find_run(run_id)).id}

    return router


def contribution_record(measuring: Measuring) -> dict[str, Any]:
    """How far contributions are measured, and in the end how many Gaussians are of no use."""
    least, weights = CleaningSettings().min_weight, measuring.weights
    return {
        "done": measuring.done,
        "total": measuring.total,
        "problem": measuring.error,
        "least": least,
        "num_useless": None if weights is None else int((weights < least).sum()),
    }


def answer_picture(picture: Picture | None) -> Response:
    """A picture with what it took; nothing where it has become stale."""
    if picture is None:
        return Response(status_code=204)
    timing = f"raster;dur={1e3 * picture.raster_s:.2f}, encode;dur={1e3 * picture.encode_s:.2f}"
    headers = {"Server-Timing": timing, "Cache-Control": "no-store"}
    return Response(picture.content, media_type=picture.media_type, headers=headers)


def find_camera(stage: Stage, size: str, pose: str, view: int | None) -> Camera:
    """The camera of a request: a photograph's own, or eight numbers.

    Raises:
        InputError: It is neither.
    """
    width, height = (int(side) if side.isdigit() else 0 for side in f"{size[:20]}x0".split("x")[:2])
    if view is not None:
        return camera_of_view(stage, view, width, height)
    return make_camera([_number(part) for part in pose[:400].split(",")], width, height)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
