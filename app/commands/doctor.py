"""Owns `scene3d doctor`."""

import dataclasses
import json
from dataclasses import dataclass

from app.errors import ExitCode
from scene3d.events import Reporter

MARKS = {"yes": "ok", "no": "MISSING", "optional": "-"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """List what works on this machine, and why the rest does not.

    Ends with 6 when something the program needs is missing; what is only optional is marked with a dash.
    """

    json: bool = False
    """Print JSON instead of a table."""


def run(command: Doctor, reporter: Reporter) -> int:
    """Ask every question and print the answers."""
    from app.probes import probe_machine

    probes = probe_machine()
    if command.json:
        print(json.dumps({"schema_version": 1, "probes": [dataclasses.asdict(probe) for probe in probes]}, indent=1))
    else:
        for probe in probes:
            print(f"{MARKS[probe.state]:<8} {probe.name:<22} {probe.detail}")
    return ExitCode.MISSING if any(probe.state == "no" for probe in probes) else ExitCode.DONE
