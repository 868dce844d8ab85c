"""Owns how well neighbouring blocks fit: the field of one against the other's where they overlap, and after merging."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from scene3d.geometry.mesh import TriangleMesh

NEAR = 0.1
"""The surface is near where the distance is below this, in halves of a block's edge."""


class SeamFigures(NamedTuple):
    """Two blocks where they overlap, above the ground; distances in halves of a block's edge."""

    difference: float
    """Mean difference of the signed distances."""

    near_surface: float
    """The same where the first block's surface is near (S1)."""

    solid_iou: float
    """Matter in both over matter in either (S2); NaN where neither has any."""

    normal_deg: float
    """Mean angle between the surface normals where the surface is near (S3)."""

    cut_jump: float
    """Mean difference on the plane in the middle of the overlap (S4)."""


def compare_overlap(
    first: Float[np.ndarray, "x y z"],
    second: Float[np.ndarray, "x y z"],
    *,
    truncation: float,
    ground: int,
    axis: int = 0,
) -> SeamFigures:
    """Figures of the overlap of two blocks.

    Args:
        first: The first block's signed distance over the truncation, in the overlap.
        second: The second's there.
        truncation: In halves of a block's edge.
        ground: First layer above the ground; what lies below does not count.
        axis: Along which the blocks follow each other.
    """
    one, other = (part[:, :, ground:] * truncation for part in (first, second))
    difference = np.abs(one - other)
    near = np.abs(one) < NEAR
    solid, other_solid = one < 0, other < 0
    union = (solid | other_solid).sum()
    middle = np.take(difference, one.shape[axis] // 2, axis=axis)
    return SeamFigures(
        difference=float(difference.mean()),
        near_surface=float(difference[near].mean()) if near.any() else float("nan"),
        solid_iou=float((solid & other_solid).sum() / union) if union else float("nan"),
        normal_deg=_normal_angle_deg(one, other, near),
        cut_jump=float(middle.mean()),
    )


def mean_figures(figures: list[SeamFigures]) -> SeamFigures:
    """The mean of each, over the pairs where it means something."""
    return SeamFigures(*(float(np.nanmean(column)) for column in zip(*figures, strict=True)))


def cut_contrast(sdf: Float[np.ndarray, "x y z"], cuts: Int[np.ndarray, "c"], *, axis: int, ground: int) -> float:
    """Largest change of a merged field from voxel to voxel across cut planes, over the largest elsewhere (S5).

    Args:
        sdf: The merged field.
        cuts: A cut lies between layers c - 1 and c along the axis.
        axis: 0 or 1.
        ground: First layer above the ground.
    """
    change = np.abs(np.diff(sdf[:, :, ground:], axis=axis))
    is_cut = np.isin(np.arange(change.shape[axis]) + 1, cuts)
    across, elsewhere = np.compress(is_cut, change, axis=axis), np.compress(~is_cut, change, axis=axis)
    return float(across.max() / max(float(elsewhere.max()), 1e-12))


def boundary_edges(mesh: TriangleMesh, low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"]) -> int:
    """Edges of only one triangle whose middle lies inside a box (S6): 0 where the surface is closed."""
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    middle = mesh.vertices[unique[counts == 1]].mean(axis=1)
    return int(((middle > low) & (middle < high)).all(axis=1).sum())


def _normal_angle_deg(
    one: Float[np.ndarray, "x y z"], other: Float[np.ndarray, "x y z"], near: Bool[np.ndarray, "x y z"]
) -> float:
    if not near.any():
        return float("nan")
    normals = []
    for field in (one, other):
        slope = np.stack(np.gradient(field), axis=-1)[near]
        normals.append(slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-9))
    cosine = (normals[0] * normals[1]).sum(axis=-1)
    steep = (np.abs(normals[0]).sum(-1) > 0.5) & (np.abs(normals[1]).sum(-1) > 0.5)
    return float(np.degrees(np.arccos(np.clip(cosine[steep], -1.0, 1.0))).mean()) if steep.any() else float("nan")
