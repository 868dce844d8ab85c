"""Saves checkpoints in a child process that is killed, starved of disk, or stopped at a chosen system call."""

import errno
import io
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from scene3d.errors import LimitExceeded
from scene3d.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, sweep_checkpoints

STOPPED, REFUSED, DONE, BROKEN = 7, 5, 0, 1
"""Exit codes of a child: stopped at its call, LimitExceeded, saved, anything else."""

_WATCHED = ((io, "open"), (os, "open"), (os, "write"), (os, "fsync"), (os, "replace"), (os, "unlink"))


def make_state(number: int, num_values: int) -> dict[str, Tensor]:
    """Tensors that tell which save they belong to."""
    return {"values": torch.arange(num_values) * 3 + number, "number": torch.tensor(number)}


def save_numbered(folder: Path, number: int, num_values: int) -> None:
    """One save, as a training run makes it."""
    save_checkpoint(folder, make_state(number, num_values), {"iteration": number})


def check_state(loaded: Checkpoint | None) -> int:
    """The number of a loaded state, after making sure that all of it belongs together; -1 for none."""
    if loaded is None:
        return -1
    number = loaded.step
    wanted = make_state(number, len(loaded.tensors["values"]))
    if not all(torch.equal(loaded.tensors[name], tensor) for name, tensor in wanted.items()):
        raise AssertionError("a loaded checkpoint mixes two states")
    return number


def run_in_child(body: Callable[[], None]) -> int:
    """Run something in a fork of this process and return its exit code; it never returns into the caller's code."""
    child = os.fork()
    if child == 0:
        _leave(body)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_while_saving(folder: Path, delay_s: float, num_values: int) -> int:
    """Let a child save one checkpoint after another and kill it; returns the newest number it reported as saved."""
    reader, writer = os.pipe()
    start = check_state(load_checkpoint(folder)) + 1
    child = os.fork()
    if child == 0:
        os.close(reader)
        _leave(lambda: _save_for_ever(folder, start, num_values, writer))
    os.close(writer)
    with os.fdopen(reader, "rb") as reports:
        first = reports.read(1)
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        num_saved = len(first + reports.read())
    os.waitpid(child, 0)
    return start + num_saved - 1


def count_calls(body: Callable[[], None]) -> int:
    """How many watched system calls a body makes."""
    counter = _Stopper(stop_at=None)
    with counter:
        body()
    return counter.num_calls


def stop_at_call(index: int, body: Callable[[], None]) -> int:
    """Run a body in a child that vanishes just before its watched system call of this index (from 1)."""

    def stopped() -> None:
        with _Stopper(stop_at=index):
            body()

    return run_in_child(stopped)


def fail_at_call(index: int, body: Callable[[], None]) -> None:
    """Run a body whose watched call of this index, and every later one that needs space, meets a full disk."""
    with _Stopper(stop_at=index, disk_full=True):
        body()


def save_with_file_limit(folder: Path, number: int, num_values: int, max_file_bytes: int) -> int:
    """Save in a child whose files may not grow past a size, as on a full disk or quota."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
        save_numbered(folder, number, num_values)

    return run_in_child(limited)


def leftovers(folder: Path) -> list[str]:
    """What a sweep leaves that is neither one of at most three checkpoints nor whole."""
    sweep_checkpoints(folder)
    names = sorted(path.name for path in folder.iterdir())
    manifests = {Path(name).stem for name in names if name.endswith(".json")}
    tensors = {Path(name).stem for name in names if name.endswith(".safetensors")}
    others = [name for name in names if not name.endswith((".json", ".safetensors"))]
    # A save that was killed while it deleted the oldest leaves three.
    return [*others, *sorted(manifests ^ tensors), *sorted(manifests)[3:]]


def _save_for_ever(folder: Path, start: int, num_values: int, writer: int) -> None:
    number = start
    while True:
        save_numbered(folder, number, num_values)
        os.write(writer, b".")
        number += 1


def _leave(body: Callable[[], None]) -> NoReturn:
    code = BROKEN
    try:
        body()
        code = DONE
    except LimitExceeded:
        code = REFUSED
    finally:
        os._exit(code)


class _Stopper:
    """Counts the watched calls; at one of them it leaves the process, or lets it and all later ones fail."""

    def __init__(self, *, stop_at: int | None, disk_full: bool = False) -> None:
        self.num_calls = 0
        self._stop_at = stop_at
        self._disk_full = disk_full
        self._originals = [(module, name, getattr(module, name)) for module, name in _WATCHED]

    def __enter__(self) -> None:
        for module, name, original in self._originals:
            setattr(module, name, self._watching(name, original))

    def __exit__(self, *_: object) -> None:
        for module, name, original in self._originals:
            setattr(module, name, original)

    def _watching(self, name: str, original: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            self.num_calls += 1
            if self._stop_at is not None and self.num_calls >= self._stop_at:
                if not self._disk_full:
                    os._exit(STOPPED)
                if name != "unlink":
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*args, **options)

        return call
