"""Owns reading JSON that somebody else wrote: bounded in size and depth, no NaN, no key twice."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

import numpy as np

from scene3d.errors import InputError, LimitExceeded
from scene3d.io.opening import read_file_bytes
from scene3d.limits import MAX_JSON_BYTES, MAX_JSON_DEPTH


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The value in a JSON file.

    Raises:
        InputError: Not UTF-8, not JSON, nested too deeply, NaN or infinite numbers, a key twice in one object.
        LimitExceeded: Larger than `max_bytes`.
    """
    return parse_json(read_file_bytes(path, max_bytes=max_bytes), where=path)


def read_json_object(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object in a JSON file; an array or a bare value is an InputError."""
    value = read_json(path, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise InputError("does not hold a JSON object", where=path, remedy="check that this is the right file")
    return value


def parse_json(content: bytes, *, where: str | Path) -> Any:
    """The value of a JSON text; see `read_json`."""
    remedy = "check that this is the right file and that it is whole"
    try:
        if _nesting_depth(content) > MAX_JSON_DEPTH:
            raise InputError(f"is nested deeper than {MAX_JSON_DEPTH} levels", where=where, remedy=remedy)
        return json.loads(
            content.decode("utf-8-sig"),
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            object_pairs_hook=_unique_keys,
        )
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"is not usable JSON: {error}", where=where, remedy=remedy) from error
    except MemoryError as error:
        raise LimitExceeded("there is not enough memory to read this JSON", where=where) from error


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a JSON value is a number that fits a double; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _nesting_depth(content: bytes) -> int:
    """Deepest level of brackets outside strings, found without parsing, so that no parser has to recurse."""
    # Without escaped signs every other quote ends a string.
    codes = np.frombuffer(content.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    outside = ~np.logical_xor.accumulate(codes == ord('"'))
    opening = ((codes == ord("[")) | (codes == ord("{"))) & outside
    closing = ((codes == ord("]")) | (codes == ord("}"))) & outside
    levels = np.cumsum(opening.astype(np.int8) - closing.astype(np.int8), dtype=np.int32)
    return int(levels.max(initial=0))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key[:40]!r} appears twice")
        result[key] = value
    return result
