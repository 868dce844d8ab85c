"""Owns checkpoints: a tensor file and, written last, the manifest that vouches for it; the newest two are kept."""

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from scene3d.errors import InputError, LimitExceeded
from scene3d.io.atomic import make_folder, sweep_leftovers, write_text
from scene3d.io.bounded_json import parse_json, read_json_object
from scene3d.io.findings import Finding, Severity
from scene3d.io.tensors import read_tensors, write_tensors
from scene3d.limits import FREE_SPACE_FACTOR, MAX_CHECKPOINTS, MAX_JSON_BYTES

SCHEMA_VERSION = 1

_FILE = re.compile(r"^checkpoint_(\d{6})\.(json|safetensors)$")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """One saved state, whole and as it was saved."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]
    number: int
    """The how-manieth save of its folder this was, from 0."""

    findings: tuple[Finding, ...] = ()
    """One for each newer checkpoint that could not be used."""

    @property
    def step(self) -> int:
        """The `step` or `iteration` of its record; the number of the save where it has neither."""
        return int(self.record.get("step", self.record.get("iteration", self.number)))


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Save a state durably; older checkpoints are deleted only after that.

    Killed at any moment, or with a full disk, the folder still holds the previous checkpoint.

    Args:
        folder: Made where missing; one process at a time may save in it.
        tensors: On any device.
        record: Plain values for JSON, without NaN.
        keep: How many of the newest checkpoints stay.

    Returns:
        The manifest.

    Raises:
        LimitExceeded: Too little free space, the disk became full, or a record of many megabytes.
        InputError: The folder cannot be written.
        ValueError: NaN in the record.
    """
    make_folder(folder)
    sweep_checkpoints(folder)
    _check_free_space(folder, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()))
    number = max(_numbers(folder, "json"), default=-1) + 1
    if number >= MAX_CHECKPOINTS:
        raise LimitExceeded(f"{number:,} checkpoints were saved here", where=folder, remedy="use a new folder")
    tensor_path, manifest_path = _paths(folder, number)
    tensor_sha256 = write_tensors(tensor_path, tensors)
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "number": number,
        "tensors": {"file": tensor_path.name, "size_bytes": tensor_path.stat().st_size, "sha256": tensor_sha256},
        "record": json.loads(json.dumps(record, allow_nan=False)),
    }
    write_text(manifest_path, _manifest_text(manifest, manifest_path))
    _prune(folder, keep)
    return manifest_path


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole; None where none was ever saved.

    A newer one that is damaged is passed over, and the result's findings say so.

    Raises:
        InputError: There are checkpoints, but none can be used.
        LimitExceeded: Too little memory.
    """
    reasons: list[Finding] = []
    for number in sorted(_numbers(folder, "json"), reverse=True):
        try:
            checkpoint = _load(folder, number)
        except InputError as error:
            what = f"checkpoint {number} cannot be used: {error.what}"
            remedy = "an older one is used; what was done since is done again"
            reasons.append(Finding(severity=Severity.WARNING, what=what, where=error.where or "", remedy=remedy))
        else:
            return replace(checkpoint, findings=tuple(reasons))
    if reasons:
        what = f"none of its {len(reasons)} checkpoints can be used ({reasons[0].what})"
        raise InputError(what, where=folder, remedy="start anew in another folder")
    return None


def sweep_checkpoints(folder: Path) -> tuple[Path, ...]:
    """Delete what killed saves left behind: temporaries, and tensor files that no manifest vouches for."""
    swept = list(sweep_leftovers(folder))
    for number in _numbers(folder, "safetensors") - _numbers(folder, "json"):
        path = _paths(folder, number)[0]
        with suppress(OSError):
            path.unlink()
            swept.append(path)
    return tuple(swept)


def _load(folder: Path, number: int) -> Checkpoint:
    tensor_path, manifest_path = _paths(folder, number)
    manifest = _read_manifest(manifest_path, number)
    tensors = read_tensors(tensor_path, expected_sha256=manifest["tensors"]["sha256"])
    return Checkpoint(tensors=tensors, record=manifest["record"], number=number)


def _read_manifest(path: Path, number: int) -> dict[str, Any]:
    manifest = read_json_object(path)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(f"its layout is {version!r}; this program reads {SCHEMA_VERSION}", where=path)
    claimed = manifest.pop("manifest_sha256", None)
    if claimed != _record_sha256(manifest) or manifest.get("number") != number:
        raise InputError("its manifest is not what was saved (the SHA-256 differs)", where=path)
    tensors, record = manifest.get("tensors"), manifest.get("record")
    if not (isinstance(record, dict) and isinstance(tensors, dict) and isinstance(tensors.get("sha256"), str)):
        raise InputError("its manifest is incomplete", where=path)
    return manifest


def _manifest_text(manifest: dict[str, Any], path: Path) -> str:
    """The manifest as it is written, after making sure that it can be read back."""
    manifest["manifest_sha256"] = _record_sha256(manifest)
    text = json.dumps(manifest, indent=1, allow_nan=False)
    if len(text) > MAX_JSON_BYTES:
        remedy = "keep large state in tensors"
        raise LimitExceeded(f"its record would take {len(text):,} bytes", where=path, remedy=remedy)
    parse_json(text.encode(), where=path)
    return text


def _is_promising(folder: Path, number: int) -> bool:
    """Whether a checkpoint looks whole without reading its tensors."""
    tensor_path, manifest_path = _paths(folder, number)
    try:
        return bool(tensor_path.stat().st_size == _read_manifest(manifest_path, number)["tensors"]["size_bytes"])
    except (InputError, OSError, KeyError):
        return False


def _prune(folder: Path, keep: int) -> None:
    kept = 0
    for number in sorted(_numbers(folder, "json"), reverse=True):
        if kept < keep and _is_promising(folder, number):
            kept += 1
        elif kept >= keep:
            tensor_path, manifest_path = _paths(folder, number)
            with suppress(OSError):
                # The manifest first: without it the tensors are a leftover, the other way round it would be a lie.
                manifest_path.unlink()
                tensor_path.unlink(missing_ok=True)


def _check_free_space(folder: Path, size_bytes: int) -> None:
    needed, free = int(size_bytes * FREE_SPACE_FACTOR), shutil.disk_usage(folder).free
    if free < needed:
        what = f"a checkpoint needs {needed / 1e6:,.0f} MB free and there are {free / 1e6:,.0f} MB"
        raise LimitExceeded(what, where=folder, remedy="free disk space; the last checkpoint is untouched")


def _numbers(folder: Path, suffix: str) -> set[int]:
    if not folder.is_dir():
        return set()
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=folder, remedy="check its permissions") from error
    matches = (_FILE.match(name) for name in names)
    return {int(match[1]) for match in matches if match and match[2] == suffix}


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"checkpoint_{number:06}.safetensors", folder / f"checkpoint_{number:06}.json"


def _record_sha256(record: Mapping[str, Any]) -> str:
    return sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
