"""Files come whole or not at all."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scene3d.errors import InputError, LimitExceeded
from scene3d.io import atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_written_file_holds_what_was_given_and_nothing_else_stays(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a.txt", "grün\r\n")
    atomic.write_bytes(tmp_path / "b.bin", b"\0\1")
    atomic.write_json(tmp_path / "c.json", {"z": 1, "a": [1.5, None, "ü"]})
    assert (tmp_path / "a.txt").read_bytes() == "grün\r\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\0\1"
    assert list(json.loads((tmp_path / "c.json").read_text(encoding="utf-8")).items()) == [
        ("z", 1),
        ("a", [1.5, None, "ü"]),
    ]
    assert names(tmp_path) == ["a.txt", "b.bin", "c.json"]


def test_an_error_in_the_body_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def fail_half_way() -> None:
        with atomic.replace_file(path) as temporary:
            temporary.write_text("half")
            assert temporary == tmp_path / f".a.txt.{os.getpid()}.part"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_file_is_durable_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        calls.append("sync folder" if os.path.isdir(os.readlink(f"/proc/self/fd/{descriptor}")) else "sync file")
        fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    atomic.write_bytes(tmp_path / "a", b"x")
    assert calls == ["sync file", "replace", "sync folder"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_limit_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, code: int
) -> None:
    path = tmp_path / "a"
    atomic.write_bytes(path, b"old")

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(LimitExceeded, match="free disk space"):
            atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_missing_folder_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose a folder") as caught:
        atomic.write_bytes(tmp_path / "no" / "a", b"x")
    assert caught.value.where == str(tmp_path / "no" / "a")


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    atomic.write_bytes(path, b"x")
    assert path.read_bytes() == b"x"


def test_nan_in_a_record_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", {"psnr_db": float("nan")})
    assert names(tmp_path) == []


def test_the_sweep_takes_only_what_dead_processes_left(tmp_path: Path) -> None:
    deep = tmp_path / "checkpoints"
    deep.mkdir()
    leftover = deep / f".a.safetensors.{dead_pid()}.part"
    reused_number = tmp_path / f".old.{os.getpid()}.part"
    kept = [
        tmp_path / f".b.{os.getppid()}.part",
        tmp_path / f"visible.{dead_pid()}.part",
        tmp_path / ".note.part",
        tmp_path / ".c.12x.part",
        deep / "scene.ply",
    ]
    for path in [leftover, reused_number, *kept]:
        path.write_bytes(b"x")
    with atomic.replace_file(tmp_path / "now") as temporary:
        temporary.write_bytes(b"y")
        assert set(atomic.sweep_leftovers(tmp_path)) == {leftover, reused_number}
    assert all(path.exists() for path in [*kept, tmp_path / "now"])
    assert not leftover.exists()
