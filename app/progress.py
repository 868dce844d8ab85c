"""Owns how progress looks on a terminal: live bars where there is one, plain lines where output is piped."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from scene3d.events import EventLog, Figure, Reporter, Tee

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVENTS_VARIABLE = "SCENE3D_EVENTS"
"""Names a file that gets every event of a command as a line of JSON, for whoever started it."""

UNITS = {"psnr_db": " dB", "seconds": " s"}
"""What follows a figure of that name."""

NUM_RATE_SAMPLES = 30
RATE_SAMPLE_S = 0.5
"""The rate is that of the last samples, so that it follows a scene that grows."""


@contextmanager
def open_progress(stream: TextIO | None = None) -> Iterator[Reporter]:
    """A reporter for people, on stderr unless told otherwise, and a log for the program that asked for one."""
    stream = sys.stderr if stream is None else stream
    with _open_shown(stream) as shown:
        path = os.environ.get(EVENTS_VARIABLE)
        yield shown if path is None else Tee(EventLog(Path(path)), shown)


@contextmanager
def _open_shown(stream: TextIO) -> Iterator[Reporter]:
    if not stream.isatty():
        yield PlainProgress(stream)
        return
    bars = BarProgress(stream)
    try:
        yield bars
    finally:
        bars.close()


def format_figure(name: str, value: Figure) -> str:
    """One figure as a person reads it: `loss 0.0432`, `psnr 27.31 dB`, `12,345 gaussians`."""
    words = name.removeprefix("num_").removesuffix("_db").replace("_", " ")
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return f"{words} {value}"
    if isinstance(value, int):
        return f"{value:,} {words}"
    shown = f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"
    return f"{words} {shown}{UNITS.get(name, '')}"


def format_duration(seconds: float) -> str:
    """`42 s`, `3:07` or `1:02:03`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Stage:
    """Where one stage stands, and how fast it went lately."""

    def __init__(self, total: int, figures: dict[str, Figure], now_s: float) -> None:
        # A resumed stage says at which `step` it begins; the rate counts from there.
        first = figures.pop("step", 0)
        self.total = total
        self.step = int(first) if isinstance(first, int | float) else 0
        self.figures = figures
        self.started_s = now_s
        self.spoken_s = now_s
        self._samples: deque[tuple[float, int]] = deque([(now_s, self.step)], maxlen=NUM_RATE_SAMPLES)

    def move(self, step: int, figures: dict[str, Figure], now_s: float) -> None:
        """The stage stands at `step` now."""
        self.step = step
        self.figures.update(figures)
        if now_s - self._samples[-1][0] >= RATE_SAMPLE_S:
            self._samples.append((now_s, step))

    def rate(self, now_s: float) -> float | None:
        """Steps per second over the last samples, None before there is any to measure."""
        first_s, first_step = self._samples[0]
        done, elapsed_s = self.step - first_step, now_s - first_s
        return done / elapsed_s if done > 0 and elapsed_s > 0 else None

    def describe(self, now_s: float) -> list[str]:
        """Rate, time left and figures, as far as they are known."""
        rate, parts = self.rate(now_s), []
        if rate is not None:
            parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each")
            parts.append(f"{format_duration((self.total - self.step) / rate)} left")
        return [*parts, *_format_figures(self.figures)]

    def describe_end(self, now_s: float) -> list[str]:
        """Time it took, and the last figures."""
        return [f"done in {format_duration(now_s - self.started_s)}", *_format_figures(self.figures)]


class PlainProgress:
    """A line when a stage begins and ends, and one every few seconds in between: for pipes and log files."""

    def __init__(self, stream: TextIO, *, interval_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._clock = clock
        self._stages: dict[str, Stage] = {}

    def start(self, stage: str, total: int, **figures: Figure) -> None:
        """Says that the stage begins."""
        now = self._clock()
        self._stages[stage] = Stage(total, figures, now)
        self._say(f"{stage}: {total:,} steps" if total > 1 else f"{stage} ...")

    def advance(self, stage: str, step: int, **figures: Figure) -> None:
        """Says where the stage stands, when the last line is old enough."""
        known = self._stages.get(stage)
        if known is None:
            return
        now = self._clock()
        known.move(step, figures, now)
        if now - known.spoken_s >= self._interval_s:
            known.spoken_s = now
            self._say(", ".join([f"{stage}: {step:,} of {known.total:,}", *known.describe(now)]))

    def finish(self, stage: str, **figures: Figure) -> None:
        """Says that the stage is done and how long it took."""
        known = self._stages.pop(stage, None)
        if known is None:
            return
        known.figures.update(figures)
        self._say(f"{stage}: {', '.join(known.describe_end(self._clock()))}")

    def note(self, message: str, *, level: str = "info") -> None:
        """Passes a line on."""
        self._say(message if level == "info" else f"{level}: {message}")

    def _say(self, line: str) -> None:
        # Nobody reading any more is no reason to stop the work.
        with suppress(OSError, ValueError):
            print(line, file=self._stream, flush=True)


class BarProgress:
    """Live bars with rate, time left and figures."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._bars = _make_bars(stream)
        self._tasks: dict[str, tuple[TaskID, Stage]] = {}

    def start(self, stage: str, total: int, **figures: Figure) -> None:
        """Adds a bar."""
        self._bars.start()
        if stage in self._tasks:
            self._bars.remove_task(self._tasks[stage][0])
        state = Stage(total, figures, self._clock())
        task = self._bars.add_task(stage, total=total, completed=state.step, info="")
        self._tasks[stage] = (task, state)

    def advance(self, stage: str, step: int, **figures: Figure) -> None:
        """Moves the bar."""
        if stage not in self._tasks:
            return
        task, state = self._tasks[stage]
        now = self._clock()
        state.move(step, figures, now)
        self._bars.update(task, completed=step, info=", ".join(state.describe(now)))

    def finish(self, stage: str, **figures: Figure) -> None:
        """Leaves the bar full, with the time it took."""
        if stage not in self._tasks:
            return
        task, state = self._tasks.pop(stage)
        state.figures.update(figures)
        full = max(1, state.total)
        self._bars.update(task, completed=full, total=full, info=", ".join(state.describe_end(self._clock())))
        if not self._tasks:
            self._bars.stop()  # what is printed next must not be drawn over
            self._bars = _make_bars(self._stream)

    def note(self, message: str, *, level: str = "info") -> None:
        """Prints a line above the bars."""
        text = message if level == "info" else f"{level}: {message}"
        self._bars.console.print(text, style="yellow" if level != "info" else "", markup=False, highlight=False)

    def close(self) -> None:
        """Takes the bars off the terminal, whatever state they are in."""
        self._bars.stop()


def _format_figures(figures: dict[str, Figure]) -> list[str]:
    return [format_figure(name, value) for name, value in figures.items() if value is not None]


def _make_bars(stream: TextIO) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[info]}", markup=False),
    )
    return Progress(*columns, console=Console(file=stream), refresh_per_second=4)
