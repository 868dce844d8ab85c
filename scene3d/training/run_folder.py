"""Owns the layout of a run folder and the lock that keeps two runs out of it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scene3d.errors import InputError
from scene3d.io.atomic import sweep_leftovers

RUN_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of one reconstruction lies."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.root / "config.yaml"

    @property
    def capture(self) -> Path:
        """Which capture, which frame, which split."""
        return self.root / "capture.json"

    @property
    def events(self) -> Path:
        """Progress, one JSON line each."""
        return self.root / "events.jsonl"

    @property
    def curve(self) -> Path:
        """Held-out figures while training, one JSON line each."""
        return self.root / "curve.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The last states of training."""
        return self.root / "checkpoints"

    @property
    def plan(self) -> Path:
        """How the scene was divided into blocks, where it was."""
        return self.root / "plan.json"

    @property
    def plan_map(self) -> Path:
        """The division seen from above."""
        return self.root / "plan.png"

    @property
    def blocks(self) -> Path:
        """One folder for each block."""
        return self.root / "blocks"

    @property
    def turns(self) -> Path:
        """What blocks in turns need until all are finished."""
        return self.root / "turns"

    @property
    def shared(self) -> Path:
        """What all blocks are trained amid."""
        return self.root / "shared"

    @property
    def merged_scene(self) -> Path:
        """The finished scene in the capture's own frame."""
        return self.root / "merged" / "scene.ply"

    @property
    def merged_anchors(self) -> Path:
        """Anchors and decoder of the finished scene in the world frame, where anchors were trained."""
        return self.root / "merged" / "anchors.safetensors"

    @property
    def manifest(self) -> Path:
        """What the finished scene is: frame, counts, settings hash."""
        return self.root / "merged" / "manifest.json"

    @property
    def evaluation(self) -> Path:
        """Metrics and pictures."""
        return self.root / "eval"

    @property
    def metrics(self) -> Path:
        """The measured quality."""
        return self.root / "eval" / "metrics.json"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.root / "report.html"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second run out of the folder, and sweeps what a killed one left behind.

        Raises:
            InputError: Another living process works in this folder.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = self.root / "run.lock"
        _take_lock(lock)
        try:
            sweep_leftovers(self.root)
            yield
        finally:
            lock.unlink(missing_ok=True)


def read_run(root: Path) -> tuple[RunFolder, dict[str, Any]]:
    """A run folder and its capture record.

    Raises:
        InputError: There is no reconstruction in this folder.
    """
    run = RunFolder(root)
    if not run.capture.is_file():
        raise InputError(
            "there is no reconstruction here", where=root, remedy="give the --output folder of `scene3d reconstruct`"
        )
    try:
        record = json.loads(run.capture.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"capture.json cannot be read ({error})", where=run.capture) from error
    if record.get("schema_version") != RUN_SCHEMA_VERSION:
        raise InputError(
            f"the run was written with layout {record.get('schema_version')}; this program reads {RUN_SCHEMA_VERSION}",
            where=root,
        )
    return run, record


def _take_lock(lock: Path) -> None:
    """Creates the lock, or takes over one whose process is gone."""
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        owner = _read_owner(lock)
        if owner is not None and owner != os.getpid() and _is_alive(owner):
            raise InputError(
                f"process {owner} is working in this folder",
                where=lock.parent,
                remedy="wait for it, or choose another --output",
            ) from None
        lock.unlink(missing_ok=True)
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(str(os.getpid()))


def _read_owner(lock: Path) -> int | None:
    try:
        return int(lock.read_text())
    except (ValueError, OSError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OSError):
        return True
    return True
