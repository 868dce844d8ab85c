"""Owns putting Gaussian .ply files together by their rows, bytes untouched, and taking them apart again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

from scene3d.errors import InputError
from scene3d.io.atomic import replace_file
from scene3d.io.opening import map_file
from scene3d.io.ply_header import parse_header
from scene3d.limits import MAX_TENSOR_FILE_BYTES

_MARK = "scene3d: part"
_BYTES_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class PlyPart:
    """Rows of a composed file that came from another file."""

    name: str
    num_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlyLayout:
    """How the bytes of a binary .ply with vertices only are laid out."""

    path: Path
    header: bytes
    num_rows: int
    row_bytes: int
    parts: tuple[PlyPart, ...]
    """Added rows, in the order of the file, behind those of the base."""

    record: tuple[tuple[str, str], ...]
    """Names and types of the properties."""

    @property
    def num_base_rows(self) -> int:
        """Rows that were there before any part was added."""
        return self.num_rows - sum(part.num_rows for part in self.parts)

    @property
    def base_header(self) -> bytes:
        """The header as it was before any part was added."""
        return _header_for(self.header, self.num_base_rows, ())

    def base_sha256(self) -> str:
        """SHA-256 of the file as it was before any part was added, in hex."""
        digest = sha256(self.base_header)
        for content in self.rows(0, self.num_base_rows):
            digest.update(content)
        return digest.hexdigest()

    def rows(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of some rows, a few megabytes at a time."""
        with self.path.open("rb") as stream:
            stream.seek(len(self.header) + start * self.row_bytes)
            yield from _read(stream, (stop - start) * self.row_bytes, self.path)


def read_ply_layout(path: Path) -> PlyLayout:
    """The layout of a .ply that this program wrote, alone or by `compose_ply`.

    Raises:
        InputError: Not such a file, or not as long as its header says.
    """
    buffer = map_file(path, max_bytes=MAX_TENSOR_FILE_BYTES)
    header = parse_header(buffer, path)
    whole = len(header.elements) == 1 and header.elements[0].name == "vertex" and not header.elements[0].has_lists
    if header.is_ascii or not whole:
        raise InputError("is no binary .ply of Gaussians only", where=path)
    vertex = header.elements[0]
    if header.size_bytes + vertex.count * vertex.record.itemsize != len(buffer):
        raise InputError("is not as long as its header says", where=path, remedy="merge the run again")
    parts = tuple(_parse_part(comment, path) for comment in header.comments if comment.startswith(_MARK))
    layout = PlyLayout(
        path=path,
        header=bytes(buffer[: header.size_bytes]),
        num_rows=vertex.count,
        row_bytes=vertex.record.itemsize,
        parts=parts,
        record=tuple((name, str(vertex.record[name])) for name in vertex.record.names or ()),
    )
    if layout.num_base_rows < 0:
        raise InputError("its comments count more added rows than it has", where=path, remedy="merge the run again")
    return layout


def compose_ply(target: Path, base: PlyLayout, parts: Sequence[tuple[str, PlyLayout]]) -> None:
    """Write the base's own rows and behind them all rows of some files; without any, the base as it first was.

    Args:
        target: May be the base's own path: it is replaced in one step.
        base: What was added to it before is left out.
        parts: Names without spaces, and files of the same properties.

    Raises:
        InputError: The properties differ, or the target cannot be written. The target is then what it was.
        LimitExceeded: The disk is full.
    """
    for name, part in parts:
        if part.record != base.record:
            raise InputError(f"the rows of {name} have other properties than the scene's", where=part.path)
    added = tuple(PlyPart(name=name, num_rows=part.num_rows) for name, part in parts)
    num_rows = base.num_base_rows + sum(part.num_rows for part in added)
    with replace_file(target) as temporary, temporary.open("wb") as stream:
        stream.write(_header_for(base.header, num_rows, added))
        for content in base.rows(0, base.num_base_rows):
            stream.write(content)
        for _, part in parts:
            for content in part.rows(0, part.num_rows):
                stream.write(content)


def _read(stream: IO[bytes], count: int, path: Path) -> Iterator[bytes]:
    while count > 0:
        content = stream.read(min(count, _BYTES_AT_ONCE))
        if not content:
            raise InputError("was cut short while it was read", where=path)
        count -= len(content)
        yield content


def _parse_part(comment: str, path: Path) -> PlyPart:
    words = comment[len(_MARK) :].split()
    if len(words) != 2 or not words[1].isdecimal():
        raise InputError(f"its comment {comment[:60]!r} is damaged", where=path, remedy="merge the run again")
    return PlyPart(name=words[0], num_rows=int(words[1]))


def _header_for(header: bytes, num_rows: int, parts: Sequence[PlyPart]) -> bytes:
    """A header with another count and with the comments of these parts only; all else as it was."""
    mark, element = f"comment {_MARK} ".encode(), b"element vertex "
    lines = []
    for line in header.split(b"\n"):
        if line.startswith(mark):
            continue
        if line.startswith(element):
            lines += [mark + f"{part.name} {part.num_rows}".encode() for part in parts]
            line = element + str(num_rows).encode()
        lines.append(line)
    return b"\n".join(lines)
