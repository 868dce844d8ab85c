"""What a block leaves on disk: exact, bound to its plan, and finished only when its record is there."""

import json
from pathlib import Path

import pytest
import torch

from blocks.block_folder import (
    BlockFolder,
    load_block,
    load_gaussians,
    read_block_record,
    save_block,
    save_gaussians,
)
from scene3d.errors import InputError
from scene3d.io.tensors import write_tensors
from tests.scene3d.io.gaussian_sets import FIELDS, random_gaussians

PLAN = "a" * 64


@pytest.fixture
def folder(tmp_path: Path) -> BlockFolder:
    return BlockFolder(tmp_path / "blocks" / "003")


@pytest.mark.parametrize("num", [0, 1, 50])
def test_gaussians_come_back_bit_for_bit(tmp_path: Path, num: int) -> None:
    gaussians = random_gaussians(num, degree=2)
    sha256 = save_gaussians(tmp_path / "scene.safetensors", gaussians)
    back = load_gaussians(tmp_path / "scene.safetensors", expected_sha256=sha256)
    for name in FIELDS:
        assert torch.equal(getattr(back, name), getattr(gaussians, name)), name


def test_a_record_tells_what_was_saved_and_how(folder: BlockFolder) -> None:
    gaussians = random_gaussians(20)
    save_block(folder, gaussians, PLAN, {"train_seconds": 1.5, "iterations": 7})
    record = read_block_record(folder, PLAN)
    assert record is not None
    assert (record["num_gaussians"], record["train_seconds"], record["iterations"]) == (20, 1.5, 7)
    assert record["size_bytes"] == folder.scene.stat().st_size
    assert torch.equal(load_block(folder, record).sh, gaussians.sh)


def test_a_block_without_a_record_was_never_finished(folder: BlockFolder) -> None:
    assert read_block_record(folder, PLAN) is None
    save_block(folder, random_gaussians(5), PLAN, {})
    folder.record.unlink()
    assert read_block_record(folder, PLAN) is None


def test_a_block_of_another_plan_is_refused(folder: BlockFolder) -> None:
    save_block(folder, random_gaussians(5), PLAN, {})
    with pytest.raises(InputError, match="another plan"):
        read_block_record(folder, "b" * 64)


def test_a_record_of_another_layout_is_refused(folder: BlockFolder) -> None:
    save_block(folder, random_gaussians(5), PLAN, {})
    record = json.loads(folder.record.read_text())
    folder.record.write_text(json.dumps({**record, "schema_version": 99}))
    with pytest.raises(InputError):
        read_block_record(folder, PLAN)


def test_success_forgets_an_earlier_failure(folder: BlockFolder) -> None:
    folder.root.mkdir(parents=True)
    folder.failure.write_text('{"schema_version": 1, "reason": "diverged"}')
    save_block(folder, random_gaussians(5), PLAN, {})
    assert not folder.failure.exists()


def test_a_scene_that_has_changed_is_refused(folder: BlockFolder) -> None:
    save_block(folder, random_gaussians(5), PLAN, {})
    record = read_block_record(folder, PLAN)
    assert record is not None
    content = bytearray(folder.scene.read_bytes())
    content[-1] ^= 1
    folder.scene.write_bytes(content)
    with pytest.raises(InputError, match="not what was saved"):
        load_block(folder, record)
    folder.scene.unlink()
    with pytest.raises(InputError):
        load_block(folder, record)


def test_tensors_that_are_no_gaussians_are_refused(tmp_path: Path) -> None:
    sha256 = write_tensors(tmp_path / "other.safetensors", {"means": torch.zeros(3, 3)})
    with pytest.raises(InputError, match="holds \\['means'\\] instead of"):
        load_gaussians(tmp_path / "other.safetensors", expected_sha256=sha256)
