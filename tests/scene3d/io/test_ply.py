"""PLY files: what we write others read, what others write we read, what lies is refused."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch

from scene3d.errors import InputError, LimitExceeded
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io import ply
from scene3d.io.ply import (
    read_gaussians_ply,
    read_ply_comments,
    read_points_ply,
    write_gaussians_ply,
)
from tests.scene3d.io.gaussian_sets import FIELDS, import_gsply, notes_of, random_gaussians

ORDER = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
ORDER += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def assert_same(left: Gaussians, right: Gaussians) -> None:
    for field in FIELDS:
        assert torch.equal(getattr(left, field), getattr(right, field)), field


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("num", [0, 1, 700])
def test_what_is_written_reads_back_bit_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degree: int, num: int
) -> None:
    monkeypatch.setattr(ply, "_ROWS_AT_ONCE", 256)
    monkeypatch.setattr(ply, "_ROWS_IN_CACHE", 128)
    gaussians = random_gaussians(num, degree=degree)
    write_gaussians_ply(tmp_path / "scene.ply", gaussians)
    assert_same(read_gaussians_ply(tmp_path / "scene.ply"), gaussians)


def test_properties_stand_in_the_order_of_the_original_program(tmp_path: Path) -> None:
    gaussians = random_gaussians(5, degree=2)
    write_gaussians_ply(tmp_path / "scene.ply", gaussians, comments=("made by a test", "two\nlines", "grün"))
    read = plyfile.PlyData.read(tmp_path / "scene.ply")
    assert (read.text, read.byte_order) == (False, "<")
    assert read.comments == ["made by a test", "two lines", "gr\\xfcn"]
    vertex = read["vertex"]
    names = [prop.name for prop in vertex.properties]
    assert names == [*ORDER[:9], *(f"f_rest_{i}" for i in range(24)), *ORDER[9:]]
    assert {prop.val_dtype for prop in vertex.properties} == {"f4"}
    for i in range(3):
        np.testing.assert_array_equal(vertex["xyz"[i]], gaussians.means[:, i])
        np.testing.assert_array_equal(vertex[f"f_dc_{i}"], gaussians.sh[:, 0, i])
        np.testing.assert_array_equal(vertex[f"scale_{i}"], gaussians.log_scales[:, i])
        assert not vertex[("nx", "ny", "nz")[i]].any()
        for k in range(8):  # channel-major: all of red, then green, then blue
            np.testing.assert_array_equal(vertex[f"f_rest_{8 * i + k}"], gaussians.sh[:, 1 + k, i])
    for i in range(4):
        np.testing.assert_array_equal(vertex[f"rot_{i}"], gaussians.quats[:, i])
    np.testing.assert_array_equal(vertex["opacity"], gaussians.opacity_logits)


def test_gsply_reads_the_same_scene(tmp_path: Path) -> None:
    gsply = import_gsply()
    gaussians = random_gaussians(50)
    write_gaussians_ply(tmp_path / "scene.ply", gaussians)
    read = gsply.plyread(str(tmp_path / "scene.ply"))
    np.testing.assert_array_equal(read.means, gaussians.means)
    np.testing.assert_array_equal(read.quats, gaussians.quats)
    np.testing.assert_array_equal(read.scales, gaussians.log_scales)
    np.testing.assert_array_equal(read.opacities, gaussians.opacity_logits)
    np.testing.assert_array_equal(read.sh0, gaussians.sh[:, 0])
    np.testing.assert_array_equal(read.shN, gaussians.sh[:, 1:])


def test_gsply_writes_a_scene_that_is_read(tmp_path: Path) -> None:
    gsply = import_gsply()
    gaussians = random_gaussians(50)
    arrays = [
        each.numpy()
        for each in (
            gaussians.means,
            gaussians.log_scales,
            gaussians.quats,
            gaussians.opacity_logits,
            gaussians.sh[:, 0],
            gaussians.sh[:, 1:],
        )
    ]
    gsply.plywrite(str(tmp_path / "scene.ply"), *(np.ascontiguousarray(each) for each in arrays))
    assert_same(read_gaussians_ply(tmp_path / "scene.ply"), gaussians)


@pytest.mark.parametrize(("text", "byte_order"), [(False, ">"), (False, "<"), (True, "=")])
def test_any_order_type_and_encoding_of_the_properties_is_read(tmp_path: Path, text: bool, byte_order: str) -> None:
    gaussians = random_gaussians(20, degree=1)
    write_gaussians_ply(tmp_path / "a.ply", gaussians)
    table = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"].data
    names = sorted(table.dtype.names, reverse=True)
    shuffled = np.zeros(len(table), [(name, "f8" if name in "xyz" else "f4") for name in names])
    for name in names:
        shuffled[name] = table[name]
    plyfile.PlyData([plyfile.PlyElement.describe(shuffled, "vertex")], text=text, byte_order=byte_order).write(
        tmp_path / "b.ply"
    )
    assert_same(read_gaussians_ply(tmp_path / "b.ply"), gaussians)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_of_the_header_is_read_even_when_the_data_begins_like_one(
    tmp_path: Path, line_end: bytes
) -> None:
    lines = [b"ply", b"format binary_little_endian 1.0", b"comment end_header is not here", b"element vertex 2"]
    lines += [b"property uchar red", b"property uchar green", b"property uchar blue"]
    lines += [b"property float x", b"property float y", b"property float z", b"end_header", b""]
    rows = struct.pack("<3B3f", 10, 13, 10, 1, 2, 3) * 2
    (tmp_path / "a.ply").write_bytes(line_end.join(lines) + rows)
    positions, colors = read_points_ply(tmp_path / "a.ply")
    assert positions.tolist() == [[1, 2, 3]] * 2
    assert colors.tolist() == [[10, 13, 10]] * 2


def test_comments_are_read_back(tmp_path: Path) -> None:
    write_gaussians_ply(tmp_path / "a.ply", random_gaussians(1), comments=("epsg 32633", "offset 1 2 3"))
    assert read_ply_comments(tmp_path / "a.ply") == ("epsg 32633", "offset 1 2 3")


def write_table(path: Path, table: np.ndarray, name: str = "vertex", **options: object) -> None:
    plyfile.PlyData([plyfile.PlyElement.describe(table, name)], **options).write(path)


def gaussian_table(num: int, **changed: float) -> np.ndarray:
    table = np.zeros(num, [(name, "f4") for name in ORDER])
    table["rot_0"] = 1
    table["opacity"] = -1
    for name, value in changed.items():
        table[name][0] = value
    return table


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["x", "f_dc_1", "opacity", "scale_2", "rot_3"])
def test_few_gaussians_that_are_not_finite_are_left_out_and_counted(tmp_path: Path, name: str, value: float) -> None:
    write_table(tmp_path / "a.ply", gaussian_table(100, **{name: value}))
    gaussians, notes = notes_of(tmp_path, read_gaussians_ply, tmp_path / "a.ply")
    assert len(gaussians) == 99
    assert "1 of 100 Gaussians are not finite" in notes[0]
    write_table(tmp_path / "a.ply", gaussian_table(99, **{name: value}))
    with pytest.raises(InputError, match="1 of 99 Gaussians are not finite"):
        read_gaussians_ply(tmp_path / "a.ply")


def test_a_scale_that_overflows_counts_as_not_finite(tmp_path: Path) -> None:
    write_table(tmp_path / "a.ply", gaussian_table(10, scale_1=1e9))
    with pytest.raises(InputError, match="not finite"):
        read_gaussians_ply(tmp_path / "a.ply")
    write_table(tmp_path / "a.ply", gaussian_table(10, scale_1=-1e9))
    assert len(read_gaussians_ply(tmp_path / "a.ply")) == 10


def test_doubles_too_large_for_single_precision_count_as_not_finite(tmp_path: Path) -> None:
    table = gaussian_table(10).astype([(name, "f8") for name in ORDER])
    table["x"][3] = 1e300
    write_table(tmp_path / "a.ply", table)
    with pytest.raises(InputError, match="1 of 10 Gaussians are not finite"):
        read_gaussians_ply(tmp_path / "a.ply")


def test_a_rotation_of_length_zero_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "a.ply", gaussian_table(10, rot_0=0))
    with pytest.raises(InputError, match="1 of 10 rotations have length zero"):
        read_gaussians_ply(tmp_path / "a.ply")


def test_activated_opacities_are_noticed(tmp_path: Path) -> None:
    table = gaussian_table(200)
    table["opacity"] = 0.5
    write_table(tmp_path / "a.ply", table)
    _, notes = notes_of(tmp_path, read_gaussians_ply, tmp_path / "a.ply")
    assert "as if activated" in notes[0]


@pytest.mark.parametrize("missing", ["x", "f_dc_2", "opacity", "scale_0", "rot_3"])
def test_a_missing_property_is_named(tmp_path: Path, missing: str) -> None:
    names = [name for name in ORDER if name != missing]
    write_table(tmp_path / "a.ply", np.zeros(3, [(name, "f4") for name in names]))
    with pytest.raises(InputError, match=f"no property '{missing}'"):
        read_gaussians_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("num_rest", [1, 8, 44, 72])
def test_a_number_of_harmonics_that_fits_no_degree_is_refused(tmp_path: Path, num_rest: int) -> None:
    names = [*ORDER, *(f"f_rest_{i}" for i in range(num_rest))]
    write_table(tmp_path / "a.ply", np.zeros(3, [(name, "f4") for name in names]))
    with pytest.raises(InputError, match=f"{num_rest} f_rest properties"):
        read_gaussians_ply(tmp_path / "a.ply")


def test_harmonics_with_gaps_in_their_numbers_are_refused(tmp_path: Path) -> None:
    names = [*ORDER, *(f"f_rest_{i + 1}" for i in range(9))]
    write_table(tmp_path / "a.ply", np.zeros(3, [(name, "f4") for name in names]))
    with pytest.raises(InputError, match="no property 'f_rest_0'"):
        read_gaussians_ply(tmp_path / "a.ply")


def test_gaussians_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    gaussians = random_gaussians(3)
    means = gaussians.means.clone()
    means[1, 2] = float("nan")
    with pytest.raises(InputError, match="1 of 3 Gaussians"):
        write_gaussians_ply(tmp_path / "a.ply", replace(gaussians, means=means))
    assert list(tmp_path.iterdir()) == []


def test_gaussians_that_are_being_trained_can_be_written(tmp_path: Path) -> None:
    gaussians = random_gaussians(3)
    write_gaussians_ply(tmp_path / "a.ply", replace(gaussians, means=gaussians.means.requires_grad_()))
    assert len(read_gaussians_ply(tmp_path / "a.ply")) == 3


def test_memory_running_out_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gaussians_ply(tmp_path / "a.ply", random_gaussians(3))

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ply, "vertex_table", exhausted)
    for read in (read_gaussians_ply, read_points_ply):
        with pytest.raises(LimitExceeded, match="memory"):
            read(tmp_path / "a.ply")
