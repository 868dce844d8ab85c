"""Kills workers of a team, and whole programs that are then resumed, at random moments, and compares the final bytes.

    python benchmarks/robustness_workers.py --output benchmarks/results/robustness.json

A small synthetic capture is trained in blocks of anchors with two lanes: once by one process, once by two workers on
Ray, then with kills. Every run must end with the same files. Needs the extra `cluster`.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import describe_machine

from blocks.settings import GlobalSettings, RunSettings
from blocks.turn_settings import TurnSettings
from scene3d.data.synthetic import SyntheticSettings, make_capture
from scene3d.io.atomic import write_json
from scene3d.io.bounded_json import read_json_object
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.run_folder import RunFolder
from tests.blocks.ray_runs import Program, start_program

CAPTURE = SyntheticSettings(num_views=18, width=64, height=48, extent_m=60.0, num_points=1200)
NUM_WORKERS = 2
SETTINGS = RunSettings(
    field="anchors",
    iterations=400,
    blocks=3,
    sh_degree=1,
    eval_every=0,
    global_stage=GlobalSettings(iterations=50),
    anchors=AnchorSettings(features=16, offsets=4, hidden=16),
    turns=TurnSettings(accumulate=NUM_WORKERS),
)


def main() -> int:
    """Runs everything and prints the record; status 1 if any run ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of a worker, and as many of the program")
    parser.add_argument("--iterations", type=int, default=SETTINGS.iterations)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="keep the record in this file, under `workers`")
    arguments = parser.parse_args()
    settings = replace(SETTINGS, iterations=arguments.iterations)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), settings, random.Random(arguments.seed))
        keep(arguments.output, bench.record)
        for _ in range(arguments.kills):
            for kind in ("worker_kills", "program_kills"):
                bench.kill(kind)
                keep(arguments.output, bench.record)
    print(json.dumps(bench.record, indent=2))
    return int(bench.record["survived"] < bench.record["tried"])


class Bench:
    """The undisturbed runs, then one disturbed run after another; `record` tells of all so far."""

    def __init__(self, folder: Path, settings: RunSettings, moments: random.Random) -> None:
        self._folder = folder
        self._moments = moments
        self._settings = replace(settings, workers=NUM_WORKERS)
        self._capture = make_capture(folder / "capture", CAPTURE)
        machine = describe_machine()
        alone = _timed(start_program(self._capture, folder / "alone", settings))
        team = _timed(start_program(self._capture, folder / "team", self._settings))
        self._expected = alone["files"]
        same = team["files"] == self._expected
        self.record: dict[str, Any] = {
            "machine": machine,
            "capture": {"num_views": CAPTURE.num_views, "width": CAPTURE.width, "height": CAPTURE.height},
            "iterations": settings.iterations,
            "blocks": settings.blocks,
            "lanes": settings.turns.accumulate,
            "num_workers": NUM_WORKERS,
            "final_sha256": self._expected,
            "one_process": {"seconds": alone["seconds"]},
            "two_workers": {"seconds": team["seconds"], "same": same},
            "worker_kills": [],
            "program_kills": [],
            "tried": 1,
            "survived": int(same),
        }

    def kill(self, kind: str) -> None:
        """One more run, with a kill of a worker or of the program."""
        output = self._folder / f"{kind}{len(self.record[kind])}"
        disturb = _kill_a_worker if kind == "worker_kills" else _kill_the_program
        run = disturb(self._capture, output, self._settings, self._moments)
        same = run.pop("files") == self._expected
        self.record[kind].append({**run, "same": same})
        self.record["tried"] += 1
        self.record["survived"] += int(same)
        print(f"{kind} {len(self.record[kind])}: {self.record[kind][-1]}", file=sys.stderr, flush=True)


def keep(output: Path | None, record: dict[str, Any]) -> None:
    """Writes the record beside what others have measured, after every run: a long bench may be cut."""
    if output is not None:
        known = read_json_object(output) if output.is_file() else {"schema_version": 1}
        write_json(output, {**known, "workers": record})


def hash_run(root: Path) -> str:
    """One hash of every scene file that a finished run has left; what depends on the clock is not among them."""
    run, digest = RunFolder(root), sha256()
    files = [run.merged_scene, run.merged_scene.with_name("anchors.safetensors"), *run.blocks.glob("*/*.safetensors")]
    for path in sorted(files):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _timed(program: Program) -> dict[str, Any]:
    """A run that nobody disturbs any more, to its end."""
    started_s = time.monotonic()
    code = program.wait()
    if code != 0:
        raise RuntimeError(f"the program ended with {code}: {program.tail()}")
    return {"files": hash_run(program.output), "seconds": round(time.monotonic() - started_s, 1)}


def _kill_a_worker(capture: Path, output: Path, settings: RunSettings, moments: random.Random) -> dict[str, Any]:
    """SIGKILL for one of the workers, once, after a random part of the rounds and a random moment more."""
    program = start_program(capture, output, settings)
    rounds, delay_s = moments.randrange(0, 17), moments.uniform(0, 0.5)
    if not (program.wait_for(lambda: program.num_snapshots() >= rounds) and program.wait_for_workers(NUM_WORKERS)):
        raise RuntimeError(f"the program ended too early: {program.tail()}")
    time.sleep(delay_s)
    os.kill(moments.choice(program.worker_ids), signal.SIGKILL)
    return {**_timed(program), "after_rounds": rounds, "delay_s": round(delay_s, 3)}


def _kill_the_program(capture: Path, output: Path, settings: RunSettings, moments: random.Random) -> dict[str, Any]:
    """SIGKILL for the program, whose workers must end with it; then it is resumed."""
    program = start_program(capture, output, settings)
    rounds, delay_s = moments.randrange(0, 17), moments.uniform(0, 0.5)
    if not program.wait_for(lambda: program.num_snapshots() >= rounds and (output / "turns").is_dir()):
        raise RuntimeError(f"the program ended too early: {program.tail()}")
    time.sleep(delay_s)
    program.kill()
    return {
        **_timed(start_program(capture, output, settings, resume=True)),
        "rounds": rounds,
        "delay_s": round(delay_s, 3),
    }


if __name__ == "__main__":
    sys.exit(main())
