"""Owns `scene3d reconstruct`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from app.errors import ExitCode
from app.settings_flags import PRESETS, OptionalPath, find_flag, find_path
from blocks.settings import RunSettings
from scene3d.config import choose_preset, load_settings
from scene3d.events import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruct:
    """Turn a capture, or a plain folder of photographs, into a Gaussian scene.

    A capture too large for the memory given (--memory-gb) is divided into blocks, which are trained one after another
    and merged; `scene3d partition` shows the division beforehand. Ends with 3 when a block could not be trained.

    A setting comes from the flag given here, else from --config, else from the preset. All of them are kept in
    OUTPUT/config.yaml. The scene is OUTPUT/merged/scene.ply, in the capture's own coordinates.
    """

    capture: Annotated[Path, Positional, arg(metavar="CAPTURE")]
    """Folder with poses (COLMAP or transforms.json), or with photographs only: their poses are then found first."""

    output: Annotated[Path, arg(aliases=("-o",))]
    """The run folder to make."""

    preset: Literal["fast", "default", "high"] = "default"
    """Where the settings start: fast is for a first look, high for a long night."""

    config: OptionalPath = None
    """YAML file with settings, stronger than the preset."""

    resume: bool = False
    """Go on where an interrupted run in OUTPUT stopped, with its settings."""

    evaluate: bool = True
    """Measure the result on the held-out photographs afterwards."""

    settings: Annotated[RunSettings, arg(name="")] = field(default_factory=RunSettings)


def make_defaults(words: Sequence[str]) -> Reconstruct:
    """What the flags start from: the preset and the settings file, or the settings of the run that goes on.

    Raises:
        SettingsError: The preset or the file cannot be used.
    """
    file = find_path(words, "--config")
    output = find_path(words, "--output", "-o")
    if file is None and "--resume" in words and output is not None and (output / "config.yaml").is_file():
        file = output / "config.yaml"
    preset = choose_preset(PRESETS, find_flag(words, "--preset") or "default")
    settings = load_settings(RunSettings, file, preset=preset)
    return Reconstruct(capture=tyro.MISSING, output=tyro.MISSING, settings=settings)


def run(command: Reconstruct, reporter: Reporter) -> int:
    """Find poses if there are none, train, and measure."""
    from blocks.run import reconstruct_run

    capture = find_capture(command, reporter)
    result = reconstruct_run(capture, command.output, command.settings, resume=command.resume, reporter=reporter)
    blocks = f" from {result.num_blocks} blocks" if result.num_blocks > 1 else ""
    print(
        f"{result.num_gaussians:,} Gaussians{blocks} in {result.run.merged_scene}, "
        f"trained for {result.train_seconds:.0f} s"
    )
    for hole in result.holes:
        reporter.note(f"block {hole.block_id} is missing: {hole.reason}; {hole.remedy}", level="warning")
    code = measure(command, reporter) if command.evaluate else ExitCode.DONE
    return ExitCode.PARTIAL if result.holes and code == ExitCode.DONE else code


def find_capture(command: Reconstruct, reporter: Reporter) -> Path:
    """The capture to train from; for a folder with photographs only, one is made beside the run folder."""
    from app.scenes import holds_only_photographs

    if not holds_only_photographs(command.capture):
        return command.capture
    from scene3d.data.sfm.prepare import prepare_capture
    from scene3d.data.sfm.settings import PrepareSettings

    made = command.output.with_name(f"{command.output.name}-capture")
    if (made / "prepare.json").is_file():
        reporter.note(f"poses were found before, in {made}")
        return made
    reporter.note(f"there are no poses in {command.capture}; finding them first, result in {made}")
    prepare_capture(command.capture, made, PrepareSettings(seed=command.settings.seed), reporter=reporter)
    return made


def measure(command: Reconstruct, reporter: Reporter) -> int:
    """What `scene3d evaluate` does, with its defaults."""
    from app.evaluating import evaluate_run, format_table
    from scene3d.training.evaluation import EvaluationSettings

    settings = EvaluationSettings(backend=command.settings.backend)
    record, code = evaluate_run(command.output, settings, reporter)
    print(format_table(record))
    print(f"report in {command.output / 'report.html'}")
    return code
