"""Owns which files of a run the browser may fetch: a closed list, by our own names, whole or in ranges."""

import re
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from app.report_page import view_records
from app.viewer.light import light_name, make_light
from app.viewer.stage import Stages
from app.viewer.thumbnails import PHOTO_WIDTH_PX, THUMB_WIDTH_PX, make_thumbnail
from app.viewer.workspace import RunEntry, Workspace
from scene3d.errors import InputError
from scene3d.io.bounded_json import read_json_object

PLAIN = {
    "scene.ply": ("merged/scene.ply", "application/octet-stream"),
    "plan.png": ("plan.png", "image/png"),
    "report.html": ("report.html", "text/html"),
    "metrics.json": ("eval/metrics.json", "application/json"),
}
"""What is served as it lies in the run folder."""

PRODUCT = re.compile(r"^(export|film)/([A-Za-z0-9][A-Za-z0-9 ._-]{0,120})$")
PICTURE = re.compile(r"^(thumb|photo)/(\d{1,7})\.jpg$")
RENDER = re.compile(r"^render/(\d{1,5})\.png$")
CLOSED_PAGE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
"""A report needs nothing but its own styles and pictures."""


def make_router(workspace: Workspace, stages: Stages) -> APIRouter:
    """The route of everything that is fetched of a run."""
    router = APIRouter()

    @router.get("/scene3d-data/{run_id}/{artifact:path}")
    def fetch(run_id: str, artifact: str, request: Request) -> Response:
        run = workspace.find_run(run_id)
        path, media_type = find_artifact(workspace, stages, run, artifact)
        return answer(path, media_type, request)

    return router


def find_artifact(workspace: Workspace, stages: Stages, run: RunEntry, artifact: str) -> tuple[Path, str]:
    """The file and its kind that an artifact's name stands for.

    Raises:
        InputError: There is no such artifact.
    """
    if artifact in PLAIN and run.root.is_dir():
        place, media_type = PLAIN[artifact]
        return _existing(run.root / place), media_type
    if artifact.startswith("light-"):
        stage = stages.get(run)
        if artifact == light_name(stage):
            return make_light(stage, workspace.cache(run)), "application/octet-stream"
    if (match := PICTURE.match(artifact)) is not None:
        width = THUMB_WIDTH_PX if match[1] == "thumb" else PHOTO_WIDTH_PX
        return make_thumbnail(stages.get(run), int(match[2]), width, workspace.cache(run)), "image/jpeg"
    if (match := RENDER.match(artifact)) is not None:
        return _find_render(run, int(match[1])), "image/png"
    if (match := PRODUCT.match(artifact)) is not None:
        return _existing(workspace.cache(run) / match[1] / match[2]), "application/octet-stream"
    raise InputError("there is no such file")


def answer(path: Path, media_type: str, request: Request) -> Response:
    """A file with ETag; `Range` gives a part of it, and a known ETag nothing but the word that it still holds."""
    response = FileResponse(path, media_type=media_type, stat_result=path.stat())
    etag = response.headers["etag"]
    response.headers["Cache-Control"] = "private, no-cache"
    if media_type == "text/html":
        response.headers["Content-Security-Policy"] = CLOSED_PAGE
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    return response


def _find_render(run: RunEntry, place: int) -> Path:
    """A picture of the evaluation by its place in the metrics file, worst first."""
    metrics = run.root / "eval" / "metrics.json"
    views = view_records(read_json_object(metrics)) if metrics.is_file() else []
    if place < len(views):
        path = run.root / "eval" / str(views[place].get("picture") or "")
        if (run.root / "eval").resolve() in path.resolve().parents:
            return _existing(path)
    raise InputError("there is no such picture")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError("there is no such file")
    return path
