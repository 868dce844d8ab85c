"""Killed at any moment, stopped at any call, with any full disk: there is always a checkpoint to go on from."""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from scene3d.errors import LimitExceeded
from scene3d.io.checkpoint import load_checkpoint
from tests.faults import checkpoint_faults as faults

NUM_VALUES = 40_000
NUM_KILLS = 15
SLOWEST_KILL_S = 0.06


def test_a_run_killed_while_saving_keeps_what_it_reported_and_leaves_nothing(tmp_path: Path) -> None:
    delays = random.Random(11)
    reported = []
    for _ in range(NUM_KILLS):
        saved = faults.kill_while_saving(tmp_path, delays.uniform(0, SLOWEST_KILL_S), NUM_VALUES)
        found = faults.check_state(load_checkpoint(tmp_path))
        # The last save may have become durable without the child having had the time to say so.
        assert saved <= found <= saved + 1
        assert faults.leftovers(tmp_path) == []
        assert faults.check_state(load_checkpoint(tmp_path)) == found
        reported.append(saved)
    assert len(reported) == NUM_KILLS
    assert reported == sorted(reported)


def test_a_save_stopped_before_each_of_its_calls_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    for number in (0, 1, 2):
        faults.save_numbered(tmp_path / "count", number, 100)
    num_calls = faults.count_calls(lambda: faults.save_numbered(tmp_path / "count", 3, 100))
    assert num_calls >= 10
    found = []
    for index in range(1, num_calls + 1):
        folder = tmp_path / str(index)
        for number in (0, 1, 2):
            faults.save_numbered(folder, number, 100)
        code = faults.stop_at_call(index, lambda folder=folder: faults.save_numbered(folder, 3, 100))
        assert code == faults.STOPPED
        found.append(faults.check_state(load_checkpoint(folder)))
        assert faults.leftovers(folder) == []
        assert faults.check_state(load_checkpoint(folder)) == found[-1]
        faults.save_numbered(folder, 4, 100)
        assert faults.check_state(load_checkpoint(folder)) == 4
    assert set(found) == {2, 3}
    assert found == sorted(found)


def test_a_disk_that_is_full_from_any_call_on_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    for number in (0, 1, 2):
        faults.save_numbered(tmp_path / "count", number, 100)
    num_calls = faults.count_calls(lambda: faults.save_numbered(tmp_path / "count", 3, 100))
    found = []
    for index in range(1, num_calls + 1):
        folder = tmp_path / str(index)
        for number in (0, 1, 2):
            faults.save_numbered(folder, number, 100)
        with suppress(LimitExceeded):
            faults.fail_at_call(index, lambda folder=folder: faults.save_numbered(folder, 3, 100))
        found.append(faults.check_state(load_checkpoint(folder)))
        assert faults.leftovers(folder) == []
        faults.save_numbered(folder, 4, 100)
        assert faults.check_state(load_checkpoint(folder)) == 4
    assert set(found) == {2, 3}
    assert found == sorted(found)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_disk_that_becomes_full_while_saving_is_a_limit_and_the_old_state_stays(tmp_path: Path, share: float) -> None:
    faults.save_numbered(tmp_path, 0, NUM_VALUES)
    size_bytes = max(path.stat().st_size for path in tmp_path.iterdir())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code = faults.save_with_file_limit(tmp_path, 1, NUM_VALUES, int(size_bytes * share))
    assert code == faults.REFUSED
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    faults.save_numbered(tmp_path, 1, NUM_VALUES)
    assert faults.check_state(load_checkpoint(tmp_path)) == 1
