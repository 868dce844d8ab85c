"""Owns a trained generator on disk: NAME.safetensors with half-precision weights, and NAME.json that describes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scene3d.config import settings_from_record, settings_to_record
from scene3d.errors import InputError
from scene3d.generation.spec import ModelConfig
from scene3d.io.atomic import make_folder, write_json
from scene3d.io.bounded_json import read_json_object
from scene3d.io.tensors import read_tensors, write_tensors

SCHEMA_VERSION = 1
PACKAGED = Path(__file__).parent / "weights" / "tiny.json"
MODEL_NAME = "model"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelFile:
    """What a generator's files hold."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    """Single precision."""

    sha256: str
    """Of the file of weights."""

    training: dict[str, Any]
    """How it came about."""


def write_model(
    folder: Path, config: ModelConfig, tensors: Mapping[str, Tensor], training: Mapping[str, Any], *, name: str
) -> Path:
    """Write both files; returns the .json."""
    make_folder(folder)
    weights = folder / f"{name}.safetensors"
    digest = write_tensors(weights, {key: value.to(torch.float16) for key, value in tensors.items()})
    record = {
        "schema_version": SCHEMA_VERSION,
        "config": settings_to_record(config),
        "weights": {"file": weights.name, "sha256": digest},
        "training": dict(training),
    }
    path = folder / f"{name}.json"
    write_json(path, record)
    return path


def read_model(path: Path) -> ModelFile:
    """Read a generator.

    Args:
        path: A .json, the .safetensors beside it, or the folder of a finished training.

    Raises:
        InputError: There is none, it is damaged, or of another layout.
    """
    path = path / f"{MODEL_NAME}.json" if path.is_dir() else path.with_suffix(".json")
    record = read_json_object(path)
    if record.get("schema_version") != SCHEMA_VERSION:
        found = record.get("schema_version")
        raise InputError(f"its layout is {found!r}; this program reads {SCHEMA_VERSION}", where=path)
    config, weights, training = (record.get(key) for key in ("config", "weights", "training"))
    if not (isinstance(config, dict) and isinstance(weights, dict) and isinstance(training, dict)):
        raise InputError("is no description of a generator", where=path)
    name, digest = weights.get("file"), weights.get("sha256")
    if not isinstance(digest, str) or not isinstance(name, str) or Path(name).name != name:
        raise InputError("does not say which weights belong to it", where=path)
    tensors = read_tensors(path.parent / name, expected_sha256=digest)
    return ModelFile(
        config=settings_from_record(ModelConfig, config, where=path),
        tensors={key: value.float() for key, value in tensors.items()},
        sha256=digest,
        training=training,
    )
