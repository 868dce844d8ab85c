"""Owns files of anchors with their decoder: one safetensors file whose metadata says what it is and vouches for it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scene3d.errors import InputError, SettingsError
from scene3d.gaussians.anchors import Anchors
from scene3d.gaussians.decoder import Decoder, decoder_checksum
from scene3d.gaussians.decoder_shape import DecoderShape
from scene3d.io.bounded_json import parse_json
from scene3d.io.tensors import read_tensors_with_metadata, write_tensors
from scene3d.seeding import make_generator

ANCHOR_SCHEMA_VERSION = 1
_REMEDY = "check that this is an anchors.safetensors file of this program and that it is whole"


def write_anchors(path: Path, anchors: Anchors, decoder: Decoder, *, facts: Mapping[str, Any] | None = None) -> str:
    """Write anchors and decoder in the world frame they were trained in.

    Args:
        path: A .safetensors file.
        anchors: Of the decoder's shape.
        decoder: The student.
        facts: Further plain values for whoever reads the file.

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        InputError: The path cannot be written, or something is not finite.
    """
    tensors = {f"anchors.{part.name}": getattr(anchors, part.name).detach().cpu() for part in fields(Anchors)}
    tensors |= {f"decoder.{name}": value.detach().cpu() for name, value in decoder.named_parameters()}
    _check_finite(tensors, path)
    record = {
        "schema_version": ANCHOR_SCHEMA_VERSION,
        "decoder": asdict(decoder.shape),
        "decoder_sha256": decoder_checksum(decoder),
        "content_sha256": _content_sha256(tensors),
        "facts": dict(facts or {}),
    }
    return write_tensors(path, tensors, metadata={"scene3d": json.dumps(record, sort_keys=True, allow_nan=False)})


def read_anchors(path: Path) -> tuple[Anchors, Decoder]:
    """Read anchors and their decoder.

    Raises:
        InputError: Missing, damaged, of another kind, or of sizes that contradict each other.
        LimitExceeded: Too large.
    """
    tensors, metadata = read_tensors_with_metadata(path)
    record = _read_record(metadata, path)
    try:
        shape = DecoderShape(**record["decoder"])
        decoder = Decoder(shape, make_generator(0, "unused"))
    except (KeyError, TypeError, SettingsError) as error:
        raise InputError(f"its decoder makes no sense ({error})", where=path, remedy=_REMEDY) from error
    _check_shapes(tensors, _expected_shapes(decoder, tensors), path)
    if record.get("content_sha256") != _content_sha256(tensors):
        raise InputError("its content is not what was saved (the SHA-256 differs)", where=path, remedy=_REMEDY)
    _check_finite(tensors, path)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            parameter.copy_(tensors[f"decoder.{name}"])
    if record.get("decoder_sha256") != decoder_checksum(decoder):
        raise InputError("its decoder is not the one that was saved", where=path, remedy=_REMEDY)
    return Anchors(**{part.name: tensors[f"anchors.{part.name}"] for part in fields(Anchors)}), decoder


def read_anchor_facts(path: Path) -> dict[str, Any]:
    """What the writer of an anchor file left for its readers.

    Raises:
        InputError: As `read_anchors`.
    """
    record = _read_record(read_tensors_with_metadata(path)[1], path)
    facts = record.get("facts")
    return facts if isinstance(facts, dict) else {}


def _read_record(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if "scene3d" not in metadata:
        raise InputError("holds no anchors", where=path, remedy=_REMEDY)
    record = parse_json(metadata["scene3d"].encode(), where=path)
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != ANCHOR_SCHEMA_VERSION:
        raise InputError(f"its layout is {version!r}; this program reads {ANCHOR_SCHEMA_VERSION}", where=path)
    assert isinstance(record, dict)
    return record


def _expected_shapes(decoder: Decoder, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    positions = tensors.get("anchors.positions")
    count = len(positions) if positions is not None and positions.ndim else 0
    shape = decoder.shape
    return {
        "anchors.positions": (count, 3),
        "anchors.features": (count, shape.num_features),
        "anchors.offsets": (count, shape.num_offsets, 3),
        "anchors.log_scales": (count, 6),
        **{f"decoder.{name}": tuple(value.shape) for name, value in decoder.named_parameters()},
    }


def _check_shapes(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], path: Path) -> None:
    if set(tensors) != set(expected):
        odd = ", ".join(sorted(set(tensors) ^ set(expected)))
        raise InputError(f"has too many or too few tensors: {odd[:200]}", where=path, remedy=_REMEDY)
    for name, shape in expected.items():
        found = tensors[name]
        if tuple(found.shape) != shape or found.dtype != torch.float32:
            what = f"{name} is {found.dtype} of shape {tuple(found.shape)}; expected float32 of {shape}"
            raise InputError(what, where=path, remedy=_REMEDY)


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise InputError(f"{name} holds numbers that are not finite", where=path, remedy="train the scene again")


def _content_sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
