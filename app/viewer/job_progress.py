"""Owns what a job's events tell: its stages, its curves and its warnings, read on as they grow."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.charts import Point, thin
from app.progress import Stage
from scene3d.io.bounded_json import is_number

MAX_NOTES = 20
MAX_READ_BYTES = 8 << 20
"""Of one look; what is more waits for the next."""


class JobProgress:
    """Follows one job's events."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        self.stages: dict[str, Stage] = {}
        self.finished: dict[str, list[str]] = {}
        self.notes: list[dict[str, str]] = []
        self.loss: list[Point] = []
        self.quality: list[Point] = []

    def read(self) -> None:
        """Take in what has been written since the last look."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                fresh = stream.read(MAX_READ_BYTES)
        except OSError:
            return
        self._offset += len(fresh)
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        for event in _parse(lines):
            self._take(event)

    def to_record(self) -> dict[str, Any]:
        """For the page."""
        now = time.time()
        return {
            "stages": [
                {"name": name, "step": stage.step, "total": stage.total, "text": ", ".join(stage.describe(now))}
                for name, stage in self.stages.items()
            ],
            "finished": [{"name": name, "text": ", ".join(text)} for name, text in self.finished.items()],
            "notes": self.notes[-MAX_NOTES:],
            "curves": {"loss": thin(sorted(self.loss)), "psnr_db": thin(sorted(self.quality))},
        }

    def _take(self, event: dict[str, Any]) -> None:
        kind, name, now = event.pop("event", None), str(event.pop("stage", "")), event.pop("time_s", 0.0)
        if not is_number(now):
            return
        if kind == "note":
            self.notes.append({"level": str(event.get("level")), "message": str(event.get("message"))})
        elif kind == "start" and is_number(total := event.pop("total", None)):
            self.finished.pop(name, None)
            self.stages[name] = Stage(int(total), event, float(now))
        elif kind == "advance" and name in self.stages and is_number(step := event.pop("step", None)):
            self.stages[name].move(int(step), event, float(now))
            self._add_points(int(step), event)
        elif kind == "finish" and name in self.stages:
            stage = self.stages.pop(name)
            stage.figures.update(event)
            self.finished[name] = stage.describe_end(float(now))

    def _add_points(self, step: int, figures: dict[str, Any]) -> None:
        for name, points in (("loss", self.loss), ("psnr_db", self.quality)):
            if is_number(value := figures.get(name)):
                points.append((float(step), float(value)))


def _parse(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # cut short by a crash
        if isinstance(event, dict):
            yield event
