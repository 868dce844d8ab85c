"""Owns telling which Gaussians of a merged scene were grown by the generator and not photographed."""

from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from scene3d.errors import InputError
from scene3d.io.bounded_json import read_json_object


def find_grown(root: Path, num_gaussians: int) -> Bool[Tensor, "n"] | None:
    """Which Gaussians of a run's scene were grown; None where none were.

    A scene with extensions keeps the photographed Gaussians first, and its manifest says how many there are.
    """
    path = root / "merged" / "manifest.json"
    try:
        count = read_json_object(path).get("num_photographed") if path.is_file() else None
    except InputError:
        return None
    if not isinstance(count, int) or not 0 <= count < num_gaussians:
        return None
    return torch.arange(num_gaussians) >= count
