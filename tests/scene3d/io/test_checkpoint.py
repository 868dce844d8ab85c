"""Checkpoints: what was saved comes back bit for bit, or the one before it does and says so."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from scene3d.errors import InputError, LimitExceeded
from scene3d.io import checkpoint
from scene3d.io.checkpoint import load_checkpoint, save_checkpoint, sweep_checkpoints
from scene3d.io.tensors import file_sha256, read_tensors, write_tensors


def state(step: int, *, size: int = 40) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {"means": torch.randn(size, 3, generator=generator), "step": torch.tensor(step)}


def save(folder: Path, *steps: int, keep: int = 2) -> None:
    for step in steps:
        save_checkpoint(folder, state(step), {"iteration": step, "order": [step, 1]}, keep=keep)


def assert_is(loaded: checkpoint.Checkpoint | None, step: int) -> None:
    assert loaded is not None
    assert (loaded.step, loaded.record) == (step, {"iteration": step, "order": [step, 1]})
    assert loaded.tensors.keys() == state(step).keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in state(step).items())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


VALUES = {
    "double": torch.linspace(0, 1, 7, dtype=torch.float64),
    "half": torch.linspace(0, 1, 5, dtype=torch.float16),
    "brain": torch.linspace(0, 1, 3, dtype=torch.bfloat16),
    "whole": torch.tensor([[-(2**62), 2**62]]),
    "int": torch.arange(3, dtype=torch.int32),
    "short": torch.arange(3, dtype=torch.int16),
    "small": torch.arange(-3, 3, dtype=torch.int8),
    "byte": torch.arange(250, 256, dtype=torch.uint8),
    "flag": torch.tensor([True, False, True]),
    "scalar": torch.tensor(1.5),
    "none": torch.zeros(0, 3),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "special": torch.tensor([float("nan"), float("inf"), -0.0]),
    "trained": torch.ones(2, requires_grad=True),
    "name with ü / dots.": torch.ones(1),
}


def test_tensors_of_every_kind_come_back_bit_equal_and_safetensors_agrees(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    digest = write_tensors(path, VALUES)
    assert digest == file_sha256(path)
    for read in (read_tensors(path, expected_sha256=digest), safetensors.torch.load(path.read_bytes())):
        assert read.keys() == VALUES.keys()
        for name, tensor in VALUES.items():
            assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
            wanted, found = (each.detach().contiguous().reshape(-1).view(torch.uint8) for each in (tensor, read[name]))
            assert torch.equal(wanted, found), name


def test_nothing_of_any_shape_and_layout_is_kept(tmp_path: Path) -> None:
    nothing = {
        "rows": torch.from_numpy(np.zeros((4, 3))[np.zeros(0, int)]),  # strides of numpy's own, all 0
        "columns": torch.zeros(3, 0),
        "number": torch.tensor(2.0),
    }
    sha256 = write_tensors(tmp_path / "nothing.safetensors", nothing)
    back = read_tensors(tmp_path / "nothing.safetensors", expected_sha256=sha256)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in back.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in nothing.items()
    }


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    shuffled = dict(reversed(VALUES.items()))
    assert write_tensors(tmp_path / "a", VALUES) == write_tensors(tmp_path / "b", shuffled)


def test_a_file_written_by_safetensors_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(state(3), path)
    read = read_tensors(path, expected_sha256=file_sha256(path))
    assert torch.equal(read["means"], state(3)["means"])


def test_the_newest_state_comes_back_and_two_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    assert load_checkpoint(folder) is None
    for step in (10, 20, 30):
        save(folder, step)
        assert_is(load_checkpoint(folder), step)
    assert load_checkpoint(folder).findings == ()
    assert names(folder) == [f"checkpoint_00000{n}.{suffix}" for n in (1, 2) for suffix in ("json", "safetensors")]


def test_a_step_saved_again_wins_over_the_first_time(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    save_checkpoint(tmp_path, state(99), {"iteration": 20, "order": [1]})
    loaded = load_checkpoint(tmp_path)
    assert (loaded.step, int(loaded.tensors["step"])) == (20, 99)


def flip(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_any_flipped_bit_is_noticed_and_the_previous_state_comes_back(tmp_path: Path, suffix: str) -> None:
    save(tmp_path, 10, 20)
    path = tmp_path / f"checkpoint_000001.{suffix}"
    whole = path.read_bytes()
    generator = np.random.default_rng(5)
    noticed = 0
    for _ in range(120):
        flip(path, int(generator.integers(len(whole))), int(generator.integers(8)))
        loaded = load_checkpoint(tmp_path)
        if loaded.findings:
            noticed += 1
            assert_is(loaded, 10)
            assert "checkpoint 1 cannot be used" in loaded.findings[0].what
        else:
            assert_is(loaded, 20)  # a flip in the white space of the manifest changes nothing
        path.write_bytes(whole)
    assert noticed == 120 if suffix == "safetensors" else noticed > 90


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_checkpoint_cut_short_is_passed_over(tmp_path: Path, suffix: str, share: float) -> None:
    save(tmp_path, 10, 20)
    path = tmp_path / f"checkpoint_000001.{suffix}"
    os.truncate(path, int(path.stat().st_size * share))
    loaded = load_checkpoint(tmp_path)
    assert_is(loaded, 10)
    assert len(loaded.findings) == 1


def test_swapped_and_missing_files_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    shutil.copy(tmp_path / "checkpoint_000000.safetensors", tmp_path / "checkpoint_000001.safetensors")
    assert_is(load_checkpoint(tmp_path), 10)
    (tmp_path / "checkpoint_000001.safetensors").unlink()
    assert_is(load_checkpoint(tmp_path), 10)
    shutil.copy(tmp_path / "checkpoint_000000.json", tmp_path / "checkpoint_000001.json")
    assert_is(load_checkpoint(tmp_path), 10)


def rewrite(path: Path, **changes: object) -> None:
    """Change a manifest and seal it again, as a later or foreign program might."""
    manifest = {**json.loads(path.read_text()), **changes}
    del manifest["manifest_sha256"]
    path.write_text(json.dumps({**manifest, "manifest_sha256": checkpoint._record_sha256(manifest)}))


@pytest.mark.parametrize(
    "changes",
    [{"schema_version": 2}, {"tensors": {}}, {"tensors": {"sha256": 7}}, {"record": []}, {"number": 0}],
)
def test_a_manifest_of_another_layout_is_passed_over(tmp_path: Path, changes: dict[str, object]) -> None:
    save(tmp_path, 10, 20)
    rewrite(tmp_path / "checkpoint_000001.json", **changes)
    loaded = load_checkpoint(tmp_path)
    assert_is(loaded, 10)
    assert len(loaded.findings) == 1


def test_when_no_checkpoint_can_be_used_the_error_says_why(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    for number in (0, 1):
        (tmp_path / f"checkpoint_00000{number}.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="none of its 2 checkpoints") as caught:
        load_checkpoint(tmp_path)
    assert caught.value.remedy


def test_pruning_keeps_two_good_ones_when_the_newest_but_one_is_damaged(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    os.truncate(tmp_path / "checkpoint_000001.safetensors", 5)
    save(tmp_path, 30)
    (tmp_path / "checkpoint_000002.json").write_text("")
    assert_is(load_checkpoint(tmp_path), 10)
    save(tmp_path, 40, 50)
    assert [name for name in names(tmp_path) if name.endswith("json")] == [
        "checkpoint_000003.json",
        "checkpoint_000004.json",
    ]


def test_a_sweep_removes_what_a_killed_save_left_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    before = names(tmp_path)
    orphan, part = tmp_path / "checkpoint_000002.safetensors", tmp_path / f".checkpoint_000003.json.{2**22 + 1}.part"
    orphan.write_bytes(b"x")
    part.write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("mine")
    assert set(sweep_checkpoints(tmp_path)) == {orphan, part}
    assert names(tmp_path) == sorted([*before, "notes.txt"])


def test_too_little_free_space_is_said_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 10)
    before = names(tmp_path)
    size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in state(20).values())
    for free, enough in [(size_bytes * 3 // 2 - 1, False), (size_bytes * 3 // 2, True)]:
        with monkeypatch.context() as patch:
            usage = SimpleNamespace(free=free)
            patch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
            if enough:
                save(tmp_path, 20)
            else:
                with pytest.raises(LimitExceeded, match="MB free"):
                    save(tmp_path, 20)
                assert names(tmp_path) == before
    assert_is(load_checkpoint(tmp_path), 20)


def test_nan_in_the_record_is_refused_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    save(tmp_path, 10)
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path, state(20), {"loss": float("nan")})
    assert_is(load_checkpoint(tmp_path), 10)


def test_a_record_too_large_to_read_back_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)
    monkeypatch.setattr(checkpoint, "MAX_JSON_BYTES", 2000)
    with pytest.raises(LimitExceeded, match="keep large state in tensors"):
        save_checkpoint(tmp_path, state(20), {"order": list(range(1000))})
    assert_is(load_checkpoint(tmp_path), 10)


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save(tmp_path / "file" / "checkpoints", 1)


def test_without_iteration_or_step_the_number_of_the_save_counts(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {}, {})
    save_checkpoint(tmp_path, {}, {})
    assert load_checkpoint(tmp_path).step == 1
    save_checkpoint(tmp_path, {}, {"step": 70})
    assert load_checkpoint(tmp_path).step == 70
