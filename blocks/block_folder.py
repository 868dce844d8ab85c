"""Owns what one trained block leaves on disk: its Gaussians in the world frame, and a record of how they came about."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from scene3d.errors import InputError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.atomic import make_folder, write_json
from scene3d.io.bounded_json import read_json_object
from scene3d.io.tensors import read_tensors, write_tensors

BLOCK_SCHEMA_VERSION = 1
FAILURE_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class BlockFolder:
    """Where everything of one block lies."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        """The last states of its training."""
        return self.root / "checkpoints"

    @property
    def scene(self) -> Path:
        """All its Gaussians, those of its margin and surroundings too."""
        return self.root / "scene.safetensors"

    @property
    def anchors(self) -> Path:
        """The anchors that its Gaussians were decoded from, with the decoder, where it was trained with one."""
        return self.root / "anchors.safetensors"

    @property
    def record(self) -> Path:
        """How they were trained; written last."""
        return self.root / "block.json"

    @property
    def failure(self) -> Path:
        """Why there are none, where training failed."""
        return self.root / "failed.json"


def save_gaussians(path: Path, gaussians: Gaussians) -> str:
    """Write Gaussians in the frame they are in, exactly; returns the file's SHA-256."""
    return write_tensors(path, {part.name: getattr(gaussians, part.name) for part in fields(Gaussians)})


def load_gaussians(path: Path, *, expected_sha256: str) -> Gaussians:
    """Gaussians that `save_gaussians` wrote.

    Raises:
        InputError: Missing, damaged, or not the file of that hash.
    """
    tensors = read_tensors(path, expected_sha256=expected_sha256)
    names = {part.name for part in fields(Gaussians)}
    if set(tensors) != names:
        raise InputError(f"holds {sorted(tensors)} instead of {sorted(names)}", where=path)
    return Gaussians(**tensors)


def save_block(folder: BlockFolder, gaussians: Gaussians, plan_sha256: str, facts: Mapping[str, Any]) -> None:
    """Keep a trained block; the record comes last, so that a block without one was never finished.

    Args:
        folder: Made where missing; an earlier failure is forgotten.
        gaussians: In the world frame.
        plan_sha256: Of the plan it was trained under.
        facts: Further plain values for the record: `train_seconds`, `peak_memory_bytes`, `iterations`, ...
    """
    make_folder(folder.root)
    scene_sha256 = save_gaussians(folder.scene, gaussians)
    record = {
        "schema_version": BLOCK_SCHEMA_VERSION,
        "plan_sha256": plan_sha256,
        "scene_sha256": scene_sha256,
        "num_gaussians": len(gaussians),
        "size_bytes": folder.scene.stat().st_size,
        **facts,
    }
    write_json(folder.record, record)
    folder.failure.unlink(missing_ok=True)


def keep_failure(folder: BlockFolder, reason: str) -> None:
    """Write down why a block failed, so that the merged scene can name its hole."""
    make_folder(folder.root)
    write_json(folder.failure, {"schema_version": FAILURE_SCHEMA_VERSION, "reason": reason})


def read_block_record(folder: BlockFolder, plan_sha256: str) -> dict[str, Any] | None:
    """The record of a finished block; None where it was never finished.

    Raises:
        InputError: It was trained under another plan or layout.
    """
    if not folder.record.is_file():
        return None
    record = read_json_object(folder.record)
    if record.get("schema_version") != BLOCK_SCHEMA_VERSION or record.get("plan_sha256") != plan_sha256:
        remedy = "blocks of different plans cannot be merged; reconstruct into a new folder"
        raise InputError("was trained under another plan", where=folder.root, remedy=remedy)
    return record


def load_block(folder: BlockFolder, record: Mapping[str, Any]) -> Gaussians:
    """The Gaussians of a finished block.

    Raises:
        InputError: They are not what was saved.
    """
    return load_gaussians(folder.scene, expected_sha256=str(record["scene_sha256"]))
