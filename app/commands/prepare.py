"""Owns `scene3d prepare`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from app.errors import ExitCode
from scene3d.data.sfm.settings import PrepareSettings
from scene3d.events import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Find the camera poses of a folder of photographs, by structure from motion.

    The result is a capture: undistorted photographs, a COLMAP model, and `prepare.json`, which says what registered.
    """

    photos: Annotated[Path, Positional, arg(metavar="PHOTOS")]
    """Folder with photographs; subfolders are searched too."""

    output: Annotated[Path, arg(aliases=("-o",))]
    """The capture to make; a new or empty folder."""

    settings: Annotated[PrepareSettings, arg(name="")] = field(default_factory=PrepareSettings)


def run(command: Prepare, reporter: Reporter) -> int:
    """Find the poses and say how it went."""
    from scene3d.data.sfm.prepare import prepare_capture

    report = prepare_capture(command.photos, command.output, command.settings, reporter=reporter)
    print(summarise(report))
    print(f"capture in {command.output}; next: scene3d reconstruct {command.output} --output RUN")
    return ExitCode.DONE


def summarise(report: Mapping[str, Any]) -> str:
    """The registration report in one line."""
    placed = f"{report['num_registered']} of {report['num_photos']} photographs placed"
    error = f"mean reprojection error {report['mean_reprojection_error_px']:.2f} px"
    georeference = "in metres from GPS" if report["georeference"] else "scale arbitrary"
    return (
        f"{placed}, {report['num_points']:,} points, {error}, {georeference}, {sum(report['seconds'].values()):.0f} s"
    )
