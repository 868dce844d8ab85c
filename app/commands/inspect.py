"""Owns `scene3d inspect`."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from app.errors import ExitCode, one_line
from scene3d.events import Reporter

if TYPE_CHECKING:
    from scene3d.data.capture import Capture, Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspect:
    """Say what is in a capture, what is wrong with it and what to do about it.

    Ends with 4 when something would stop a reconstruction.
    """

    capture: Annotated[Path, Positional, arg(metavar="CAPTURE")]
    """Folder with poses (COLMAP or transforms.json) and photographs."""

    decode: bool = False
    """Open every photograph too: finds damaged, black and duplicated ones, and takes its time."""

    json: bool = False
    """Print JSON instead of lines."""


def run(command: Inspect, reporter: Reporter) -> int:
    """Read the capture and print what the scene doctor finds."""
    from scene3d.data.capture import Severity
    from scene3d.data.inspection import inspect_capture
    from scene3d.data.reading import read_capture

    capture = read_capture(command.capture)
    findings = (*capture.findings, *inspect_capture(capture, decode=command.decode))
    if command.json:
        print(json.dumps(to_record(capture, findings), indent=1))
    else:
        print(describe(capture))
        for finding in findings:
            print(f"{finding.severity.value + ':':<9}{format_finding(finding)}")
        if not findings:
            print("nothing to mend")
    broken = any(finding.severity is Severity.ERROR for finding in findings)
    return ExitCode.INPUT if broken else ExitCode.DONE


def describe(capture: "Capture") -> str:
    """What there is, in one line."""
    sizes = sorted({(view.camera.width, view.camera.height) for view in capture.views})
    shown = ", ".join(f"{width} x {height}" for width, height in sizes[:3]) + (" ..." if len(sizes) > 3 else "")
    masks = sum(view.mask_path is not None for view in capture.views)
    masked = f", {masks} with masks" if masks else ""
    return f"{len(capture.views):,} photographs ({shown} pixels{masked}), {len(capture.points):,} points"


def format_finding(finding: "Finding") -> str:
    """A finding in one line: where, what, what to do."""
    where = f"{finding.where}: " if finding.where else ""
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return one_line(f"{where}{finding.what}{remedy}")


def to_record(capture: "Capture", findings: tuple["Finding", ...]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "schema_version": 1,
        "num_views": len(capture.views),
        "num_points": len(capture.points),
        "findings": [{**dataclasses.asdict(each), "severity": each.severity.value} for each in findings],
    }
