"""Owns the light copy of a scene that the browser draws: the world frame, packed, and no more than it can hold."""

from pathlib import Path
from threading import Lock

import torch

from app.viewer.stage import Stage
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.atomic import replace_file
from scene3d.io.spz import write_spz

MAX_LIGHT_GAUSSIANS = 1_000_000
"""A laptop's graphics chip still turns this many smoothly; more is what server pictures are for."""

_lock = Lock()


def light_name(stage: Stage) -> str:
    """File name of the light copy of a scene as it is now."""
    return f"light-{stage.key}.spz"


def num_light(stage: Stage) -> int:
    """How many Gaussians the light copy holds."""
    return min(len(stage.scene.gaussians), MAX_LIGHT_GAUSSIANS)


def make_light(stage: Stage, folder: Path) -> Path:
    """The light copy, made if it is not there; copies of earlier states are deleted."""
    path = folder / light_name(stage)
    with _lock:
        if path.is_file():
            return path
        for old in folder.glob("light-*.spz"):
            old.unlink(missing_ok=True)
        with replace_file(path) as temporary:
            write_spz(temporary, thin_out(stage.scene.gaussians, MAX_LIGHT_GAUSSIANS))
    return path


def thin_out(gaussians: Gaussians, count: int) -> Gaussians:
    """At most `count` Gaussians: those whose opacity times shown area is largest, in their own order."""
    if len(gaussians) <= count:
        return gaussians
    scales = gaussians.log_scales.sort(dim=1, descending=True).values
    # In logarithms: areas of far surroundings overflow otherwise.
    weight = scales[:, 0] + scales[:, 1] + gaussians.opacities.clamp_min(1e-12).log()
    kept = torch.topk(weight, count).indices.sort().values
    return gaussians.select(kept)
