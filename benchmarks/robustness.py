"""Damages files, kills saves and fills disks by the thousand, and prints what survived as JSON.

python benchmarks/robustness.py                                   # the long form: some ten minutes on a quiet machine
python benchmarks/robustness.py --mutations 500 --kills 20        # a quick look
python benchmarks/robustness.py --only "colmap binary" --seed 7   # one reader, other damage
"""

import argparse
import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import describe_machine

from scene3d.errors import LimitExceeded
from scene3d.io.checkpoint import load_checkpoint
from tests.faults import checkpoint_faults as faults
from tests.fuzz.mutations import Target, cases
from tests.fuzz.targets import TARGETS

SCHEMA_VERSION = 1
EXTRA_MEMORY_BYTES = 512 << 20
"""Address space a reader may take beyond what the process has when it starts."""

LONGEST_CASE_S = 10.0
"""By the clock; a busy machine may stretch a case, but not that far."""

BATCH = 500
NUM_VALUES = 40_000
SLOWEST_KILL_S = 0.06
FAULTS = ("kills", "stopped_calls", "full_disks")
BAD = ("out of memory", "wrong count", "foreign error", "hang", "signal")


def main() -> int:
    """Runs all parts and prints the record; status 1 if anything did not survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000, help="per reader")
    parser.add_argument("--kills", type=int, default=200, help="of a process that saves checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one reader, by name")
    parser.add_argument("--output", type=Path, help="keep the record in this file as well")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "machine": describe_machine(), "seed": arguments.seed}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        targets = [target for target in TARGETS if arguments.only in (None, target.name)]
        record["readers"] = {
            target.name: damage(target, folder / "readers", arguments.mutations, arguments.seed).to_record()
            for target in targets
        }
        if arguments.only is None:
            record["kills"] = kill_saves(folder / "kills", arguments.kills, arguments.seed)
            record["stopped_calls"] = stop_saves(folder / "stops")
            record["full_disks"] = fill_disks(folder / "disks")
    parts = [*record["readers"].values(), *(record[key] for key in FAULTS if key in record)]
    record["tried"] = sum(part["tried"] for part in parts)
    record["survived"] = sum(part["survived"] for part in parts)
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return int(record["survived"] < record["tried"])


@dataclass(slots=True)
class Damage:
    """What one reader made of many damaged files."""

    verdicts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    worst_cpu_s: float = 0.0
    peak_extra_bytes: int = 0

    def add(self, verdict: str, seconds: float, message: str) -> None:
        """Count one case."""
        self.verdicts[verdict] += 1
        self.worst_cpu_s = max(self.worst_cpu_s, seconds)
        if verdict in BAD:
            self.failures.append(message)

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        tried = self.verdicts.total()
        return {
            "tried": tried,
            "survived": tried - sum(self.verdicts[verdict] for verdict in BAD),
            "verdicts": dict(self.verdicts),
            "worst_cpu_s": round(self.worst_cpu_s, 3),
            "peak_extra_bytes": self.peak_extra_bytes,
            "failures": self.failures[:20],
        }


def damage(target: Target, folder: Path, count: int, seed: int) -> Damage:
    """Has a reader read `count` damaged files in children that may neither take long nor much memory."""
    result = Damage()
    for batch, start in enumerate(range(0, count, BATCH)):
        size = min(BATCH, count - start)
        done = 0
        while done < size:
            done = run_batch(target, folder / target.name, result, (seed * 1000 + batch) * 10, size, done)
    return result


def run_batch(target: Target, folder: Path, result: Damage, seed: int, size: int, skip: int) -> int:
    """Runs the cases of a batch from number `skip` on in one child; returns how many are done when it ends."""
    shutil.rmtree(folder, ignore_errors=True)  # what the batch before left
    folder.mkdir(parents=True)
    log = folder.parent / f"{target.name}.jsonl"
    log.write_text("")
    child = os.fork()
    if child == 0:
        try:
            _child(target, folder, log, (seed, size, skip))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    _, status, usage = os.wait4(child, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result.peak_extra_bytes = max(result.peak_extra_bytes, (usage.ru_maxrss - before) * 1024)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for verdict, seconds, message in lines:
        if verdict != "begun":
            result.add(verdict, seconds, message)
    begun = sum(verdict == "begun" for verdict, _, _ in lines)
    if os.WIFSIGNALED(status):
        ended_by = os.WTERMSIG(status)
        verdict = "hang" if ended_by == signal.SIGALRM else "signal"
        result.add(verdict, LONGEST_CASE_S, f"{lines[-1][2]}: ended by signal {ended_by}")
    elif begun == 0:
        raise RuntimeError(f"the reader of {target.name} does not even read good files")
    return skip + begun


def _child(target: Target, folder: Path, log: Path, span: tuple[int, int, int]) -> None:
    seed, size, skip = span
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    logging.disable()
    limit = _address_space_bytes() + EXTRA_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with log.open("a", buffering=1, encoding="utf-8") as stream:
        for index, (label, run) in enumerate(cases(target, folder, seed=seed, count=size)):
            if index < skip:
                continue
            stream.write(json.dumps(["begun", 0, label]) + "\n")
            started_s = time.process_time()
            signal.setitimer(signal.ITIMER_REAL, LONGEST_CASE_S)
            outcome = run()
            signal.setitimer(signal.ITIMER_REAL, 0)
            seconds = time.process_time() - started_s
            stream.write(json.dumps([outcome.verdict, seconds, f"{label}: {outcome.message}"]) + "\n")


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def kill_saves(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Kills a process at random moments while it saves; each time the last reported state must be there and clean."""
    delays = random.Random(seed)
    survived = 0
    for _ in range(count):
        saved = faults.kill_while_saving(folder, delays.uniform(0, SLOWEST_KILL_S), NUM_VALUES)
        found = faults.check_state(load_checkpoint(folder))
        survived += saved <= found <= saved + 1 and not faults.leftovers(folder)
    return {"tried": count, "survived": survived, "states_saved": found + 1 if count else 0}


def stop_saves(folder: Path) -> dict[str, Any]:
    """Ends a process before each system call of a save."""
    num_calls = _prepare(folder)
    survived = 0
    for index in range(1, num_calls + 1):
        place = folder / str(index)
        _save(place, 0, 1, 2)
        stopped = faults.stop_at_call(index, lambda place=place: _save(place, 3)) == faults.STOPPED
        survived += stopped and faults.check_state(load_checkpoint(place)) in (2, 3) and not faults.leftovers(place)
    return {"tried": num_calls, "survived": survived}


def fill_disks(folder: Path) -> dict[str, Any]:
    """Lets every call of a save, and all after it, meet a full disk; then files that may not grow past many sizes."""
    num_calls = _prepare(folder)
    survived = 0
    for index in range(1, num_calls + 1):
        place = folder / str(index)
        _save(place, 0, 1, 2)
        with suppress(LimitExceeded):
            faults.fail_at_call(index, lambda place=place: _save(place, 3))
        survived += faults.check_state(load_checkpoint(place)) in (2, 3) and not faults.leftovers(place)
    place = folder / "limited"
    faults.save_numbered(place, 0, NUM_VALUES)
    size_bytes = max(path.stat().st_size for path in place.iterdir())
    shares = [i / 20 for i in range(20)]
    for share in shares:
        code = faults.save_with_file_limit(place, 1, NUM_VALUES, int(size_bytes * share))
        whole = faults.check_state(load_checkpoint(place)) == 0
        survived += code == faults.REFUSED and whole and not faults.leftovers(place)
    return {"tried": num_calls + len(shares), "survived": survived}


def _prepare(folder: Path) -> int:
    _save(folder / "count", 0, 1, 2)
    return faults.count_calls(lambda: _save(folder / "count", 3))


def _save(folder: Path, *numbers: int) -> None:
    for number in numbers:
        faults.save_numbered(folder, number, 100)


if __name__ == "__main__":
    sys.exit(main())
