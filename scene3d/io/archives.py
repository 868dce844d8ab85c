"""Owns unpacking zip archives from strangers: names looked at, bytes counted while they come, links refused."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from scene3d.errors import InputError, LimitExceeded
from scene3d.io.atomic import make_folder
from scene3d.io.opening import check_plain_file, check_relative_name
from scene3d.limits import (
    MAX_ARCHIVE_BYTES,
    MAX_ARCHIVE_DIRECTORY_BYTES,
    MAX_ARCHIVE_MEMBER_BYTES,
    MAX_ARCHIVE_MEMBERS,
    MAX_ARCHIVE_NAME_BYTES,
    MAX_ARCHIVE_RATIO,
    SMALL_ARCHIVE_BYTES,
)

_CHUNK_BYTES = 1 << 20
_ENCRYPTED = 0x1
_END = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\x05\x06"
_ZIP64 = 0xFFFF
_KINDS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_REMEDY = "pack the photographs and poses anew, as a plain .zip"


def unpack_zip(archive: Path, folder: Path, *, suffixes: Collection[str]) -> list[Path]:
    """Unpack what a capture may hold; other kinds of file, and what systems add of their own, are passed over.

    Everything is checked before the first byte is written, and bytes are counted as they are inflated, whatever the
    archive declares. A folder that all members share is left out. On any error the files written so far are removed.

    Args:
        archive: A .zip of a stranger.
        folder: Where members go; made where missing.
        suffixes: Kinds of file that are unpacked, in lower case, with the dot.

    Returns:
        The files written.

    Raises:
        InputError: Damaged, encrypted, holding links or names that lead out of the folder, or nothing of use.
        LimitExceeded: Too many members, or they hold more than is accepted.
    """
    size_bytes = check_plain_file(archive, max_bytes=MAX_ARCHIVE_BYTES)
    _check_directory(archive, size_bytes)
    written: list[Path] = []
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _check_members(opened.infolist(), archive, suffixes)
            limit = min(MAX_ARCHIVE_BYTES, max(SMALL_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO * size_bytes))
            names = _without_common_folder([name for name, _ in members])
            left = limit
            for name, (_, member) in zip(names, members, strict=True):
                target = folder / name
                make_folder(target.parent)
                written.append(target)
                left -= _inflate(opened, member, target, min(left, MAX_ARCHIVE_MEMBER_BYTES), archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, struct.error) as error:
        _remove(written)
        raise InputError(f"is no usable zip archive ({error})", where=archive, remedy=_REMEDY) from error
    except BaseException:
        _remove(written)
        raise
    return written


def _check_directory(archive: Path, size_bytes: int) -> None:
    """Looks at the end of the file before the list of members is read into memory."""
    with archive.open("rb") as stream:
        stream.seek(max(0, size_bytes - _END.size - 0xFFFF))
        tail = stream.read()
    at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) < at + _END.size:
        raise InputError("is no zip archive, or was cut short", where=archive, remedy=_REMEDY)
    _, _, _, _, count, directory_bytes, _, _ = _END.unpack_from(tail, at)
    if count > MAX_ARCHIVE_MEMBERS or count == _ZIP64:
        raise LimitExceeded(f"declares {count:,} members; at most {MAX_ARCHIVE_MEMBERS:,} are unpacked", where=archive)
    if directory_bytes > MAX_ARCHIVE_DIRECTORY_BYTES:
        raise LimitExceeded(f"its list of members takes {directory_bytes:,} bytes", where=archive)


def _check_members(
    infos: Sequence[zipfile.ZipInfo], archive: Path, suffixes: Collection[str]
) -> list[tuple[str, zipfile.ZipInfo]]:
    """The members to unpack with their checked names.

    Raises:
        InputError, LimitExceeded: Any of them cannot be trusted.
    """
    if len(infos) > MAX_ARCHIVE_MEMBERS:
        raise LimitExceeded(
            f"holds {len(infos):,} members; at most {MAX_ARCHIVE_MEMBERS:,} are unpacked", where=archive
        )
    if sum(len(info.filename) for info in infos) > MAX_ARCHIVE_NAME_BYTES:
        raise LimitExceeded("the names of its members are too long", where=archive)
    found: dict[str, tuple[str, zipfile.ZipInfo]] = {}
    for info in infos:
        if info.is_dir():
            continue
        name = check_relative_name(info.orig_filename, where=archive)
        mode = info.external_attr >> 16
        if mode and not (stat.S_ISREG(mode) or stat.S_IFMT(mode) == 0):
            raise InputError(f"the member {name[:80]!a} is a link or device", where=archive, remedy=_REMEDY)
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _KINDS:
            raise InputError(f"the member {name[:80]!a} is encrypted or packed oddly", where=archive, remedy=_REMEDY)
        if _is_noise(name) or PurePosixPath(name).suffix.lower() not in suffixes:
            continue
        if name.casefold() in found:
            raise InputError(f"the member {name[:80]!a} is there twice", where=archive, remedy=_REMEDY)
        found[name.casefold()] = (name, info)
    if not found:
        kinds = ", ".join(sorted(suffixes))
        raise InputError("holds nothing of use", where=archive, remedy=f"files that are taken: {kinds}")
    _check_overlap([info for _, info in found.values()], archive)
    return list(found.values())


def _check_overlap(infos: Sequence[zipfile.ZipInfo], archive: Path) -> None:
    """Members that share bytes are the trick of small archives that inflate to petabytes."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise InputError("its members overlap", where=archive, remedy=_REMEDY)
        end = info.header_offset + 30 + info.compress_size


def _inflate(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, limit: int, archive: Path) -> int:
    count = 0
    with opened.open(member) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK_BYTES):
            count += len(chunk)
            if count > limit:
                raise LimitExceeded(
                    "inflates to more than is accepted", where=archive, remedy="split it, or copy the folder instead"
                )
            sink.write(chunk)
    return count


def _without_common_folder(names: Sequence[str]) -> list[str]:
    """Names without the folders that all of them begin with, as long as no capture's own folder is meant."""
    shared = [PurePosixPath(name).parts[:-1] for name in names]
    common = 0
    while all(len(parts) > common for parts in shared) and len({parts[common] for parts in shared}) == 1:
        if shared[0][common] in ("images", "sparse", "masks"):
            break
        common += 1
    return [str(PurePosixPath(*PurePosixPath(name).parts[common:])) for name in names]


def _is_noise(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _remove(written: Sequence[Path]) -> None:
    for path in written:
        path.unlink(missing_ok=True)
