"""Owns what the page asks about jobs, and how they are stopped and resumed from it."""

from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import FileResponse

from app.viewer.job_progress import JobProgress
from app.viewer.job_record import PAUSABLE_KINDS, RESUMABLE, RESUMABLE_KINDS, Job
from app.viewer.jobs import Jobs
from app.viewer.orders import find_plan_map, order_example
from app.viewer.workspace import Workspace
from blocks.waiting import STATES
from scene3d.io.bounded_json import read_json_object
from scene3d.training.run_folder import RunFolder

MAX_FOLLOWED = 12
MAX_LISTED = 12
ACTIONS = Literal["pause", "cancel", "resume"]


class JobViews:
    """Jobs as the page shows them; what was read of their events is kept between two looks."""

    def __init__(self, jobs: Jobs, workspace: Workspace) -> None:
        self._jobs = jobs
        self.workspace = workspace
        self._followed: OrderedDict[str, JobProgress] = OrderedDict()

    def list(self) -> list[dict[str, Any]]:
        """The newest jobs."""
        return [self.describe(job) for job in self._jobs.list()[:MAX_LISTED]]

    def describe(self, job: Job) -> dict[str, Any]:
        """One job."""
        progress = self._followed.setdefault(job.id, JobProgress(self._jobs.folder / job.id / "events.jsonl"))
        self._followed.move_to_end(job.id)
        while len(self._followed) > MAX_FOLLOWED:
            self._followed.popitem(last=False)
        progress.read()
        is_open = job.state in RESUMABLE
        return {
            "id": job.id,
            "kind": job.kind,
            "title": job.title,
            "state": job.state,
            "message": job.message,
            "run": job.run,
            "product": job.product if job.state == "done" else None,
            "created_s": job.created_s,
            "can": {
                "pause": job.state == "running" and job.kind in PAUSABLE_KINDS,
                "cancel": job.state in ("waiting", "running") or is_open,
                "resume": is_open and job.kind in RESUMABLE_KINDS,
            },
            "blocks": find_blocks(job),
            **progress.to_record(),
        }


def make_router(jobs: Jobs, views: JobViews) -> APIRouter:
    """The routes of the jobs."""
    router = APIRouter()

    @router.get("/scene3d-api/jobs")
    def list_jobs() -> dict[str, Any]:
        return {"jobs": views.list()}

    @router.post("/scene3d-api/example")
    def example() -> dict[str, Any]:
        return views.describe(order_example(views.workspace, jobs))

    @router.post("/scene3d-api/jobs/{job_id}/{action}")
    def act(job_id: str, action: ACTIONS) -> dict[str, Any]:
        if action == "resume":
            return views.describe(jobs.resume(job_id))
        return views.describe(jobs.stop(job_id, "paused" if action == "pause" else "cancelled"))

    @router.get("/scene3d-api/jobs/{job_id}/log")
    def log(job_id: str) -> dict[str, str]:
        return {"log": jobs.log_tail(job_id)}

    @router.get("/scene3d-api/jobs/{job_id}/plan.png")
    def plan_map(job_id: str) -> FileResponse:
        return FileResponse(find_plan_map(jobs, job_id), media_type="image/png")

    return router


def find_blocks(job: Job) -> list[dict[str, Any]]:
    """How far each block of a run in blocks is; empty for other jobs."""
    if job.kind != "reconstruct" or job.run_root is None:
        return []
    root = Path(job.run_root)
    plan = root / "plan.json"
    if not plan.is_file():
        return []
    blocks = read_json_object(plan).get("blocks", [])
    return [{"id": str(block.get("block_id")), "state": _block_state(root, block)} for block in blocks]


def _block_state(root: Path, block: dict[str, Any]) -> str:
    folder = root / "blocks" / str(block.get("block_id"))
    for name, state in (("block.json", "done"), ("failed.json", "failed"), ("checkpoints", "training")):
        if (folder / name).exists():
            return state
    # Blocks in turns have no checkpoints of their own.
    return "training" if (RunFolder(root).turns / STATES / folder.name).is_dir() else "waiting"
