"""Owns taking Gaussians away from a finished scene: floaters by several signs, and everything outside a box."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation
from torch import Tensor

from scene3d.errors import SettingsError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.geometry.similarity import Similarity

JUDGED_RADII = 2.0
"""Beyond this many scene radii nothing counts as isolated: the far background is sparse in every good scene."""

_HALF_AXES = np.concatenate([np.eye(3), -np.eye(3)])
_DIAGONALS = np.array([corner for a in (-1, 1) for b in (-1, 1) for corner in ((a, b, 0), (a, 0, b), (0, a, b))])
_SAMPLE_SIGMAS = np.concatenate([np.zeros((1, 3)), _HALF_AXES, 2 * _HALF_AXES, np.sqrt(2) * _DIAGONALS])
"""Where a Gaussian is looked at, in deviations along its own axes: the outer points lie two deviations out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningSettings:
    """What counts as a floater; lengths are relative to the scene."""

    min_opacity: float = 0.02
    """Gaussians fainter than this are removed."""

    max_scale_share: float = 0.5
    """Gaussians longer than this share of the scene's radius are removed."""

    min_weight: float = 0.02
    """Gaussians that no view shows with at least this blending weight are removed (where views are given)."""

    voxel_share: float = 0.05
    """Side of the voxels that join neighbours into clusters, as a share of the scene's radius."""

    min_cluster_share: float = 0.002
    """Clusters with less than this share of all Gaussians are removed."""

    def __post_init__(self) -> None:
        for name in ("min_opacity", "max_scale_share", "min_weight", "min_cluster_share"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be zero or more")
        if self.voxel_share < 1e-4:
            raise SettingsError(f"voxel_share is {self.voxel_share}; it must be at least 0.0001")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CleaningResult:
    """What is left, and what was taken for which reason."""

    gaussians: Gaussians
    kept: Bool[Tensor, "n"]
    """Which of the original Gaussians are left."""

    removed: dict[str, int]
    """Count by reason; each Gaussian counts once, under the first reason that applies."""


def remove_floaters(
    gaussians: Gaussians,
    settings: CleaningSettings | None = None,
    *,
    max_weights: Float[Tensor, "n"] | None = None,
) -> CleaningResult:
    """Remove what no surface explains: broken, faint, oversized, unseen and isolated Gaussians, in this order.

    Args:
        gaussians: In any frame and unit; all thresholds follow the scene's own size.
        max_weights: Largest blending weight of each Gaussian over all views (`render.max_blending_weights`); without
            it, nothing counts as unseen.
    """
    settings = settings or CleaningSettings()
    kept = _drawable(gaussians)
    removed = {"broken": int((~kept).sum())}
    radius = scene_radius(gaussians.means[kept])
    suspects = {
        "faint": gaussians.opacities < settings.min_opacity,
        "oversized": gaussians.scales.amax(dim=1) > settings.max_scale_share * radius,
    }
    if max_weights is not None:
        suspects["unseen"] = max_weights < settings.min_weight
    for reason, suspect in suspects.items():
        removed[reason] = int((kept & suspect).sum())
        kept = kept & ~suspect
    remaining = kept.nonzero()[:, 0]
    isolated = find_isolated(gaussians.select(remaining), settings)
    removed["isolated"] = int(isolated.sum())
    kept = kept.clone()
    kept[remaining[isolated]] = False
    return CleaningResult(gaussians=gaussians.select(kept), kept=kept, removed=removed)


def crop_box(
    gaussians: Gaussians,
    minimum: Float[np.ndarray, "3"],
    maximum: Float[np.ndarray, "3"],
    *,
    box_from_world: Similarity | None = None,
) -> Gaussians:
    """The Gaussians whose centre lies inside an axis-aligned box, borders included.

    Args:
        gaussians: In the world frame; they stay in it.
        minimum: Smallest corner, in the box's frame.
        maximum: Largest corner, in the box's frame.
        box_from_world: From the Gaussians' frame to the box's; the same frame if not given.

    Raises:
        SettingsError: The box is empty or not finite.
    """
    if not (np.isfinite(minimum).all() and np.isfinite(maximum).all() and (minimum < maximum).all()):
        raise SettingsError(f"the crop box from {minimum.tolist()} to {maximum.tolist()} is empty or not finite")
    centres = (box_from_world or Similarity.identity()).apply(gaussians.means.detach().cpu().double().numpy())
    inside = ((centres >= minimum) & (centres <= maximum)).all(axis=1)
    return gaussians.select(torch.from_numpy(inside).to(gaussians.means.device))


def scene_radius(means: Float[Tensor, "n 3"]) -> float:
    """Distance from the middle within which nine tenths of the Gaussians lie; 1 for an empty or one-point scene."""
    if len(means) == 0:
        return 1.0
    points = means.detach().cpu().double().numpy()
    return float(np.quantile(np.linalg.norm(points - np.median(points, axis=0), axis=1), 0.9)) or 1.0


def find_isolated(gaussians: Gaussians, settings: CleaningSettings) -> Bool[Tensor, "n"]:
    """Which Gaussians belong to a cluster of touching ones that is too small to be part of the scene.

    Gaussians touch if voxels they reach into touch: by centres alone, the few large ones that cover a plain wall would
    all stand alone. Voxels grow with the distance outside the scene's radius, and far outside nothing is judged.
    """
    if len(gaussians) == 0:
        return torch.zeros(0, dtype=torch.bool)
    means = gaussians.means.detach().cpu().double().numpy()
    middle, radius = np.median(means, axis=0), scene_radius(gaussians.means)
    owners, voxels = _reached_voxels(gaussians, middle, radius, settings.voxel_share)
    cluster = _touching_clusters(len(gaussians), owners, voxels)
    sizes = np.bincount(cluster)
    small = sizes < settings.min_cluster_share * len(gaussians)
    small[sizes.argmax()] = False  # something always stays
    judged = np.linalg.norm(means - middle, axis=1) < JUDGED_RADII * radius
    return torch.from_numpy(small[cluster] & judged).to(gaussians.means.device)


def _drawable(gaussians: Gaussians) -> Bool[Tensor, "n"]:
    """Which have finite numbers only, and a rotation."""
    parts = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacity_logits[:, None])
    finite = torch.cat([*parts, gaussians.sh.flatten(1)], dim=1).isfinite().all(dim=1)
    return finite & (gaussians.quats.norm(dim=1) > 0)


def _reached_voxels(
    gaussians: Gaussians, middle: Float[np.ndarray, "3"], radius: float, voxel_share: float
) -> tuple[Int[np.ndarray, "r"], Int[np.ndarray, "r 3"]]:
    """Pairs of a Gaussian and a voxel that holds one of its sample points."""
    x, y, z, w = (gaussians.quats[:, i].detach().cpu().double().numpy() for i in (1, 2, 3, 0))
    axes = Rotation.from_quat(np.stack([x, y, z, w], axis=1)).as_matrix()
    axes = axes * gaussians.scales.detach().cpu().double().numpy()[:, None, :]
    means = gaussians.means.detach().cpu().double().numpy()
    owners, voxels = [], []
    for direction in _SAMPLE_SIGMAS:
        unit = (means + axes @ direction - middle) / radius
        owners.append(np.arange(len(means)))
        voxels.append(np.floor(_contract(unit) / voxel_share).astype(np.int64))
    return np.concatenate(owners), np.concatenate(voxels)


def _contract(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Space outside the unit ball pulled into the shell from 1 to 2: equal steps there are equal ratios of distance."""
    distance = np.linalg.norm(points, axis=1, keepdims=True).clip(1.0)
    return np.asarray(points * (2 - 1 / distance) / distance)


def _touching_clusters(
    num_gaussians: int, owners: Int[np.ndarray, "r"], voxels: Int[np.ndarray, "r 3"]
) -> Int[np.ndarray, "n"]:
    """Cluster number of each Gaussian; voxels that share a face, an edge or a corner touch."""
    shifted = voxels - voxels.min(axis=0) + 1
    sides = shifted.max(axis=0) + 2
    strides = np.array([sides[1] * sides[2], sides[2], 1])
    keys, reached = np.unique(shifted @ strides, return_inverse=True)
    rows, columns = [owners], [num_gaussians + reached]
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[14:]  # half of the 26
    for wanted in (keys + step @ strides for step in steps):
        place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        found = keys[place] == wanted
        rows.append(num_gaussians + np.nonzero(found)[0])
        columns.append(num_gaussians + place[found])
    size = num_gaussians + len(keys)
    links = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(links[0]), bool), links), shape=(size, size))
    labels = np.asarray(connected_components(graph, directed=False)[1])[:num_gaussians]
    return np.asarray(np.unique(labels, return_inverse=True)[1].reshape(-1))
