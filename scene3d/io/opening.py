"""Owns the first look at a file or a name given from outside: is it there, is it a plain file, is it small enough."""

import mmap
import stat
from pathlib import Path, PurePosixPath

from scene3d.errors import InputError, LimitExceeded
from scene3d.limits import MAX_NAME_BYTES, MAX_PATH_BYTES

_MAX_MESSAGE_NAME = 80
_CONTROL_CHARACTERS = frozenset(map(chr, (*range(32), *range(127, 160))))


def check_plain_file(path: Path, *, max_bytes: int) -> int:
    """Refuse what is missing, is no plain file (a folder, a pipe that would block for ever) or is too large.

    Returns:
        The file's size in bytes.

    Raises:
        InputError: The file is missing, no plain file, or may not be read.
        LimitExceeded: It is larger than `max_bytes`.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read: {what}", where=path, remedy="check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError("is not a plain file", where=path, remedy="give the path of a file")
    if status.st_size > max_bytes:
        raise LimitExceeded(
            f"holds {status.st_size:,} bytes; at most {max_bytes:,} are read", where=path, remedy="split or shrink it"
        )
    return status.st_size


def is_plain_file(path: Path) -> bool:
    """Whether a plain file is there; a path the system cannot even ask for is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_file_bytes(path: Path, *, max_bytes: int) -> bytes:
    """The content of a plain file that is no larger than `max_bytes`."""
    size_bytes = check_plain_file(path, max_bytes=max_bytes)
    try:
        with path.open("rb") as stream:
            content = stream.read(size_bytes + 1)  # asking for `max_bytes` would reserve as much
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path, remedy="check its permissions") from error
    if len(content) > size_bytes:
        raise InputError("grew while it was read", where=path, remedy="wait until it is whole and try again")
    return content


def map_file(path: Path, *, max_bytes: int) -> memoryview:
    """The bytes of a plain file, paged in on use; read-only."""
    size_bytes = check_plain_file(path, max_bytes=max_bytes)
    if size_bytes == 0:
        return memoryview(b"")  # an empty file cannot be mapped
    try:
        with path.open("rb") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=path, remedy="check its permissions") from error


def check_relative_name(name: str, *, where: str | Path) -> str:
    """Refuse a name from inside a file that could lead out of its folder; returns it in its plain form.

    Accepted are relative names with forward slashes: no `..`, no drive letter, no backslash, no control characters,
    no part over 255 bytes, 1,020 in all. Links on the person's own disk are theirs to make and are not looked at.

    Raises:
        InputError: The name is anything else.
    """
    shown = ascii(name[:_MAX_MESSAGE_NAME])
    remedy = "write names relative to the folder, with forward slashes"
    try:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        too_long = any(len(part.encode("utf-8")) > MAX_NAME_BYTES for part in parts)
        too_long |= len(name.encode("utf-8")) > MAX_PATH_BYTES
    except UnicodeEncodeError as error:
        raise InputError(f"the name {shown} is not valid Unicode", where=where, remedy=remedy) from error
    if not parts:
        raise InputError(f"the name {shown} names no file", where=where, remedy=remedy)
    if too_long:
        raise InputError(f"the name {shown}... is too long", where=where, remedy=remedy)
    drive = len(parts[0]) >= 2 and parts[0][1] == ":"
    if name.startswith("/") or drive or ".." in parts or "\\" in name or _CONTROL_CHARACTERS & set(name):
        raise InputError(f"the name {shown} leaves its folder or holds odd signs", where=where, remedy=remedy)
    return str(PurePosixPath(*parts))
