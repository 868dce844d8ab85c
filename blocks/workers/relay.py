"""Owns how progress comes from workers to the process that talks to the person: through files of events."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from scene3d.events import Reporter

POLL_S = 0.5


class EventRelay:
    """Tells a reporter what workers append to their event files, as long as the body runs.

    Args:
        reporter: Of the person.
        paths: Of the files, which need not exist yet.
        tell: Passes one event on; by default as it is.
    """

    def __init__(
        self, reporter: Reporter, paths: list[Path], tell: Callable[[Path, dict[str, object]], None] | None = None
    ) -> None:
        self._reporter = reporter
        self._paths = paths
        self._tell = tell or (lambda _, event: pass_on(reporter, event))
        self._told = dict.fromkeys(paths, 0)
        self._done = Event()
        self._thread = Thread(target=self._follow, name="event relay", daemon=True)

    def __enter__(self) -> "EventRelay":
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._pass_new_on()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _follow(self) -> None:
        while not self._done.wait(POLL_S):
            self._pass_new_on()

    def _pass_new_on(self) -> None:
        for path, told in self._told.items():
            if not path.is_file():
                continue
            with path.open("rb") as stream:
                stream.seek(told)
                content = stream.read()
            whole, newline, _ = content.rpartition(b"\n")
            self._told[path] = told + len(whole) + len(newline)
            for line in whole.splitlines():
                with suppress(json.JSONDecodeError):  # a line that a dying worker wrote half
                    self._tell(path, json.loads(line))


def pass_on(reporter: Reporter, event: dict[str, object]) -> None:
    """Repeats one event of a log."""
    figures = {name: value for name, value in event.items() if name not in ("time_s", "event")}
    kind = event.get("event")
    if kind in ("start", "advance", "finish", "note"):
        getattr(reporter, str(kind))(**figures)
