"""Anchor files: what was written comes back bit for bit; what is damaged is refused with a word."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from scene3d.errors import InputError, Scene3dError
from scene3d.gaussians.decoder import decoder_checksum
from scene3d.io.anchor_file import read_anchor_facts, read_anchors, write_anchors
from scene3d.io.tensors import file_sha256
from tests.scene3d.training.anchor_scenes import make_field


@pytest.fixture(name="path")
def written(tmp_path: Path) -> Path:
    field, shared = make_field()
    write_anchors(tmp_path / "anchors.safetensors", field.anchors(), shared.student, facts={"voxel": 0.25})
    return tmp_path / "anchors.safetensors"


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    field, shared = make_field()
    digest = write_anchors(tmp_path / "a.safetensors", field.anchors(), shared.student)
    anchors, decoder = read_anchors(tmp_path / "a.safetensors")
    assert digest == file_sha256(tmp_path / "a.safetensors")
    for name in ("positions", "features", "offsets", "log_scales"):
        assert torch.equal(getattr(anchors, name), getattr(field.anchors(), name).detach())
    assert decoder_checksum(decoder) == shared.checksum()
    assert decoder.shape == shared.student.shape


def test_facts_come_back(path: Path) -> None:
    assert read_anchor_facts(path) == {"voxel": 0.25}


def test_a_turned_bit_anywhere_in_the_tensors_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    generator = torch.Generator().manual_seed(0)
    for place in torch.randint(header, len(whole), (25,), generator=generator).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(InputError, match=r"not what was saved|not finite"):
            read_anchors(path)


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(Scene3dError):
            read_anchors(path)


def _rewrite(path: Path, change) -> None:
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        record = json.loads(file.metadata()["scene3d"])
    change(tensors, record)
    safetensors.torch.save_file(tensors, path, metadata={"scene3d": json.dumps(record)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors, record: record.update(schema_version=99), "layout"),
        (lambda tensors, record: record["decoder"].update(num_offsets=4), "shape"),
        (lambda tensors, record: record["decoder"].update(num_hidden=10**9), "makes no sense"),
        (lambda tensors, record: record["decoder"].update(surprise=1), "makes no sense"),
        (lambda tensors, record: record["decoder"].update(num_hidden="x"), "makes no sense"),
        (lambda tensors, record: record.update(decoder=[1]), "makes no sense"),
        (lambda tensors, record: record.update(decoder_sha256="0"), "decoder"),
        (lambda tensors, record: tensors.pop("anchors.offsets"), "too few tensors"),
        (lambda tensors, record: tensors.update(more=torch.zeros(1)), "too many"),
        (lambda tensors, record: tensors.update({"anchors.positions": torch.zeros(3)}), "shape"),
        (lambda tensors, record: tensors["anchors.features"].mul_(2), "not what was saved"),
    ],
)
def test_what_contradicts_itself_is_refused(path: Path, change, said: str) -> None:
    _rewrite(path, change)
    with pytest.raises(InputError, match=said):
        read_anchors(path)


def test_another_safetensors_file_is_no_anchor_file(tmp_path: Path) -> None:
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="holds no anchors"):
        read_anchors(tmp_path / "x.safetensors")


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    field, shared = make_field()
    with torch.no_grad():
        field.parameters["features"][3, 2] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        write_anchors(tmp_path / "a.safetensors", field.anchors(), shared.student)
    assert not (tmp_path / "a.safetensors").exists()
