"""Owns turning a wish of the page into words of the command line; no path in them comes from a page."""

from pathlib import Path

from app.viewer.job_record import Job
from app.viewer.jobs import Jobs
from app.viewer.workspace import CaptureEntry, RunEntry, Workspace, check_name
from blocks.settings import RunSettings
from scene3d.config import write_settings
from scene3d.data.sfm.settings import PrepareSettings
from scene3d.errors import InputError
from scene3d.io.atomic import make_folder

EXAMPLE = "example"
EXAMPLE_WORDS = ("--views", "16", "--width", "200", "--iterations", "200", "--rings", "0")
"""Enough to see a town, and made in seconds; the Extend tab grows it."""


def order_reconstruction(
    workspace: Workspace, jobs: Jobs, capture: CaptureEntry, name: str, settings: RunSettings
) -> Job:
    """Reconstruct a capture into a new run.

    Raises:
        InputError: The name cannot be used.
        LimitExceeded: The queue is full.
    """
    root = _new_folder(workspace, name)
    folder = workspace.private / "settings"
    make_folder(folder)
    config = folder / f"{root.name}.yaml"
    write_settings(config, settings)
    words = ["reconstruct", str(capture.root), "--output", str(root), "--config", str(config)]
    return jobs.submit("reconstruct", f"Reconstruct {root.name}", words, run=workspace.run_id(root), root=root)


def order_poses(workspace: Workspace, jobs: Jobs, capture: CaptureEntry, settings: PrepareSettings) -> Job:
    """Find the poses of a capture that has photographs only; the result is a capture beside it.

    Raises:
        InputError: It has poses, or they were found before.
        LimitExceeded: The queue is full.
    """
    if capture.has_poses:
        raise InputError("this capture has its poses already", remedy="go on in the Reconstruct tab")
    root = capture.root.with_name(f"{capture.root.name}-posed")
    if root.exists():
        raise InputError(f"{root.name} is there already", remedy="choose it, or remove it first")
    words = ["prepare", str(capture.root), "--output", str(root)]
    words += ["--matcher", settings.matcher, "--camera-model", settings.camera_model]
    words += ["--feature-image-size", str(settings.feature_image_size)]
    return jobs.submit("prepare", f"Find poses of {capture.root.name}", words, run=workspace.run_id(root))


def order_partition(workspace: Workspace, jobs: Jobs, capture: CaptureEntry, blocks: int | str) -> Job:
    """Plan the blocks of a capture and draw the map.

    Raises:
        InputError: The number of blocks makes no sense.
        LimitExceeded: The queue is full.
    """
    if blocks != "auto" and not (isinstance(blocks, int) and 1 <= blocks <= 4096):
        raise InputError(f"{blocks} is no number of blocks", remedy="give auto, or a number from 1 on")
    folder = workspace.private / "plans"
    make_folder(folder)
    plan = folder / f"{capture.id}.json"
    words = ["partition", str(capture.root), "--output", str(plan), "--blocks", str(blocks), "--force"]
    return jobs.submit("partition", f"Plan blocks of {capture.name}", words)


def find_plan_map(jobs: Jobs, job_id: str) -> Path:
    """The map that a job has drawn.

    Raises:
        InputError: There is none.
    """
    job = jobs.find(job_id)
    words = list(job.words)
    if job.kind != "partition" or job.state != "done":
        raise InputError("there is no map yet")
    return Path(words[words.index("--output") + 1]).with_suffix(".png")


def order_evaluation(jobs: Jobs, run: RunEntry) -> Job:
    """Measure a finished run.

    Raises:
        InputError: It is not finished.
        LimitExceeded: The queue is full.
    """
    if run.state != "finished":
        raise InputError("only a finished run can be measured", remedy="let it end first")
    return jobs.submit("evaluate", f"Measure {run.name}", ["evaluate", str(run.root)], run=run.id, root=run.root)


def order_example(workspace: Workspace, jobs: Jobs) -> Job:
    """Make a small synthetic town and reconstruct it.

    Raises:
        InputError: It is there already.
        LimitExceeded: The queue is full.
    """
    root = workspace.root / EXAMPLE
    if (root / "run" / "merged" / "manifest.json").is_file():
        raise InputError("the example is there already", remedy="choose it in the list of runs")
    words = ["demo", "--output", str(root), *EXAMPLE_WORDS]
    return jobs.submit("demo", "Example town", words, run=workspace.run_id(root / "run"), root=root / "run")


def _new_folder(workspace: Workspace, name: str) -> Path:
    root = workspace.root / check_name(name)
    if root.exists():
        raise InputError(f"there is something called {root.name!r} already", remedy="choose another name")
    return root
