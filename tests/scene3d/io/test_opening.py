"""Names and files from outside: what could lead out of a folder or block the program is refused by name."""

import os
from itertools import product
from pathlib import Path

import pytest

from scene3d.errors import InputError, LimitExceeded
from scene3d.io.opening import check_plain_file, check_relative_name, map_file, read_file_bytes

HOSTILE = [
    *(
        prefix + middle + ending
        for prefix, middle, ending in product(
            ("../", "/", "a/../../", "..\\", "C:\\", "C:/", "//host/", "\\\\host\\"),
            ("", "etc/", "x/../", "./"),
            ("passwd", "a.jpg", "grün.png", "..", "a b.jpg"),
        )
    ),
    *(f"a{chr(code)}b.jpg" for code in (*range(32), 127, 133, 159)),
    *("", ".", "/", "//", "./.", "a/..", "..", "...\\..", "\ud800.jpg", "x" * 256, "ü" * 128, "a/" * 600 + "b"),
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="the name") as caught:
        check_relative_name(name, where="here")
    assert caught.value.remedy
    str(caught.value).encode("ascii")


def test_there_are_at_least_two_hundred_hostile_names() -> None:
    assert len(set(HOSTILE)) >= 200


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a.jpg", "a.jpg"),
        ("./a//b/./c d ü.JPG", "a/b/c d ü.JPG"),
        ("...jpg", "...jpg"),
        ("a..b/c.jpg", "a..b/c.jpg"),
        (".hidden", ".hidden"),
        ("x" * 255, "x" * 255),
        ("12:30.jpg", "12:30.jpg"),
    ],
)
def test_an_ordinary_name_is_accepted_in_its_plain_form(name: str, plain: str) -> None:
    assert check_relative_name(name, where="here") == plain


def test_files_are_read_and_mapped_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert check_plain_file(path, max_bytes=5) == 5
    assert read_file_bytes(path, max_bytes=5) == b"12345" == bytes(map_file(path, max_bytes=5))
    for read in (check_plain_file, read_file_bytes, map_file):
        with pytest.raises(LimitExceeded, match="at most 4"):
            read(path, max_bytes=4)


def test_an_empty_file_is_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert read_file_bytes(tmp_path / "a", max_bytes=5) == b"" == bytes(map_file(tmp_path / "a", max_bytes=5))


@pytest.mark.parametrize("read", [check_plain_file, read_file_bytes, map_file])
def test_folders_pipes_devices_and_missing_files_are_refused(tmp_path: Path, read: object) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("/dev/zero"), tmp_path / ("x" * 300)):
        with pytest.raises(InputError) as caught:
            read(path, max_bytes=100)
        assert caught.value.where == str(path)


def test_reading_a_small_file_reserves_no_more_than_it_needs(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    # Asking for a buffer of this size would be a MemoryError.
    assert read_file_bytes(tmp_path / "a", max_bytes=1 << 60) == b"12345"
