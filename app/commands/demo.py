"""Owns `scene3d demo`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from scene3d.errors import InputError, SettingsError
from scene3d.events import Reporter
from scene3d.training.settings import ReconstructSettings

if TYPE_CHECKING:
    from scene3d.data.synthetic import SyntheticSettings
    from scene3d.training.run_folder import RunFolder

POINTS_PER_VIEW = 400
"""Sparse points of the capture; structure from motion finds about as many in photographs of this size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Make a small synthetic town, photograph it from the air, reconstruct it, measure the result and grow it.

    Takes a few minutes on two cores. A second call with the same settings finds what the first one made.
    """

    output: Annotated[Path, arg(aliases=("-o",))] = Path("demo")
    """Folder for everything."""

    views: int = 40
    """Photographs to take."""

    width: int = 400
    """Width of the photographs, pixels."""

    extent_m: float = 100.0
    """Side of the square that is flown over, metres."""

    iterations: int = 2000
    """Training iterations."""

    seed: int = 0
    """Another seed, another town."""

    rings: int = 1
    """Grow the town by so many rings of cells at the end; 0 leaves it as it was photographed."""

    def __post_init__(self) -> None:
        if self.width < 64:
            raise SettingsError(f"--width is {self.width}; it must be at least 64")
        if self.rings < 0:
            raise SettingsError(f"--rings is {self.rings}; it must be zero or more")


def run(command: Demo, reporter: Reporter) -> int:
    """Make the capture, then do what `reconstruct` and `render` do."""
    from app.evaluating import evaluate_run, format_table
    from scene3d.data.synthetic import make_capture
    from scene3d.training.evaluation import EvaluationSettings
    from scene3d.training.run import reconstruct
    from scene3d.training.run_folder import RunFolder

    run_folder = RunFolder(command.output / "run")
    capture = make_capture(command.output / "capture", make_capture_settings(command), reporter)
    if run_folder.manifest.is_file():
        reporter.note(f"{run_folder.root} is finished already; delete it to train again")
    else:
        settings = make_run_settings(command)
        reconstruct(capture, run_folder.root, settings, resume=run_folder.config.is_file(), reporter=reporter)
    record, code = evaluate_run(run_folder.root, EvaluationSettings(), reporter)
    picture = make_picture(run_folder.root, command.output / "picture.png", reporter)
    print(format_table(record))
    if command.rings:
        grow(run_folder, command, reporter)
    print(f"scene    {run_folder.merged_scene}")
    print(f"report   {run_folder.report}")
    print(f"picture  {picture}")
    return code


def grow(run: "RunFolder", command: Demo, reporter: Reporter) -> None:
    """What `scene3d extend` does, unless an earlier call did it."""
    from app.commands.extend import print_result
    from blocks.extension import extend_run, list_extensions
    from blocks.extension_settings import ExtendSettings

    if any(extension.status == "active" for extension in list_extensions(run)):
        reporter.note(f"{run.root} has grown already; `scene3d extend {run.root} --undo` takes it back")
        return
    try:
        result = extend_run(run, ExtendSettings(rings=command.rings, seed=command.seed), reporter=reporter)
    except InputError as error:  # a town made small for a first look may be too thin to grow from
        reporter.note(f"the town stays as it was photographed: {error}", level="warning")
        return
    print_result(run, result)


def make_capture_settings(command: Demo) -> "SyntheticSettings":
    """The photographs of the demo."""
    from scene3d.data.synthetic import SyntheticSettings

    return SyntheticSettings(
        kind="aerial",
        num_views=command.views,
        width=command.width,
        height=round(command.width * 0.75),
        num_points=POINTS_PER_VIEW * command.views,
        extent_m=command.extent_m,
        seed=command.seed,
    )


def make_run_settings(command: Demo) -> ReconstructSettings:
    """The training of the demo."""
    return ReconstructSettings(iterations=command.iterations, seed=command.seed)


def make_picture(run: Path, path: Path, reporter: Reporter) -> Path:
    """One view that training never saw, in twice its size."""
    from app.scenes import open_capture, open_scene, pick_cameras
    from scene3d.io.images import write_image
    from scene3d.video import render_frames

    scene = open_scene(run, reporter)
    cameras = list(pick_cameras(scene, open_capture(scene, None), ()).values())
    camera = cameras[len(cameras) // 2].scaled(2.0)
    write_image(path, next(iter(render_frames(scene.gaussians, [camera]))))
    return path
