import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scene3d.errors import InputError, LimitExceeded, Scene3dError
from scene3d.io import archives
from scene3d.io.archives import unpack_zip

SUFFIXES = frozenset({".jpg", ".bin", ".txt"})


def pack(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_a_capture_holds_is_unpacked_without_the_folder_around_it(tmp_path: Path) -> None:
    members = {"town/images/a.jpg": b"a", "town/sparse/0/cameras.bin": b"c", "town/notes.docx": b"n"}
    written = unpack_zip(pack(tmp_path / "a.zip", members), tmp_path / "out", suffixes=SUFFIXES)
    assert files_below(tmp_path / "out") == {"images/a.jpg": b"a", "sparse/0/cameras.bin": b"c"}
    assert len(written) == 2


def test_a_capture_s_own_folders_stay_even_where_they_are_alone(tmp_path: Path) -> None:
    unpack_zip(pack(tmp_path / "a.zip", {"x/images/a.jpg": b"a"}), tmp_path / "out", suffixes=SUFFIXES)
    assert files_below(tmp_path / "out") == {"images/a.jpg": b"a"}


def test_what_systems_add_is_passed_over(tmp_path: Path) -> None:
    members = {"a.jpg": b"a", "__MACOSX/._a.jpg": b"m", ".hidden/b.jpg": b"h"}
    unpack_zip(pack(tmp_path / "a.zip", members), tmp_path / "out", suffixes=SUFFIXES)
    assert files_below(tmp_path / "out") == {"a.jpg": b"a"}


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "/a.jpg",
        "x/../../a.jpg",
        "C:/a.jpg",
        "a\\b.jpg",
        "x\x00.jpg",
        "n" * 300 + ".jpg",
        "a/..",
        "\x1b[2J.jpg",
    ],
)
def test_names_that_lead_elsewhere_are_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "a.zip", {"good.jpg": b"g"})
    with zipfile.ZipFile(archive, "a") as opened:
        info = zipfile.ZipInfo("x")
        info.filename = name
        opened.writestr(info, b"x")
    if "\x00" in name:
        archive.write_bytes(archive.read_bytes())
    with pytest.raises(InputError):
        unpack_zip(archive, tmp_path / "out", suffixes=SUFFIXES)
    assert files_below(tmp_path) == {"a.zip": archive.read_bytes()}


def test_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("a.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="link or device"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out", suffixes=SUFFIXES)


def test_names_that_differ_by_case_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="twice"):
        unpack_zip(pack(tmp_path / "a.zip", {"a.jpg": b"1", "A.JPG": b"2"}), tmp_path / "out", suffixes=SUFFIXES)


def test_a_bomb_is_stopped_while_it_inflates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL_ARCHIVE_BYTES", 1 << 20)
    bomb = pack(tmp_path / "a.zip", {"good.jpg": b"g", "bomb.jpg": bytes(64 << 20)})
    with pytest.raises(LimitExceeded, match="inflates to more"):
        unpack_zip(bomb, tmp_path / "out", suffixes=SUFFIXES)
    assert files_below(tmp_path / "out") == {}


def test_a_size_that_lies_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL_ARCHIVE_BYTES", 1 << 20)
    content = bytearray(pack(tmp_path / "a.zip", {"bomb.jpg": bytes(16 << 20)}).read_bytes())
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.find(magic) + offset
        content[at : at + 4] = struct.pack("<L", 10)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(Scene3dError):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out", suffixes=SUFFIXES)
    assert files_below(tmp_path / "out") == {}


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ARCHIVE_MEMBERS", 10)
    many = pack(tmp_path / "a.zip", {f"{number}.jpg": b"x" for number in range(11)})
    with pytest.raises(LimitExceeded, match="11 members"):
        unpack_zip(many, tmp_path / "out", suffixes=SUFFIXES)


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    content = bytearray(pack(tmp_path / "a.zip", {"a.jpg": b"a" * 100, "b.jpg": b"b" * 100}).read_bytes())
    second = content.find(b"PK\x01\x02", content.find(b"PK\x01\x02") + 4)
    content[second + 42 : second + 46] = struct.pack("<L", 0)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out", suffixes=SUFFIXES)


def test_an_archive_inside_an_archive_stays_closed(tmp_path: Path) -> None:
    inner = pack(tmp_path / "inner.zip", {"a.jpg": b"a"}).read_bytes()
    with pytest.raises(InputError, match="nothing of use"):
        unpack_zip(pack(tmp_path / "a.zip", {"inner.zip": inner}), tmp_path / "out", suffixes=SUFFIXES)


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"no archive at all" * 10])
def test_what_is_no_archive_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out", suffixes=SUFFIXES)


@settings(max_examples=150)
@given(st.data())
def test_damaged_archives_never_write_outside_and_fail_by_name(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"images/{number}.jpg", bytes(range(200)) * 3)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.zip").write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        written = unpack_zip(folder / "a.zip", folder / "out", suffixes=SUFFIXES)
    except Scene3dError:
        assert files_below(folder / "out") == {}
    else:
        assert all(path.is_relative_to(folder / "out") for path in written)
