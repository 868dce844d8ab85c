"""Owns the one stream of progress events that the run folder keeps and every front end reads."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

Figure = float | int | str | bool | None


@runtime_checkable
class Reporter(Protocol):
    """Where progress goes: a file, a terminal, a page. Every call is cheap and never raises."""

    def start(self, stage: str, total: int, **figures: Figure) -> None:
        """A stage of `total` steps begins."""

    def advance(self, stage: str, step: int, **figures: Figure) -> None:
        """The stage stands at `step` (absolute, 0..total)."""

    def finish(self, stage: str, **figures: Figure) -> None:
        """The stage is done."""

    def note(self, message: str, *, level: str = "info") -> None:
        """One line for the person: `info` or `warning`."""


class Quiet:
    """A reporter that says nothing."""

    def start(self, stage: str, total: int, **figures: Figure) -> None: ...

    def advance(self, stage: str, step: int, **figures: Figure) -> None: ...

    def finish(self, stage: str, **figures: Figure) -> None: ...

    def note(self, message: str, *, level: str = "info") -> None: ...


class EventLog:
    """Appends each event as one JSON line; a line cut short by a crash is skipped on reading."""

    def __init__(self, path: Path, *, min_interval_s: float = 0.2) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._min_interval_s = min_interval_s
        self._last_advance_s = 0.0

    def start(self, stage: str, total: int, **figures: Figure) -> None:
        self._append("start", stage=stage, total=total, **figures)

    def advance(self, stage: str, step: int, **figures: Figure) -> None:
        now = time.monotonic()
        if now - self._last_advance_s >= self._min_interval_s:
            self._last_advance_s = now
            self._append("advance", stage=stage, step=step, **figures)

    def finish(self, stage: str, **figures: Figure) -> None:
        self._append("finish", stage=stage, **figures)

    def note(self, message: str, *, level: str = "info") -> None:
        self._append("note", message=message, level=level)

    def _append(self, event: str, **fields: Figure) -> None:
        record = {"time_s": round(time.time(), 3), "event": event, **fields}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")


class Tee:
    """Passes each event to several reporters."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def start(self, stage: str, total: int, **figures: Figure) -> None:
        for reporter in self._reporters:
            reporter.start(stage, total, **figures)

    def advance(self, stage: str, step: int, **figures: Figure) -> None:
        for reporter in self._reporters:
            reporter.advance(stage, step, **figures)

    def finish(self, stage: str, **figures: Figure) -> None:
        for reporter in self._reporters:
            reporter.finish(stage, **figures)

    def note(self, message: str, *, level: str = "info") -> None:
        for reporter in self._reporters:
            reporter.note(message, level=level)


def read_events(path: Path) -> Iterator[dict[str, Figure]]:
    """Every whole event of a log, oldest first."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


@contextmanager
def stage(reporter: Reporter, name: str, total: int) -> Iterator[None]:
    """Starts a stage and finishes it when the body ends without an error."""
    reporter.start(name, total)
    yield
    reporter.finish(name)
