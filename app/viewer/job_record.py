"""Owns the record of a job on disk: what runs, for which run, and how it ended. The folder is the truth, not memory."""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from scene3d.errors import InputError
from scene3d.io.atomic import write_json
from scene3d.io.bounded_json import read_json_object

SCHEMA_VERSION = 1
State = Literal["waiting", "running", "paused", "done", "partial", "failed", "cancelled", "killed"]
Kind = Literal["reconstruct", "prepare", "demo", "partition", "evaluate", "film", "extend", "undo", "inspect", "export"]

ENDED: frozenset[State] = frozenset({"done", "partial", "failed", "cancelled"})
RESUMABLE: frozenset[State] = frozenset({"paused", "killed", "failed"})
RESUMABLE_KINDS: frozenset[Kind] = frozenset({"reconstruct", "demo", "evaluate", "film", "partition"})
PAUSABLE_KINDS: frozenset[Kind] = frozenset({"reconstruct", "demo"})
"""Kinds that keep what they have done when they are interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call of the command line that the viewer makes for somebody."""

    id: str
    kind: Kind
    title: str
    words: tuple[str, ...]
    """What follows `scene3d`."""

    run: str | None = None
    """Id of the run it makes or works on."""

    run_root: str | None = None
    """Its folder."""

    product: str | None = None
    """Artifact of that run to download when it is done."""

    state: State = "waiting"
    pid: int | None = None
    pid_started: str | None = None
    """When that process began, in the kernel's own clock: another process may get its number."""

    exit_code: int | None = None
    message: str = ""
    """What a person should know: the error, or why it stands still."""

    created_s: float = 0.0
    started_s: float | None = None
    ended_s: float | None = None


def write_job(folder: Path, job: Job) -> None:
    """Keep a job."""
    write_json(folder / job.id / "job.json", {"schema_version": SCHEMA_VERSION, **asdict(job)})


def read_job(path: Path) -> Job | None:
    """A job that was kept; None where the record is damaged or of another layout."""
    try:
        record = read_json_object(path)
        return _from_record(record) if record.pop("schema_version", None) == SCHEMA_VERSION else None
    except (InputError, TypeError, ValueError):
        return None


def process_start(pid: int) -> str | None:
    """When a process began, as the kernel counts; None where it is gone or the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything; the numbers follow the last one.
    parts = text.rpartition(")")[2].split()
    return None if parts[0] == "Z" else parts[19]


def is_alive(job: Job) -> bool:
    """Whether a job's own process still runs."""
    if job.pid is None:
        return False
    if os.path.isdir("/proc/self"):
        return job.pid_started is not None and process_start(job.pid) == job.pid_started
    try:
        os.kill(job.pid, 0)
    except OSError:
        return False
    return True


def _from_record(record: dict[str, Any]) -> Job:
    names = {part.name for part in fields(Job)}
    job = Job(**{name: value for name, value in record.items() if name in names} | {"words": tuple(record["words"])})
    if job.state not in get_args(State) or job.kind not in get_args(Kind):
        raise ValueError(f"there is no state {job.state}")
    return job
