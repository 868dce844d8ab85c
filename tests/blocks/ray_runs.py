"""The program as a person starts it, on Ray: a process of its own whose workers, and which itself, can be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from blocks.settings import RunSettings
from scene3d.config import write_settings

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 540.0
"""Longest that one run may take; a busy machine starts a group of workers in a minute."""

_POLL_S = 0.02


@dataclass(slots=True)
class Program:
    """A running `scene3d reconstruct`."""

    process: subprocess.Popen[bytes]
    output: Path
    log: Path
    worker_ids: list[int] = field(default_factory=list)
    """Processes that trained when they were waited for."""

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Until the condition holds, True; False where the program ended before."""
        for _ in range(int(PATIENCE_S / _POLL_S)):
            if condition():
                return True
            try:
                self.process.wait(_POLL_S)
                return False
            except subprocess.TimeoutExpired:
                continue
        raise TimeoutError(f"nothing happened within {PATIENCE_S} s: {self.tail()}")

    def num_snapshots(self) -> int:
        """Rounds that were kept so far, as the number of the last one tells."""
        numbers = [int(path.stem.split("_")[1]) for path in (self.output / "turns" / "rounds").glob("*.json")]
        return max(numbers, default=-1) + 1

    def wait_for_workers(self, count: int) -> bool:
        """Until so many processes train; `worker_ids` are then theirs. False where the program ended before."""
        return self.wait_for(lambda: len(self._find_workers()) >= count)

    def _find_workers(self) -> list[int]:
        import psutil

        self.worker_ids = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                name = " ".join(child.cmdline())
            except psutil.Error:
                continue
            # Those that Ray only keeps ready have another name.
            if name.startswith(("ray::RayTrainWorker", "ray::_train_one")):
                self.worker_ids.append(child.pid)
        return self.worker_ids

    def kill(self) -> None:
        """SIGKILL to the program itself, and waits until the processes it had started are gone too."""
        import psutil

        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
        assert not alive, f"processes outlived their program: {alive}"

    def tail(self) -> str:
        """The last of what it said."""
        return self.log.read_text(errors="replace")[-3000:]


def start_program(capture: Path, output: Path, settings: RunSettings, *, resume: bool = False) -> Program:
    """`scene3d reconstruct` with these settings, one thread per process, nothing to read from."""
    config = output.with_name(f"{output.name}.yaml")
    write_settings(config, settings)
    log = output.with_name(f"{output.name}.log")
    command = ["-m", "app.cli", "reconstruct", str(capture), "--output", str(output), "--config", str(config)]
    command += ["--no-evaluate", *(["--resume"] if resume else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=output.parent,
            env=environment,
        )
    return Program(process=process, output=output, log=log)
