"""Owns the voxels of an extension on disk: what was made, so that later extensions continue it exactly."""

from pathlib import Path

import numpy as np
import torch

from scene3d.errors import InputError
from scene3d.geometry.voxels import VoxelField
from scene3d.io.atomic import write_json
from scene3d.io.bounded_json import read_json_object
from scene3d.io.tensors import read_tensors, write_tensors

TERRITORY_SCHEMA_VERSION = 1


def save_territory(folder: Path, filled: VoxelField, known: VoxelField) -> None:
    """Write the voxels that are new in a filled canvas."""
    new = filled.known & ~known.known
    tensors = {
        "sdf": torch.from_numpy(np.where(new, filled.sdf, filled.truncation).astype(np.float32)),
        "rgb": torch.from_numpy(np.rint(np.where(new[..., None], filled.rgb, 0) * 255).astype(np.uint8)),
        "known": torch.from_numpy(new),
    }
    record = {
        "schema_version": TERRITORY_SCHEMA_VERSION,
        "sha256": write_tensors(folder / "territory.safetensors", tensors),
        "origin": filled.origin.tolist(),
        "voxel_size": filled.voxel_size,
        "truncation": filled.truncation,
    }
    write_json(folder / "territory.json", record)


def load_territory(folder: Path) -> VoxelField:
    """The voxels that `save_territory` wrote.

    Raises:
        InputError: Missing or damaged.
    """
    record = read_json_object(folder / "territory.json")
    tensors = read_tensors(folder / "territory.safetensors", expected_sha256=str(record.get("sha256")))
    try:
        return VoxelField(
            sdf=tensors["sdf"].numpy(),
            rgb=tensors["rgb"].numpy().astype(np.float32) / 255,
            known=tensors["known"].numpy(),
            origin=np.asarray(record["origin"], np.float64).reshape(3),
            voxel_size=float(record["voxel_size"]),
            truncation=float(record["truncation"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"is damaged ({error!r})", where=folder / "territory.json") from error
