"""PLY headers and lengths that lie are refused before anything is read."""

from pathlib import Path

import numpy as np
import pytest

from scene3d.errors import InputError, LimitExceeded
from scene3d.io import ply_header
from scene3d.io.ply import read_gaussians_ply, read_points_ply, write_gaussians_ply
from tests.scene3d.io.gaussian_sets import random_gaussians

BODY = np.arange(3 * 4, dtype="<f4").tobytes()
XYZ = "property float x\nproperty float y\nproperty float z\n"
LITTLE = "format binary_little_endian 1.0\n"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "not a PLY"),
        ("this is a text file\n", "not a PLY"),
        ("ply\n", "no end within"),
        (f"ply\n{LITTLE}element vertex 4\n{XYZ}", "no end within"),
        (f"ply\n{LITTLE}comment {'x' * 70_000}\nelement vertex 4\n{XYZ}end_header\n", "no end within"),
        (f"ply\nelement vertex 4\n{XYZ}end_header\n", "one known format"),
        (f"ply\n{LITTLE}{LITTLE}element vertex 4\n{XYZ}end_header\n", "one known format"),
        (f"ply\nformat binary_middle_endian 1.0\nelement vertex 4\n{XYZ}end_header\n", "one known format"),
        (f"ply\nformat binary_little_endian 2.0\nelement vertex 4\n{XYZ}end_header\n", "one known format"),
        (f"ply\n{LITTLE}element vertex 5\n{XYZ}end_header\n", "5 vertices, 60 bytes of records; it holds 48"),
        (f"ply\n{LITTLE}element vertex 3\n{XYZ}end_header\n", "3 vertices, 36 bytes of records; it holds 48"),
        (f"ply\n{LITTLE}element vertex 0\n{XYZ}end_header\n", "0 vertices, 0 bytes of records; it holds 48"),
        (f"ply\n{LITTLE}element vertex -1\n{XYZ}end_header\n", "'-1' records"),
        (f"ply\n{LITTLE}element vertex abc\n{XYZ}end_header\n", "'abc' records"),
        (f"ply\n{LITTLE}element vertex 0x04\n{XYZ}end_header\n", "'0x04' records"),
        (f"ply\n{LITTLE}element vertex 1_0\n{XYZ}end_header\n", "'1_0' records"),
        (f"ply\n{LITTLE}element vertex 4.0\n{XYZ}end_header\n", "'4.0' records"),
        (f"ply\n{LITTLE}element vertex {'9' * 4000}\n{XYZ}end_header\n", "records of"),
        (f"ply\n{LITTLE}element vertex\n{XYZ}end_header\n", "odd line"),
        (f"ply\n{LITTLE}{XYZ}end_header\n", "odd line"),
        (f"ply\n{LITTLE}element vertex 4\n{XYZ}{XYZ}end_header\n", "'x' twice"),
        (f"ply\n{LITTLE}element vertex 4\n{XYZ}element vertex 4\n{XYZ}end_header\n", "an element twice"),
        (f"ply\n{LITTLE}element vertex 4\nproperty half x\nend_header\n", "odd property"),
        (f"ply\n{LITTLE}element vertex 4\nproperty float x y\nend_header\n", "odd property"),
        (f"ply\n{LITTLE}element vertex 4\nnonsense\nend_header\n", "odd line"),
        (f"ply\n{LITTLE}element vertex 4\nend_header\n", "no vertices"),
        (f"ply\n{LITTLE}element face 4\n{XYZ}end_header\n", "no vertices"),
        (f"ply\n{LITTLE}end_header\n", "no vertices"),
        (f"ply\n{LITTLE}element face 1\nproperty list uchar int i\nelement vertex 4\n{XYZ}end_header\n", "no vertices"),
        (f"ply\n{LITTLE}element vertex 4\n{XYZ}property list uchar int i\nend_header\n", "no vertices"),
        (f"ply\n{LITTLE}element vertex 4\nproperty float y\nproperty float z\nproperty float w\nend_header\n", "'x'"),
    ],
)
def test_a_header_that_lies_or_is_damaged_is_refused(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "a.ply").write_bytes(header.encode() + BODY)
    with pytest.raises(InputError, match=message) as caught:
        read_points_ply(tmp_path / "a.ply")
    assert caught.value.where == str(tmp_path / "a.ply")
    assert caught.value.remedy


def test_a_count_over_the_limit_is_refused_whatever_follows(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_text(f"ply\n{LITTLE}element vertex 999999999999\n{XYZ}end_header\n")
    with pytest.raises(LimitExceeded, match="at most 100,000,000"):
        read_points_ply(tmp_path / "a.ply")


def test_a_header_of_thousands_of_properties_is_read_or_refused_quickly(tmp_path: Path) -> None:
    properties = "".join(f"property int p{i}\n" for i in range(3000))
    (tmp_path / "a.ply").write_text(f"ply\n{LITTLE}element vertex 0\n{properties}end_header\n")
    with pytest.raises(InputError, match="no property 'x'"):
        read_points_ply(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("count", "body", "message"),
    [
        (2, "10 2 3\n4 5\n", "2 vertices, 6 numbers; it holds 5"),
        (2, "1 2 3\n4 5 6\n7", "2 vertices, 6 numbers; it holds 7"),
        (0, "1", "0 vertices"),
        (2, "1 2 3\n4 5 six\n", "no number"),
        (2, "1,5 2 3\n4 5 6\n", "no number"),
        (2, "1 2 3\n", "bytes follow"),
        (90_000_000, "1 2 3\n", "bytes follow"),
    ],
)
def test_ascii_records_that_do_not_match_the_header_are_refused(
    tmp_path: Path, count: int, body: str, message: str
) -> None:
    (tmp_path / "a.ply").write_text(f"ply\nformat ascii 1.0\nelement vertex {count}\n{XYZ}end_header\n{body}")
    with pytest.raises(InputError, match=message):
        read_points_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("value", ["256", "-1", "0.5", "nan"])
def test_an_ascii_number_that_does_not_fit_its_type_is_refused(tmp_path: Path, value: str) -> None:
    colors = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    text = f"ply\nformat ascii 1.0\nelement vertex 1\n{XYZ}{colors}end_header\n1 2 3 {value} 0 0\n"
    (tmp_path / "a.ply").write_text(text)
    with pytest.raises(InputError, match="'red' does not fit"):
        read_points_ply(tmp_path / "a.ply")


def test_the_vertex_limit_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gaussians_ply(tmp_path / "a.ply", random_gaussians(3))
    monkeypatch.setattr(ply_header, "MAX_PLY_VERTICES", 2)
    with pytest.raises(LimitExceeded, match="at most 2"):
        read_gaussians_ply(tmp_path / "a.ply")
