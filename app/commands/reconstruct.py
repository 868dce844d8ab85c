"""Owns `scene3d reconstruct`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from app.errors import ExitCode
from app.settings_flags import PRESETS, find_flag, find_path
from scene3d.config import choose_preset, load_settings
from scene3d.events import Reporter
from scene3d.training.settings import ReconstructSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruct:
    """Turn a capture, or a plain folder of photographs, into a Gaussian scene.

    A setting comes from the flag given here, else from --config, else from the preset. All of them are kept in
    OUTPUT/config.yaml. The scene is OUTPUT/merged/scene.ply, in the capture's own coordinates.
    """

    capture: Annotated[Path, Positional, arg(metavar="CAPTURE")]
    """Folder with poses (COLMAP or transforms.json), or with photographs only: their poses are then found first."""

    output: Annotated[Path, arg(aliases=("-o",))]
    """The run folder to make."""

    preset: Literal["fast", "default", "high"] = "default"
    """Where the settings start: fast is for a first look, high for a long night."""

    config: Path | None = None
    """YAML file with settings, stronger than the preset."""

    resume: bool = False
    """Go on where an interrupted run in OUTPUT stopped, with its settings."""

    evaluate: bool = True
    """Measure the result on the held-out photographs afterwards."""

    settings: Annotated[ReconstructSettings, arg(name="")] = field(default_factory=ReconstructSettings)


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
    settings = load_settings(ReconstructSettings, file, preset=preset)
    return Reconstruct(capture=tyro.MISSING, output=tyro.MISSING, settings=settings)


def run(command: Reconstruct, reporter: Reporter) -> int:
    """Find poses if there are none, train, and measure."""
    from scene3d.training.run import reconstruct

    result = reconstruct(command.capture, command.output, command.settings, resume=command.resume, reporter=reporter)
    print(f"{result.num_gaussians:,} Gaussians in {result.run.merged_scene}, trained for {result.train_seconds:.0f} s")
    return ExitCode.DONE
