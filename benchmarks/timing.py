"""Times several things side by side: round after round, each thing once a round, so that a change in the machine's
load meets all of them alike."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Timed = Callable[[], dict[str, float]]
"""Does one thing once and returns the wall seconds of its named parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A figure that a section promises."""

    name: str
    value: float | None
    bar: float
    at_least: bool = True
    missing: str = ""
    """Why there is no value."""

    def to_record(self) -> dict[str, Any]:
        """For the JSON; `met` is null where the figure could not be measured."""
        rule = "at least" if self.at_least else "at most"
        record: dict[str, Any] = {"name": self.name, "value": self.value, "bar": f"{rule} {self.bar:g}", "met": None}
        if self.value is None:
            return record | {"reason": self.missing}
        return record | {"met": self.value >= self.bar if self.at_least else self.value <= self.bar}


def measure_rounds(
    things: Mapping[str, Timed], rounds: int, *, slow: frozenset[str] = frozenset()
) -> dict[str, dict[str, float]]:
    """Median milliseconds of every part of every thing.

    The processor time of the whole process comes along as `cpu`: unlike wall time it hardly grows when others work.

    Args:
        things: What to do, by name.
        rounds: How many times; one more comes before and does not count.
        slow: Things that take many seconds: done in every third round, and not beforehand.
    """
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in things}
    for number in range(-1, rounds):
        for name, thing in things.items():
            if name in slow and (number < 0 or number % 3):
                continue
            cpu_s = time.process_time()
            parts = thing()
            parts["cpu"] = time.process_time() - cpu_s
            if number >= 0:
                for part, seconds in parts.items():
                    samples[name].setdefault(part, []).append(seconds)
    return {
        name: {f"{part}_ms": round(1e3 * statistics.median(seconds), 3) for part, seconds in parts.items()}
        for name, parts in samples.items()
    }


def ratio(slow: float, fast: float) -> float:
    """How many times faster, to three figures."""
    return float(f"{slow / fast:.3g}")


BUSY_LOOP = """
import sys, time
start_s = time.perf_counter()
total = 0
for i in range(int(sys.argv[1])):
    total += i * i
print(time.perf_counter() - start_s)
"""


def start_busy_process(num_steps: int) -> "subprocess.Popen[str]":
    """A process that keeps one core busy with a fixed amount of work and prints how long it took."""
    command = [sys.executable, "-I", "-c", BUSY_LOOP, str(num_steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PATH": os.environ.get("PATH", "")})


def wait_for_busy_process(process: "subprocess.Popen[str]") -> float:
    """Seconds its work took."""
    output, _ = process.communicate(timeout=300)
    return float(output)
