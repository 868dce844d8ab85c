"""Damaged files of every kind: read right, or refused by name; never anything else."""

from pathlib import Path

import pytest

from scene3d.errors import InputError, LimitExceeded
from tests.fuzz.mutations import MUTATIONS, Target, mutated, run_target
from tests.fuzz.targets import TARGETS

NUM_MUTATIONS = 330
"""Per reader; the long form is benchmarks/robustness.py."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_damage_makes_a_reader_fail_in_an_unplanned_way(tmp_path: Path, target: Target) -> None:
    tally = run_target(target, tmp_path, seed=2024, count=NUM_MUTATIONS)
    assert tally.failures == []
    assert tally.counts.total() == NUM_MUTATIONS
    assert tally.counts["refused"] > NUM_MUTATIONS / 20 or target.name == "checkpoint"


def test_the_same_seed_gives_the_same_damage_and_every_kind_changes_the_file() -> None:
    content = bytes(range(256)) * 4
    once = list(mutated(content, seed=3, count=len(MUTATIONS) * 5))
    assert once == list(mutated(content, seed=3, count=len(MUTATIONS) * 5))
    assert {kind for kind, damaged in once if damaged != content} == {each.__name__ for each in MUTATIONS}
    assert once != list(mutated(content, seed=4, count=len(MUTATIONS) * 5))


def test_the_runner_notices_each_way_of_failing(tmp_path: Path) -> None:
    def make(folder: Path) -> tuple[Path, ...]:
        (folder / "a").write_bytes(b"good file")
        return (folder / "a",)

    def read(folder: Path) -> object:
        content = (folder / "a").read_bytes()
        if content == b"good file":
            return 1
        if len(content) < 4:
            raise InputError("too short", where=folder)
        if len(content) < 6:
            raise InputError("an error without a place")
        if len(content) < 8:
            raise LimitExceeded("there is not enough memory", where=folder)
        if content[0] & 1:
            raise KeyError("foreign")
        return len(content)

    tally = run_target(Target("poor", make, read), tmp_path, seed=1, count=400)
    assert tally.counts.total() == 400
    assert set(tally.counts) == {"read", "refused", "out of memory", "wrong count", "foreign error"}
    assert len(tally.failures) == 400 - tally.counts["read"] - tally.counts["refused"]
    assert any("KeyError" in each for each in tally.failures)
    assert any("without a place" in each for each in tally.failures)
