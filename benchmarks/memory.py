"""Reconstructs a capture in a process of its own and prints the most memory it held, in all and by stage, as JSON.

python benchmarks/memory.py                                  # a small synthetic capture
python benchmarks/memory.py ../shared/data/fox --image-scale 0.5 --iterations 500
python benchmarks/memory.py ../shared/data/caliterra --image-scale 0.5 --iterations 300 --memory-gb 0.15
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import describe_machine

from scene3d.data.synthetic import SyntheticSettings, make_capture
from scene3d.events import Quiet, read_events

SCHEMA_VERSION = 1
SAMPLE_EVERY_S = 0.1
ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = """
import resource, subprocess, sys
with open(sys.argv[1], "w") as log:
    process = subprocess.Popen(sys.argv[2:], stdout=log, stderr=log)
    print(process.pid, flush=True)
    code = process.wait()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, used.ru_maxrss, used.ru_utime + used.ru_stime, flush=True)
"""
IMPORTS = "import app.cli, blocks.run"
"""What a reconstruction loads before it reads anything: its memory is the floor."""


class Watched(NamedTuple):
    """A command that has ended: the most memory it or a child held, samples of (time, bytes), processor time."""

    peak_bytes: int
    samples: list[tuple[float, int]]
    code: int
    cpu_seconds: float


def main() -> int:
    """Reconstructs, prints the record, and passes the program's own exit code on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path, nargs="?", help="folder with photographs and poses")
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--image-scale", type=float, default=1.0)
    parser.add_argument("--views", type=int, default=24, help="of the synthetic capture")
    parser.add_argument("--memory-gb", type=float, help="what it may take above its imports; blocks follow from it")
    parser.add_argument("--output", type=Path, help="keep the record in this file as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        capture = arguments.capture.resolve() if arguments.capture else make_synthetic(Path(scratch), arguments.views)
        options = ["--iterations", str(arguments.iterations), "--image-scale", str(arguments.image_scale)]
        options += [] if arguments.memory_gb is None else ["--memory-gb", str(arguments.memory_gb)]
        record, code = measure(capture, Path(scratch), options)
        if arguments.memory_gb is not None:
            record |= describe_budget(record, int(arguments.memory_gb * 2**30))
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return code


def make_synthetic(scratch: Path, num_views: int) -> Path:
    """A small aerial capture."""
    settings = SyntheticSettings(kind="aerial", num_views=num_views, width=640, height=480, seed=0)
    return make_capture(scratch / "synthetic", settings, Quiet())


def describe_budget(record: dict[str, Any], budget_bytes: int) -> dict[str, Any]:
    """Whether the memory given was kept."""
    above = record["peak_bytes"] - record["imports_only_bytes"]
    return {"memory_budget_bytes": budget_bytes, "peak_above_imports_bytes": above, "kept": above <= budget_bytes}


def measure(capture: Path, scratch: Path, options: list[str]) -> tuple[dict[str, Any], int]:
    """Runs the command, without the evaluation at its end, and joins its memory with its events."""
    machine = describe_machine()  # before its own work counts as load
    floor_bytes = run_watched([sys.executable, "-c", IMPORTS], scratch / "imports.log").peak_bytes
    command = [sys.executable, "-m", "app.cli", "reconstruct", str(capture), "--output", str(scratch / "run")]
    command += ["--no-evaluate", *options]
    start_s = time.time()
    peak_bytes, samples, code, cpu_seconds = run_watched(command, scratch / "reconstruct.log")
    record = {
        "schema_version": SCHEMA_VERSION,
        "machine": machine,
        "capture": capture.name,
        "options": options,
        "seconds": round(time.time() - start_s, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "exit_code": code,
        "peak_bytes": peak_bytes,
        "imports_only_bytes": floor_bytes,
        "blocks": count_blocks(scratch / "run"),
        "stages": peak_by_stage(list(read_events(scratch / "run" / "events.jsonl")), samples),
    }
    if code != 0:
        record["output"] = (scratch / "reconstruct.log").read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    return record, code


def count_blocks(run: Path) -> int:
    """Blocks that the run was divided into; 1 for a scene in one piece."""
    plan = run / "plan.json"
    return len(json.loads(plan.read_text(encoding="utf-8"))["blocks"]) if plan.is_file() else 1


def run_watched(command: list[str], log: Path) -> Watched:
    """Runs a command to its end; samples of its memory only where the system shows them."""
    # A new process is charged with the size of the one it was forked from, and this one holds torch: a small process
    # in between keeps that out of the figure.
    launcher = Popen([sys.executable, "-I", "-S", "-c", LAUNCHER, str(log), *command], stdout=PIPE, text=True, cwd=ROOT)
    assert launcher.stdout is not None
    process_id = int(launcher.stdout.readline())
    samples: list[tuple[float, int]] = []
    ended = threading.Event()
    watcher = threading.Thread(target=_sample, args=(process_id, samples, ended))
    watcher.start()
    code, max_rss, cpu_seconds = launcher.stdout.readline().split()
    ended.set()
    watcher.join()
    launcher.wait()
    # Kilobytes on Linux, bytes on macOS. Where a program lets its peak be counted anew, the system forgets the old one.
    peak_bytes = int(max_rss) * (1 if sys.platform == "darwin" else 1024)
    peak_bytes = max(peak_bytes, max((size for _, size in samples), default=0))
    return Watched(peak_bytes, samples, int(code), float(cpu_seconds))


def peak_by_stage(events: list[dict[str, Any]], samples: list[tuple[float, int]]) -> dict[str, dict[str, Any]]:
    """Largest sample between the start and the finish of every stage; what the events carry themselves comes along."""
    stages: dict[str, dict[str, Any]] = {}
    started: dict[str, float] = {}
    for event in events:
        name = str(event.get("stage"))
        if event["event"] == "start":
            started[name] = float(event["time_s"])
        if event["event"] == "finish" and name in started:
            end_s = float(event["time_s"])
            inside = [size for at_s, size in samples if started[name] <= at_s <= end_s]
            stages[name] = {"seconds": round(end_s - started[name], 2), "peak_bytes": max(inside, default=None)}
            if "peak_memory_bytes" in event:
                stages[name]["reported_peak_bytes"] = event["peak_memory_bytes"]
    return stages


def _sample(process_id: int, samples: list[tuple[float, int]], ended: threading.Event) -> None:
    """Reads the resident size again and again until the process ends (Linux only)."""
    statm = Path(f"/proc/{process_id}/statm")
    while not ended.wait(SAMPLE_EVERY_S):
        try:
            pages = int(statm.read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return
        samples.append((time.time(), pages * os.sysconf("SC_PAGE_SIZE")))


if __name__ == "__main__":
    sys.exit(main())
