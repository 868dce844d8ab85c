"""Owns tensors on disk: safetensors files, written one tensor at a time with their hash, read only when it agrees."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from scene3d.errors import InputError, LimitExceeded
from scene3d.io.atomic import replace_file
from scene3d.io.opening import check_plain_file
from scene3d.limits import MAX_TENSOR_FILE_BYTES

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8
_BYTES_AT_ONCE = 1 << 22


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> str:
    """Write a safetensors file whole; needs no second copy of the tensors in memory.

    Args:
        path: Of the file.
        tensors: By name.
        metadata: Texts by name, kept in the file's header.

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        InputError: The path cannot be written.
        LimitExceeded: The disk is full.
    """
    # Large elements first, so that every tensor begins at a multiple of its element size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    digest = sha256()
    with replace_file(path) as temporary, temporary.open("wb") as stream:
        header = _header(tensors, names, metadata)
        stream.write(header)
        digest.update(header)
        for name in names:
            if tensors[name].numel() == 0:
                continue  # nothing to write, and its strides may be such that it cannot be seen as bytes
            content = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            stream.write(content.data)
            digest.update(content.data)
    return digest.hexdigest()


def read_tensors(path: Path, *, expected_sha256: str) -> dict[str, Tensor]:
    """Read a safetensors file whose hash is known.

    Raises:
        InputError: Missing, damaged, or not the file of that hash.
        LimitExceeded: Too large, or too little memory.
    """
    check_plain_file(path, max_bytes=MAX_TENSOR_FILE_BYTES)
    if file_sha256(path) != expected_sha256:
        raise InputError("its content is not what was saved (the SHA-256 differs)", where=path)
    return _load(path)[0]


def read_tensors_with_metadata(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file that nobody vouches for, and its metadata; the reader must check both.

    Raises:
        InputError: Missing, or no safetensors file.
        LimitExceeded: Too large, or too little memory.
    """
    check_plain_file(path, max_bytes=MAX_TENSOR_FILE_BYTES)
    return _load(path)


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except MemoryError as error:
        raise LimitExceeded("there is not enough memory to read these tensors", where=path) from error
    except Exception as error:  # The parser's own errors have no common root.
        raise InputError(f"is no usable safetensors file: {error}", where=path) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = sha256()
    try:
        with path.open("rb") as stream:
            while part := stream.read(_BYTES_AT_ONCE):
                digest.update(part)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error
    return digest.hexdigest()


def _header(tensors: Mapping[str, Tensor], names: list[str], metadata: Mapping[str, str] | None) -> bytes:
    entries: dict[str, object] = {}
    if metadata:
        entries["__metadata__"] = dict(metadata)
    position = 0
    for name in names:
        tensor = tensors[name]
        end = position + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
