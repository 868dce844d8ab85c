"""Owns the server: one application with the page, the data of runs, pictures, and jobs."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from app.viewer import artifacts, extension_api, jobs_api, scene_api
from app.viewer.contribution import Contributions
from app.viewer.frames import Painter
from app.viewer.guard import Door, DoorSettings
from app.viewer.jobs import Jobs
from app.viewer.jobs_api import JobViews
from app.viewer.stage import Stages
from app.viewer.workspace import Workspace
from scene3d.errors import InputError, LimitExceeded, MissingPart, Scene3dError, SettingsError

STATIC = Path(__file__).parent / "static"
STATUS: dict[type[Scene3dError], int] = {InputError: 404, SettingsError: 400, LimitExceeded: 503}
MAX_UPLOAD_FILE_BYTES = 4 << 30
BACKLOG = 128
"""Connections that may wait until the server takes them."""


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """What all parts of the viewer share; everything that must last is on disk, not here."""

    workspace: Workspace
    stages: Stages
    contributions: Contributions
    painter: Painter
    jobs: Jobs
    job_views: JobViews

    @classmethod
    def of(cls, workspace: Workspace) -> "Services":
        """The services of one folder."""
        jobs, contributions = Jobs(workspace.private / "jobs"), Contributions()
        painter = Painter(contributions)
        return cls(workspace, Stages(), contributions, painter, jobs, JobViews(jobs, workspace))

    def close(self) -> None:
        """End what works in the background; the running job is paused."""
        self.contributions.close()
        self.jobs.close()


def make_app(services: Services, door: DoorSettings, *, chosen: str | None = None) -> FastAPI:
    """The application.

    Args:
        services: Of the folder that is shown.
        door: Who may come in.
        chosen: Id of the run that the page opens with.

    Raises:
        MissingPart: The page's JavaScript was not built.
    """
    if not (STATIC / "scene.js").is_file():
        raise MissingPart("the viewer's JavaScript is not built", remedy="run `make viewer` in the source folder")
    os.environ.update(gradio_environment(services.workspace))
    # Gradio reads its environment when it is imported.
    from app.viewer.page import mount_page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan(services))
    app.mount("/scene3d-assets", GZipMiddleware(StaticFiles(directory=STATIC), minimum_size=2000))
    app.include_router(artifacts.make_router(services.workspace, services.stages))
    app.include_router(scene_api.make_router(services))
    app.include_router(extension_api.make_router(services.workspace, services.stages, services.jobs))
    app.include_router(jobs_api.make_router(services.jobs, services.job_views))
    app.add_exception_handler(Scene3dError, _speak)
    app.add_exception_handler(RequestValidationError, _refuse_request)
    app = mount_page(app, services, chosen=chosen)
    app.add_middleware(Door, settings=door)
    return app


def gradio_environment(workspace: Workspace) -> dict[str, str]:
    """What keeps Gradio quiet, and its copies of uploads inside the workspace."""
    uploads = workspace.private / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    return {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(uploads), "GRADIO_RUN_HISTORY": "False"}


def listen(host: str, port: int) -> socket.socket:
    """A socket that browsers can come to.

    Args:
        host: Address.
        port: 0 takes one that is free.

    Raises:
        InputError: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)  # from now on, who comes before the server works waits instead of being refused
    except OSError as error:
        listening.close()
        remedy = "choose another --port, or 0 for any that is free"
        raise InputError(f"{host}:{port} cannot be used ({error.strerror})", remedy=remedy) from error
    return listening


def make_server(app: FastAPI) -> uvicorn.Server:
    """What answers; `run(sockets=[...])` does so until it is interrupted."""
    config = uvicorn.Config(
        app, log_level="warning", server_header=False, timeout_keep_alive=30, timeout_graceful_shutdown=3
    )
    return uvicorn.Server(config)


def _lifespan(services: Services) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        services.close()

    return lifespan


async def _speak(request: Request, error: Exception) -> JSONResponse:
    """An error as the page shows it: without the path, which is nobody's business outside."""
    assert isinstance(error, Scene3dError)
    sentence = error.what if error.remedy is None else f"{error.what}; {error.remedy}"
    return JSONResponse({"error": sentence}, status_code=STATUS.get(type(error), 400))


async def _refuse_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    places = [".".join(str(part) for part in each["loc"][1:]) or "body" for each in error.errors()]
    return JSONResponse({"error": f"the request makes no sense at {', '.join(places[:5])}"}, status_code=422)
