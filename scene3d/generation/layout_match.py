"""Owns how far a made place follows its layout: what rises above the ground against where the map wants it."""

import numpy as np
from jaxtyping import Bool, Float, Int

RAISED_VOXELS = 2.0


def find_raised(sdf: Float[np.ndarray, "x y z"], ground: int) -> Bool[np.ndarray, "x y"]:
    """Columns with matter at least two voxels above the ground layer."""
    return np.asarray((sdf[:, :, ground + round(RAISED_VOXELS) :] < 0).any(axis=2))


def class_iou(
    raised: Bool[np.ndarray, "x y"], layout: Int[np.ndarray, "x y"], wanted: int, others: tuple[int, ...]
) -> float:
    """Columns that rise over those where the map wants a class, among columns of no other class that rises.

    NaN where the map does not want it.
    """
    counted = ~np.isin(layout, others)
    there = (layout == wanted) & counted
    if not there.any():
        return float("nan")
    found = raised & counted
    return float((found & there).sum() / (found | there).sum())
