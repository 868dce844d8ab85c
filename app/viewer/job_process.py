"""Owns the process of a job: how it is started and stopped, and what its end means."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.errors import ExitCode
from app.viewer.job_record import Job, State, is_alive


def start_process(place: Path, words: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Begin a job; its events and what it prints go into its folder.

    Raises:
        OSError: It cannot be started.
    """
    environment = {**os.environ, "SCENE3D_EVENTS": str(place / "events.jsonl"), "PYTHONUNBUFFERED": "1"}
    with (place / "output.log").open("ab") as log:
        return subprocess.Popen(
            words,
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def interrupt(job: Job) -> None:
    """Ask a job to keep what it has done and end; its own children are its own to end."""
    if job.pid is not None and is_alive(job):
        with suppress(OSError):
            os.kill(job.pid, signal.SIGINT)


def kill(job: Job) -> None:
    """End a job and all that it has started."""
    if job.pid is not None and is_alive(job):
        with suppress(OSError):
            os.killpg(job.pid, signal.SIGKILL)


def resumed_words(job: Job) -> list[str]:
    """The words of a job, told to go on where its run folder shows that it has begun."""
    words = list(job.words)
    begun = job.run_root is not None and (Path(job.run_root) / "config.yaml").is_file()
    if job.kind == "reconstruct" and begun and "--resume" not in words:
        words.append("--resume")
    return words


def find_unseen_end(job: Job) -> int:
    """How a job ended that another server had started: its run folder tells."""
    root = None if job.run_root is None else Path(job.run_root)
    manifest = None if root is None else root / "merged" / "manifest.json"
    is_done = manifest is not None and manifest.is_file() and manifest.stat().st_mtime >= (job.started_s or 0)
    return int(ExitCode.DONE) if is_done else -signal.SIGKILL


def judge(code: int, wanted: State | None, log: str) -> tuple[State, int, str]:
    """State and message of a job whose process has ended.

    Args:
        code: Of its end; negative where a signal ended it.
        wanted: What somebody asked it to become, if anybody did.
        log: The last that it printed.
    """
    if code == ExitCode.DONE:
        return "done", code, ""
    if code == ExitCode.PARTIAL:
        return "partial", code, _last_line(log) or "finished, but not everything could be done"
    if wanted is not None:
        return wanted, code, "" if wanted == "cancelled" else "paused; it goes on from its last checkpoint"
    if code == ExitCode.INTERRUPTED or code == -signal.SIGINT:
        return "paused", code, "it was interrupted; it goes on from its last checkpoint"
    if code < 0:
        reason = "out of memory is the usual reason" if code == -signal.SIGKILL else f"signal {-code}"
        return "killed", code, f"the process was killed ({reason}); it can go on from its last checkpoint"
    return "failed", code, _last_line(log) or f"it ended with {code}"


def _last_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    spoken = [line.removeprefix("scene3d: ") for line in lines if line.startswith("scene3d: ")]
    return (spoken or lines or [""])[-1][:500]
