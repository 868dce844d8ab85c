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

from blocks.settings import RunSettings
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
        record = measure(Path(scratch), settings, arguments.kills, random.Random(arguments.seed))
    print(json.dumps(record, indent=2))
    if arguments.output:
        known = read_json_object(arguments.output) if arguments.output.is_file() else {"schema_version": 1}
        write_json(arguments.output, {**known, "workers": record})
    return int(record["survived"] < record["tried"])


def measure(folder: Path, settings: RunSettings, kills: int, moments: random.Random) -> dict[str, Any]:
    """All runs, one after another."""
    capture = make_capture(folder / "capture", CAPTURE)
    alone = _timed(start_program(capture, folder / "alone", settings))
    team_settings = replace(settings, workers=NUM_WORKERS)
    expected = alone["files"]
    team = _timed(start_program(capture, folder / "team", team_settings))
    runs = [team]
    for number in range(kills):
        runs.append(_kill_a_worker(capture, folder / f"worker{number}", team_settings, moments))
        print(f"worker {number}: {runs[-1]['files'] == expected}", file=sys.stderr, flush=True)
    for number in range(kills):
        runs.append(_kill_the_program(capture, folder / f"program{number}", team_settings, moments))
        print(f"program {number}: {runs[-1]['files'] == expected}", file=sys.stderr, flush=True)
    same = [run["files"] == expected for run in runs]
    outcomes = [_outcome(run, equal) for run, equal in zip(runs[1:], same[1:], strict=True)]
    return {
        "machine": describe_machine(),
        "capture": {"num_views": CAPTURE.num_views, "width": CAPTURE.width, "height": CAPTURE.height},
        "iterations": settings.iterations,
        "blocks": settings.blocks,
        "lanes": settings.turns.accumulate,
        "num_workers": NUM_WORKERS,
        "final_sha256": expected,
        "one_process": {"seconds": alone["seconds"]},
        "two_workers": {"seconds": team["seconds"], "same": same[0]},
        "worker_kills": outcomes[:kills],
        "program_kills": outcomes[kills:],
        "tried": len(runs),
        "survived": sum(same),
    }


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
    if not program.wait_for(lambda: program.num_snapshots() >= rounds and len(program.worker_ids()) == NUM_WORKERS):
        raise RuntimeError(f"the program ended too early: {program.tail()}")
    time.sleep(delay_s)
    os.kill(moments.choice(program.worker_ids()), signal.SIGKILL)
    return {**_timed(program), "rounds": rounds, "delay_s": round(delay_s, 3)}


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


def _outcome(run: dict[str, Any], same: bool) -> dict[str, Any]:
    return {"after_rounds": run["rounds"], "delay_s": run["delay_s"], "same": same, "seconds": run["seconds"]}


if __name__ == "__main__":
    sys.exit(main())
