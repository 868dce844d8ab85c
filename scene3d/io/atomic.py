"""Owns how files come into being: whole and durable, or not at all."""

import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from scene3d.errors import InputError, LimitExceeded, Scene3dError

_LEFTOVER = re.compile(r"^\..+\.(\d+)\.part$", re.DOTALL)
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MAX_FILE_NAME_BYTES = 255

_being_written: set[str] = set()
"""Temporaries of this process; any other file that carries our pid was left by a dead process of the same number."""


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; when the body ends, it becomes `path` in one durable step.

    If the body raises, or the process dies at any moment, `path` is what it was before. The folder must exist.

    Args:
        path: The file to make or to replace.

    Yields:
        A path in the same folder; the body creates it.

    Raises:
        LimitExceeded: The disk or the quota is full.
        InputError: The folder is missing or may not be written.
    """
    temporary = temporary_path(path)
    _being_written.add(os.path.abspath(temporary))
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise _spoken(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _being_written.discard(os.path.abspath(temporary))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole."""
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text whole, with its line ends as given."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, keys in their order; NaN and infinity are a ValueError, because JSON has neither."""
    write_text(path, json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where they are missing.

    Raises:
        InputError: It cannot be made.
        LimitExceeded: The disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _spoken(error, folder) from error


def temporary_path(path: Path) -> Path:
    """Where a file is written before it becomes `path`; the name tells the process that writes it."""
    name, ending = path.name, f".{os.getpid()}.part"
    if len(os.fsencode(name)) + len(ending) + 1 > _MAX_FILE_NAME_BYTES:
        name = sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}{ending}")


def sweep_leftovers(folder: Path) -> tuple[Path, ...]:
    """Delete the temporaries that dead processes left anywhere below `folder`; returns what was deleted."""
    swept = []
    for path in sorted(folder.rglob(".*.part")):
        match = _LEFTOVER.match(path.name)
        if match is None or path.is_dir() or os.path.abspath(path) in _being_written:
            continue
        pid = int(match[1])
        if pid == os.getpid() or not _is_alive(pid):
            with suppress(FileNotFoundError):
                path.unlink()
                swept.append(path)
    return tuple(swept)


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        # There os.kill would end the process instead of asking after it.
        import ctypes

        query_limited_information = 0x1000
        handle = ctypes.windll.kernel32.OpenProcess(query_limited_information, False, pid & 0xFFFFFFFF)
        return bool(handle and ctypes.windll.kernel32.CloseHandle(handle))
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # it exists and belongs to somebody else
    return True


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders; it makes the rename durable by itself
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _spoken(error: OSError, path: Path) -> Scene3dError:
    if error.errno in _DISK_FULL:
        return LimitExceeded(
            f"cannot be written: {error.strerror}",
            where=path,
            remedy="free disk space; what was there before is untouched",
        )
    return InputError(
        f"cannot be written: {error.strerror or error}",
        where=path,
        remedy="choose a folder that exists and may be written",
    )
