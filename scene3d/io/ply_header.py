"""Owns PLY headers: parsed as ASCII within bounds, every length checked against the file before anything is read."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scene3d.errors import InputError, LimitExceeded
from scene3d.limits import MAX_PLY_HEADER_BYTES, MAX_PLY_VERTICES

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_MAX_COUNT_DIGITS = 12
_REMEDY = "export the file again"


@dataclass(frozen=True, slots=True)
class PlyElement:
    """One kind of record of a PLY file."""

    name: str
    count: int
    record: np.dtype[np.void]
    """Its scalar properties in file order."""

    has_lists: bool = False
    """Lists make records of different lengths; `record` then does not tell their size."""


@dataclass(frozen=True, slots=True)
class PlyHeader:
    """What a PLY file says it holds."""

    is_ascii: bool
    elements: tuple[PlyElement, ...]
    comments: tuple[str, ...]
    size_bytes: int
    """Where the first record begins."""


def parse_header(buffer: memoryview, path: Path) -> PlyHeader:
    """Parse the header at the start of a PLY file.

    Raises:
        InputError: Not a PLY file, or a header that is damaged, contradicts itself or has no end.
        LimitExceeded: More records than are accepted.
    """
    lines, size_bytes = _header_lines(bytes(buffer[:MAX_PLY_HEADER_BYTES]), path)
    byte_order = _byte_order(lines, path)
    drafts: list[_Draft] = []
    comments = []
    for line in lines[1:]:
        words = line.split()
        if not words or words[0] in ("obj_info", "format"):
            continue
        if words[0] == "comment":
            comments.append(line[len("comment") :].strip())
        elif words[0] == "element" and len(words) == 3:
            drafts.append(_Draft(words[1], _count(words[1], words[2], path)))
        elif words[0] == "property" and drafts:
            drafts[-1].add_property(words[1:], byte_order, path)
        else:
            raise InputError(f"its header holds the odd line {line[:60]!r}", where=path, remedy=_REMEDY)
    if len({draft.name for draft in drafts}) < len(drafts):
        raise InputError("its header names an element twice", where=path, remedy=_REMEDY)
    elements = tuple(
        PlyElement(draft.name, draft.count, np.dtype(list(draft.fields.items())), draft.has_lists) for draft in drafts
    )
    return PlyHeader(byte_order == "=", elements, tuple(comments), size_bytes)


@dataclass(slots=True)
class _Draft:
    """An element while its properties are being read."""

    name: str
    count: int
    fields: dict[str, str] = field(default_factory=dict)
    has_lists: bool = False

    def add_property(self, words: list[str], byte_order: str, path: Path) -> None:
        if len(words) == 4 and words[0] == "list" and words[1] in _TYPES and words[2] in _TYPES:
            self.has_lists = True
            return
        if len(words) != 2 or words[0] not in _TYPES:
            line = " ".join(words)[:60]
            raise InputError(f"its header holds the odd property {line!r}", where=path, remedy=_REMEDY)
        if words[1] in self.fields:
            what = f"its header names the property {words[1][:40]!r} twice"
            raise InputError(what, where=path, remedy=_REMEDY)
        self.fields[words[1]] = byte_order + _TYPES[words[0]]


def vertex_table(buffer: memoryview, header: PlyHeader, path: Path, *, allow_faces: bool) -> np.ndarray:
    """The `vertex` records as one structured array; binary ones are not copied.

    Args:
        buffer: The whole file.
        header: Its parsed header.
        path: For messages.
        allow_faces: Whether elements with lists may follow the vertices; their bytes are not read.

    Raises:
        InputError: No vertices, lists where they cannot be, or not as many bytes as the header says.
    """
    start = header.size_bytes
    for place, element in enumerate(header.elements):
        if element.has_lists:
            break
        if element.name == "vertex":
            if not element.record.names:
                break
            rest = header.elements[place + 1 :]
            if any(each.has_lists for each in rest) and not allow_faces:
                raise InputError("holds lists, so it is a mesh and no Gaussian scene", where=path, remedy=_REMEDY)
            if header.is_ascii:
                return _ascii_table(buffer, start, element, rest, path)
            return _binary_table(buffer, start, element, rest, path)
        if header.is_ascii and element.count:
            break
        start += element.count * element.record.itemsize
    raise InputError("has no vertices where they can be found", where=path, remedy="give a point cloud or a 3DGS file")


def _binary_table(
    buffer: memoryview, start: int, element: PlyElement, rest: tuple[PlyElement, ...], path: Path
) -> np.ndarray:
    available = len(buffer) - start
    size_bytes = element.count * element.record.itemsize
    needed = size_bytes + sum(each.count * each.record.itemsize for each in rest if not each.has_lists)
    open_ended = any(each.has_lists and each.count for each in rest)
    if needed > available or (needed < available and not open_ended):
        what = f"its header declares {element.count:,} vertices, {needed:,} bytes of records; it holds {available:,}"
        raise InputError(what, where=path, remedy="it was cut short or damaged; export it again")
    if element.count == 0:
        return np.zeros(0, element.record)
    return np.frombuffer(buffer[start : start + size_bytes], element.record)


def _ascii_table(
    buffer: memoryview, start: int, element: PlyElement, rest: tuple[PlyElement, ...], path: Path
) -> np.ndarray:
    columns = len(element.record.names or ())
    remedy = "it was cut short or damaged; export it again"
    # The shortest record is one digit and one separator per property.
    if element.count * columns * 2 - 1 > len(buffer) - start:
        what = f"its header declares {element.count:,} vertices, but {len(buffer) - start:,} bytes follow"
        raise InputError(what, where=path, remedy=remedy)
    wanted = element.count * columns
    open_ended = any(each.count for each in rest)
    try:
        text = bytes(buffer[start:])
        numbers = (
            np.fromstring(text, np.float64, count=wanted if open_ended else -1, sep=" ") if wanted else np.zeros(0)
        )
    except (ValueError, DeprecationWarning) as error:
        raise InputError("holds something that is no number", where=path, remedy=remedy) from error
    if len(numbers) != wanted or (not wanted and not open_ended and text.strip()):
        what = f"its header declares {element.count:,} vertices, {wanted:,} numbers; it holds {len(numbers):,}"
        raise InputError(what, where=path, remedy=remedy)
    return _as_records(numbers.reshape(element.count, columns), element.record, path)


def _as_records(numbers: np.ndarray, record: np.dtype[np.void], path: Path) -> np.ndarray:
    table = np.zeros(len(numbers), record)
    for column, name in enumerate(record.names or ()):
        values, kind = numbers[:, column], record[name]
        if kind.kind in "iu":
            span = np.iinfo(kind)
            if not ((values >= span.min) & (values <= span.max) & (values == np.floor(values))).all():
                raise InputError(f"property {name!r} does not fit its type", where=path, remedy=_REMEDY)
        with np.errstate(over="ignore"):  # to infinity, which the reader counts
            table[name] = values.astype(kind)
    return table


def _header_lines(head: bytes, path: Path) -> tuple[list[str], int]:
    line_end = next((each for each in (b"\n", b"\r\n", b"\r") if head.startswith(b"ply" + each)), None)
    if line_end is None:
        raise InputError("is not a PLY file (it does not begin with 'ply')", where=path, remedy="check the file")
    ending = line_end + b"end_header" + line_end
    end = head.find(ending)
    if end < 0:
        what = f"its header has no end within {MAX_PLY_HEADER_BYTES:,} bytes"
        raise InputError(what, where=path, remedy=_REMEDY)
    # Only comments may hold other signs; anywhere else the replacement is an odd word and is refused.
    return head[:end].decode("ascii", "replace").split(line_end.decode()), end + len(ending)


def _byte_order(lines: list[str], path: Path) -> str:
    formats = [line.split() for line in lines if line.startswith("format")]
    if len(formats) != 1 or len(formats[0]) != 3 or formats[0][1] not in _BYTE_ORDERS or formats[0][2] != "1.0":
        raise InputError("its header does not say one known format", where=path, remedy=_REMEDY)
    return _BYTE_ORDERS[formats[0][1]]


def _count(name: str, count: str, path: Path) -> int:
    if not (count.isascii() and count.isdigit() and len(count) <= _MAX_COUNT_DIGITS):
        raise InputError(f"its header declares {count[:40]!r} records of {name[:40]!r}", where=path, remedy=_REMEDY)
    if int(count) > MAX_PLY_VERTICES:
        what = f"its header declares {int(count):,} records of {name[:40]!r}; at most {MAX_PLY_VERTICES:,} are read"
        raise LimitExceeded(what, where=path, remedy="split the scene")
    return int(count)
