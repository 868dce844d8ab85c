"""Owns sets of training sites: made once, kept as one safetensors file, and read back when the settings agree."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scene3d.errors import InputError
from scene3d.generation.sites import Site
from scene3d.generation.spec import GeneratorSpec
from scene3d.io.atomic import make_folder, write_json
from scene3d.io.bounded_json import read_json_object
from scene3d.io.tensors import read_tensors, write_tensors

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class SiteSet:
    """Sites of one size, stacked."""

    tsdf: Tensor
    """int8 [n, x, y, z]."""

    rgb: Tensor
    """uint8 [n, x, y, z, 3]."""

    class_id: Tensor
    """int8 [n, x, y]."""

    known: Tensor
    """bool [n, x, y, z]."""

    def __len__(self) -> int:
        return len(self.tsdf)

    def select(self, rows: Tensor) -> "SiteSet":
        """The sites of these numbers, in their order."""
        return SiteSet(*(getattr(self, name)[rows] for name in _NAMES))

    def split(self, held_out: int) -> tuple["SiteSet", "SiteSet"]:
        """All but the last sites, and the last ones."""
        rows, cut = torch.arange(len(self)), len(self) - held_out
        return self.select(rows[:cut]), self.select(rows[cut:])


_NAMES = ("tsdf", "rgb", "class_id", "known")


def stack_sites(sites: Sequence[Site]) -> SiteSet:
    """Sites of equal size as one set.

    Raises:
        InputError: There are none, or their sizes differ.
    """
    if len({site.tsdf.shape for site in sites}) != 1:
        raise InputError(f"{len(sites)} sites of different sizes cannot be trained on together")
    known = [np.ones(site.tsdf.shape, bool) if site.known is None else site.known for site in sites]
    return SiteSet(
        torch.from_numpy(np.stack([site.tsdf for site in sites])),
        torch.from_numpy(np.stack([site.rgb for site in sites])),
        torch.from_numpy(np.stack([site.class_id for site in sites])),
        torch.from_numpy(np.stack(known)),
    )


def join_sets(sets: Sequence[SiteSet]) -> SiteSet:
    """Several sets as one."""
    return SiteSet(*(torch.cat([getattr(one, name) for one in sets]) for name in _NAMES))


def describe_source(spec: GeneratorSpec, source: dict[str, Any]) -> dict[str, Any]:
    """What a stored set must have been made from, to be used again."""
    return {"schema_version": SCHEMA_VERSION, "spec": json.loads(json.dumps(asdict(spec))), "source": source}


def write_sites(folder: Path, sites: SiteSet, description: dict[str, Any]) -> None:
    """Keep a set in a folder; its name follows from the description."""
    make_folder(folder)
    path = _path(folder, description)
    digest = write_tensors(path.with_suffix(".safetensors"), {name: getattr(sites, name) for name in _NAMES})
    write_json(path, {**description, "sha256": digest})


def find_sites(folder: Path, description: dict[str, Any]) -> SiteSet | None:
    """The stored set of that description; None where there is none."""
    path = _path(folder, description)
    if not path.is_file():
        return None
    digest = read_json_object(path).get("sha256")
    if not isinstance(digest, str):
        raise InputError("does not say which file it belongs to", where=path, remedy="delete it")
    tensors = read_tensors(path.with_suffix(".safetensors"), expected_sha256=digest)
    return SiteSet(*(tensors[name] for name in _NAMES))


def _path(folder: Path, description: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    return folder / f"sites_{digest[:16]}.json"
