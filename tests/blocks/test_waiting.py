"""Blocks that wait: bit for bit as they stood up, in memory and on disk, and snapshots that vouch for them."""

from pathlib import Path
from typing import Literal

import pytest
import torch

from blocks.waiting import BlockState, Snapshot, WaitingRoom, load_snapshot, save_snapshot
from blocks.weighting import Quality
from scene3d.errors import InputError
from scene3d.seeding import make_generator
from scene3d.training.hooks import TrainingState

OFFLOADS: tuple[Literal["memory", "disk"], ...] = ("memory", "disk")


def make_state(seed: int, iteration: int = 7) -> TrainingState:
    generator = make_generator(seed, "state")
    tensors = {
        "field.features": torch.randn(40, 8, generator=generator),
        "trainer.order": torch.arange(seed + 3),
        "trainer.generator": generator.get_state(),
        "bad": torch.tensor([float("nan"), -0.0, float("inf")]),
    }
    return tensors, {"iteration": iteration, "seconds": 0.1 + 0.2, "skipped": [4]}


def assert_same(found: TrainingState, expected: TrainingState) -> None:
    assert found[1] == expected[1]
    assert set(found[0]) == set(expected[0])
    for name, value in expected[0].items():
        assert found[0][name].dtype == value.dtype
        assert found[0][name].numpy().tobytes() == value.numpy().tobytes(), name


@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize("ahead", [False, True])
def test_a_block_sits_down_as_it_stood_up(tmp_path: Path, offload: Literal["memory", "disk"], ahead: bool) -> None:
    room = WaitingRoom(tmp_path, offload)
    waiting = room.put("a", make_state(1), BlockState(), 1)
    other = room.put("b", make_state(2), BlockState(), 1)
    if ahead:
        room.prefetch("b", other)
        room.prefetch("b", other)
    assert_same(room.take("b", other), make_state(2))
    assert_same(room.take("a", waiting), make_state(1))
    assert_same(room.take("a", waiting), make_state(1))
    assert waiting.iteration == 7
    room.close()


@pytest.mark.parametrize("offload", OFFLOADS)
def test_a_newer_state_from_elsewhere_is_what_counts(tmp_path: Path, offload: Literal["memory", "disk"]) -> None:
    room, elsewhere = WaitingRoom(tmp_path, offload), WaitingRoom(tmp_path, offload)
    old = room.put("a", make_state(1), BlockState(), 1)
    room.prefetch("a", old)
    new = elsewhere.put("a", make_state(2), old, 2)
    assert_same(room.take("a", new), make_state(2))
    room.close()
    elsewhere.close()


@pytest.mark.parametrize("ahead", [False, True])
def test_a_state_that_was_damaged_on_disk_is_refused(tmp_path: Path, ahead: bool) -> None:
    room = WaitingRoom(tmp_path, "disk")
    state = room.put("a", make_state(1), BlockState(), 1)
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    if ahead:
        room.prefetch("a", state)
    with pytest.raises(InputError, match="not what was saved"):
        room.take("a", state)
    room.close()


def test_rolling_back_finds_the_state_again_and_again(tmp_path: Path) -> None:
    room = WaitingRoom(tmp_path, "memory")
    assert room.look("a", BlockState()) is None
    state = room.put("a", make_state(3), BlockState(), 0)
    for _ in range(2):
        found = room.look("a", state)
        assert found is not None
        assert_same(found, make_state(3))
    room.close()


def test_two_rounds_are_kept_whatever_happens(tmp_path: Path) -> None:
    room, state = WaitingRoom(tmp_path, "disk"), BlockState()
    for number in range(5):
        state = room.put("a", make_state(number), state, number)
        room.forget_rounds("a", state)
    assert sorted(path.name for path in tmp_path.rglob("*.safetensors")) == [
        "round_00003.safetensors",
        "round_00004.safetensors",
    ]
    room.close()


def make_snapshot(rounds: int) -> Snapshot:
    quality = Quality(psnr_db=20.5 + rounds, ssim=0.7)
    trained = BlockState(iteration=9, round=rounds, sha256="ab", trainer={"iteration": 9}, quality=quality)
    blocks = {"000": trained, "001": BlockState(failure="too large")}
    return Snapshot(round=rounds, turns=2 * rounds, blocks=blocks, shared={"decoder.student": torch.arange(5.0)})


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    assert load_snapshot(tmp_path, "me") is None
    for rounds in (1, 2, 3):
        save_snapshot(tmp_path, make_snapshot(rounds), "me")
    found = load_snapshot(tmp_path, "me")
    assert found is not None
    assert (found.round, found.turns) == (3, 6)
    assert found.blocks == make_snapshot(3).blocks
    assert torch.equal(found.shared["decoder.student"], torch.arange(5.0))


def test_a_snapshot_of_another_run_is_refused(tmp_path: Path) -> None:
    save_snapshot(tmp_path, make_snapshot(1), "me")
    with pytest.raises(InputError, match="other settings"):
        load_snapshot(tmp_path, "somebody else")
