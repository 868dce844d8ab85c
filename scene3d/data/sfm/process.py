"""Owns running the child: progress from its database, its events, and what its death means."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from scene3d.errors import InputError, LimitExceeded, Scene3dError
from scene3d.events import Reporter

POLL_S = 0.5

ENDING_S = 60.0
"""How long a child that has done its work may take to end."""


def run_child(job: dict[str, Any], work: Path, *, num_images: int, reporter: Reporter) -> dict[str, Any]:
    """Runs structure from motion to its end and returns what the child reported.

    Raises:
        InputError: No model could be made.
        LimitExceeded: The child was killed, most likely for memory.
        Scene3dError: The child failed in another way; its last words are in the message.
    """
    job_path, log_path = work / "job.json", work / "sfm.log"
    job_path.write_text(json.dumps(job), encoding="utf-8")
    events: list[dict[str, Any]] = []
    with log_path.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "scene3d.data.sfm.child", str(job_path)],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert child.stdout is not None
        reader = threading.Thread(target=_collect, args=(child.stdout, events), daemon=True)
        reader.start()
        try:
            _follow(child, events, Path(job["work"]) / "database.db", num_images, job["matcher"], reporter)
            # It has said its last word. On a busy machine ending takes a while; killed now it would count as failed.
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=ENDING_S)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
            reader.join(timeout=5)
            child.stdout.close()
    return _conclude(child.returncode, events, log_path, job["matcher"])


def _collect(stream: IO[bytes], events: list[dict[str, Any]]) -> None:
    for line in stream:
        try:
            events.append({**json.loads(line), "time_s": time.monotonic()})
        except json.JSONDecodeError:
            continue


def _follow(
    child: subprocess.Popen[bytes],
    events: list[dict[str, Any]],
    database: Path,
    num_images: int,
    matcher: str,
    reporter: Reporter,
) -> None:
    """Turns what lies in the database and what the child says into progress."""
    num_pairs = num_images * (num_images - 1) // 2 if matcher == "exhaustive" else num_images * 30
    stages: list[tuple[str, str, int, Callable[[], int]]] = [
        ("features", "extracted", num_images, lambda: _count(database, "keypoints")),
        ("matches", "matched", num_pairs, lambda: _count(database, "two_view_geometries")),
        (
            "poses",
            "mapped",
            num_images,
            lambda: max([e["count"] for e in events if e["event"] == "registered"], default=0),
        ),
        ("undistort", "undistorted", 1, lambda: 0),
    ]
    for stage, end, total, measure in stages:
        reporter.start(stage, total)
        while not any(event["event"] in (end, "failed") for event in events):
            if child.poll() is not None:
                # The last lines may still be in the pipe.
                time.sleep(POLL_S)
                if not any(event["event"] == end for event in events):
                    return
            reporter.advance(stage, min(measure(), total))
            time.sleep(POLL_S)
        reporter.finish(stage)


def _count(database: Path, table: str) -> int:
    """Rows of a table while the child writes it; 0 when it cannot be asked just now."""
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0.1)
    except sqlite3.Error:
        return 0
    try:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])
    except sqlite3.Error:
        return 0
    finally:
        connection.close()


def _conclude(code: int, events: list[dict[str, Any]], log_path: Path, matcher: str) -> dict[str, Any]:
    by_name = {event["event"]: event for event in events}
    if code == -signal.SIGKILL:
        raise LimitExceeded(
            "structure from motion was killed, most likely for memory",
            remedy="lower --feature-image-size or --num-features",
        )
    if "failed" in by_name:
        raise InputError(
            by_name["failed"]["reason"],
            remedy="check that the photographs overlap by two thirds, are sharp, and were taken from different places",
        )
    if code != 0 or "undistorted" not in by_name:
        words = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise Scene3dError(
            f"structure from motion ended with code {code}: {words[-1] if words else 'without a word'}",
            remedy="report this with the photographs' camera model",
        )
    times = [by_name[name]["time_s"] for name in ("extracted", "matched", "mapped", "undistorted")]
    seconds = {"match": times[1] - times[0], "map": times[2] - times[1], "undistort": times[3] - times[2]}
    return {"mapped": by_name["mapped"], "extracted": by_name["extracted"], "matcher": matcher, "seconds": seconds}
