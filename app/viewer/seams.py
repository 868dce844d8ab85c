"""Owns what the viewer shows of seams: the places of all growth in a scene, their limits, and the colours over them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from app.viewer.legends import seam_scale
from app.viewer.scale import Unit
from app.viewer.stage import Stage
from blocks.extension_seam import PLACE_VOXELS, SeamPlaces, load_seam_places
from scene3d.errors import Scene3dError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.run_folder import RunFolder

SeamSide = Literal["seam_step", "seam_color"]

MAX_STEP_VOXELS = 2.0
"""A step of so much takes the brightest colour; below one voxel the generator itself knows no difference."""

MAX_DELTA_E = 20.0
"""So does this difference of colours (CIE76); 2.3 is just noticed."""

REACH_PLACES = 0.8
"""A Gaussian nearer than this to a place of the border, in sides of a place, takes its colour."""


def find_seams(stage: Stage) -> tuple[SeamPlaces, ...]:
    """The border of everything that has grown in a scene, as far as it was kept."""
    if stage.is_live or stage.scene.run is None:
        return ()
    folder = RunFolder(stage.run.root).root / "extend"
    there = {each.name for each in folder.iterdir() if each.is_dir()} if folder.is_dir() else set()
    grown = stage.scene.manifest.get("extensions")
    names = [each.get("id") for each in grown if isinstance(each, dict)] if isinstance(grown, list) else []
    found = []
    for name in names:
        if name in there:
            try:
                places = load_seam_places(folder / name)
            except Scene3dError:
                continue  # damaged: the scene can be looked at without it
            found += [] if places is None else [places]
    return tuple(found)


def seam_ticks(seams: Sequence[SeamPlaces], unit: Unit, world_per_capture: float) -> dict[str, list[str]]:
    """What stands below the scales of both sides."""
    largest = _max_step(seams) * unit.per_capture / world_per_capture
    return {
        "seam_step": ["0", f"{largest:.2g} {unit.name} or more"],
        "seam_color": ["0", f"ΔE {MAX_DELTA_E:.0f} or more"],
    }


def seam_colors(
    gaussians: Gaussians, seams: Sequence[SeamPlaces], side: SeamSide
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """The colour of the border at each Gaussian, and 1 where there is one and 0 elsewhere."""
    colors, on_seam = torch.zeros(len(gaussians), 3), torch.zeros(len(gaussians))
    ground = gaussians.means[:, :2].double().numpy()
    for places in seams:
        values = places.steps if side == "seam_step" else places.delta_e
        told = np.isfinite(values)
        if not told.any():
            continue
        reach = REACH_PLACES * PLACE_VOXELS * places.voxel_size
        gaps, rows = cKDTree(places.points[told][:, :2]).query(ground, distance_upper_bound=reach)
        near = torch.from_numpy(np.isfinite(gaps))
        found = torch.from_numpy(values[told][rows[np.isfinite(gaps)]]).float()
        high = _max_step(seams) if side == "seam_step" else MAX_DELTA_E
        colors[near] = seam_scale(found, high)
        on_seam[near] = 1.0
    return colors, on_seam


def _max_step(seams: Sequence[SeamPlaces]) -> float:
    return MAX_STEP_VOXELS * max(places.voxel_size for places in seams)
