"""Owns how the border between known and new shows: figures of all of it, and at each of its places."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_erosion
from skimage.color import rgb2lab

from blocks.extension_border import Canvas
from scene3d.errors import InputError
from scene3d.geometry.isosurface import extract_mesh
from scene3d.geometry.voxels import VoxelField
from scene3d.io.bounded_json import read_json_object
from scene3d.io.tensors import read_tensors, write_tensors

PLACE_VOXELS = 2
"""Side of the squares of ground that the border is told by."""


class ColorPairs(NamedTuple):
    """New surface at the border, and the known surface beside it."""

    new: Float[np.ndarray, "n 3"]
    old: Float[np.ndarray, "n 3"]
    points: Float[np.ndarray, "n 3"]
    """Of the new, in the canvas' frame."""

    @classmethod
    def none(cls) -> "ColorPairs":
        """Where new and known do not meet."""
        return cls(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))

    def delta_e(self) -> Float[np.ndarray, "n"]:
        """CIE76 difference of each pair; 2.3 is just noticed."""
        return np.asarray(np.linalg.norm(rgb2lab(self.new) - rgb2lab(self.old), axis=1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeamPlaces:
    """Squares of ground along the border between known and new, and how it shows there."""

    points: Float[np.ndarray, "n 3"]
    """World frame, at the height of the surface."""

    steps: Float[np.ndarray, "n"]
    """How far the surface is offset, world units; NaN where none crosses the border."""

    delta_e: Float[np.ndarray, "n"]
    """Mean CIE76 difference of colours; NaN where none could be compared."""

    voxel_size: float
    """World units: steps below it are finer than what was generated."""


def measure_seam(known: VoxelField, filled: VoxelField, color_pairs: ColorPairs) -> dict[str, Any]:
    """How much the border between known and new shows in the voxels.

    Returns:
        `gradient_ratio`: steps of the distance across the border over those within the new part, both at the 99th
        percentile near the surface (1: invisible). `num_boundary_edges`: open edges of the surface where all voxels
        around are known or new (0: one closed sheet).
        `color_delta_e`: mean CIE76 difference of colours across it.
    """
    across, within = _steps(filled.sdf, known.known, filled.known, filled.truncation)
    mesh = extract_mesh(filled)
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    middles = mesh.vertices[unique[counts == 1]].mean(axis=1) if len(unique) else np.zeros((0, 3))
    ratio = None
    if len(across) and len(within):
        ratio = float(np.quantile(across, 0.99) / max(np.quantile(within, 0.99), 1e-9))
    return {
        "gradient_ratio": ratio,
        "num_boundary_edges": int(_is_inside(filled.known, filled.to_voxels(middles)).sum()),
        "color_delta_e": float(color_pairs.delta_e().mean()) if len(color_pairs.new) else None,
    }


def find_seam_places(known: VoxelField, filled: VoxelField, color_pairs: ColorPairs, canvas: Canvas) -> SeamPlaces:
    """The border place by place.

    A slope that runs on across the border is no step: of each difference of distances what its neighbours on both
    sides let expect is taken off.

    Args:
        known: The canvas as it was.
        filled: The canvas with new cells.
        color_pairs: Colours across the border.
        canvas: Where it lies.
    """
    crossings, steps = _crossings(filled, known.known)
    points = np.concatenate([crossings, color_pairs.points])
    values = np.full((len(points), 2), np.nan)
    values[: len(steps), 0] = steps
    values[len(steps) :, 1] = color_pairs.delta_e() if len(color_pairs.new) else 0
    side = PLACE_VOXELS * filled.voxel_size
    squares = np.floor((points[:, :2] - filled.origin[:2]) / side).astype(int)
    _, square = np.unique(squares, axis=0, return_inverse=True)
    means = [_mean_by(square.reshape(-1), column) for column in (*points.T, *values.T)]
    return SeamPlaces(
        points=canvas.lift(np.stack(means[:3], axis=1)),
        steps=means[3],
        delta_e=means[4],
        voxel_size=filled.voxel_size,
    )


def save_seam_places(folder: Path, places: SeamPlaces) -> str:
    """Keep the border's places with an extension; returns the file's SHA-256, for its record."""
    tensors = {
        "points": torch.from_numpy(places.points),
        "steps": torch.from_numpy(places.steps),
        "delta_e": torch.from_numpy(places.delta_e),
        "voxel_size": torch.tensor(places.voxel_size, dtype=torch.float64),
    }
    return write_tensors(folder / "seam.safetensors", tensors)


def load_seam_places(folder: Path) -> SeamPlaces | None:
    """The border of an extension as it was measured; None of one grown before places were kept.

    Raises:
        InputError: The record or the file is damaged.
    """
    seam = read_json_object(folder / "extension.json").get("seam")
    expected = seam.get("places_sha256") if isinstance(seam, dict) else None
    if not isinstance(expected, str):
        return None
    path = folder / "seam.safetensors"
    tensors = read_tensors(path, expected_sha256=expected)
    try:
        return SeamPlaces(
            points=tensors["points"].numpy().reshape(-1, 3),
            steps=tensors["steps"].numpy(),
            delta_e=tensors["delta_e"].numpy(),
            voxel_size=float(tensors["voxel_size"]),
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"is damaged ({error!r})", where=path) from error


def _steps(
    sdf: Float[np.ndarray, "x y z"],
    old: Bool[np.ndarray, "x y z"],
    filled: Bool[np.ndarray, "x y z"],
    truncation: float,
) -> tuple[Float[np.ndarray, "a"], Float[np.ndarray, "b"]]:
    """Differences of neighbouring distances near the surface: across the border, and within what is new."""
    across, within = [], []
    for axis in range(3):
        step = np.abs(np.diff(sdf, axis=axis))
        first, second = _neighbours(axis)
        near = _near_surface(sdf, filled, truncation, axis)
        across.append(step[near & (old[first] != old[second])])
        within.append(step[near & ~old[first] & ~old[second]])
    return np.concatenate(across), np.concatenate(within)


def _crossings(field: VoxelField, old: Bool[np.ndarray, "x y z"]) -> tuple[np.ndarray, np.ndarray]:
    """Where the surface crosses the border sideways [n, 3], and the step of the distance there [n]."""
    places, jumps = [], []
    sdf = np.where(field.known & (np.abs(field.sdf) < field.truncation), field.sdf, np.nan)
    for axis in range(2):
        step = np.diff(sdf, axis=axis)
        first, second = _neighbours(axis)
        chosen = _near_surface(field.sdf, field.known, field.truncation, axis) & (old[first] != old[second])
        rows = np.argwhere(chosen & np.isfinite(step))
        beside = [_at(step, rows, axis, move) for move in (-1, 1)]
        counts = np.sum(np.isfinite(beside), axis=0)
        expected = np.nan_to_num(beside).sum(axis=0) / np.maximum(counts, 1)
        jumps.append(np.abs(step[tuple(rows.T)] - expected))
        middle = np.full(3, 0.5)
        middle[axis] = 1.0
        places.append(field.origin + (rows + middle) * field.voxel_size)
    return np.concatenate(places), np.concatenate(jumps)


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Both sides of every face between voxels along an axis."""
    low, high = [slice(None)] * 3, [slice(None)] * 3
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return tuple(low), tuple(high)


def _near_surface(
    sdf: Float[np.ndarray, "x y z"], filled: Bool[np.ndarray, "x y z"], truncation: float, axis: int
) -> Bool[np.ndarray, "a b c"]:
    """Faces along an axis between filled voxels that the surface is near."""
    first, second = _neighbours(axis)
    near = (np.abs(sdf[first]) < truncation / 2) & (np.abs(sdf[second]) < truncation)
    return np.asarray(near & filled[first] & filled[second])


def _at(values: Float[np.ndarray, "a b c"], rows: np.ndarray, axis: int, move: int) -> Float[np.ndarray, "n"]:
    """Values beside some places along an axis; NaN beyond the border."""
    moved = rows.copy()
    moved[:, axis] += move
    inside = (moved[:, axis] >= 0) & (moved[:, axis] < values.shape[axis])
    found = np.full(len(rows), np.nan)
    found[inside] = values[tuple(moved[inside].T)]
    return found


def _mean_by(group: np.ndarray, values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "g"]:
    """The mean of the numbers of each group; NaN where it has none."""
    finite = np.isfinite(values)
    size = int(group.max(initial=-1)) + 1
    counts = np.bincount(group[finite], minlength=size)
    sums = np.bincount(group[finite], weights=values[finite], minlength=size)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _is_inside(filled: Bool[np.ndarray, "x y z"], places: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    """Which places, in voxels, have nothing but filled voxels within two around them."""
    whole = binary_erosion(filled, np.ones((3, 3, 3)), iterations=2)
    rows = np.clip(np.floor(places).astype(int), 0, np.array(filled.shape) - 1)
    return np.asarray(whole[tuple(rows.T)])
