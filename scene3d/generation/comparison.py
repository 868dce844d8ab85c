"""Owns comparing shapes: distances between surfaces, and between a set of made blocks and a set of real ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial import cKDTree

from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.isosurface import extract_mesh
from scene3d.geometry.mesh import TriangleMesh
from scene3d.geometry.triangles import sample_by_area
from scene3d.geometry.voxels import VoxelField


class SetFigures(NamedTuple):
    """How well a set of made shapes stands for a set of real ones."""

    coverage: float
    """Share of the real ones that are the nearest of some made one; larger is better."""

    minimum_distance: float
    """Mean distance of the real ones to their nearest made one."""

    nearest_neighbour_accuracy: float
    """Share of all that are nearest to one of their own set, leaving themselves out: 0.5 cannot be told apart."""


def field_of_values(values: Float32[np.ndarray, "x y z 4"], spec: GeneratorSpec) -> VoxelField:
    """Values of the networks as a field whose block edge is 1 and whose ground lies at height 0."""
    size = 1.0 / spec.block_voxels
    return VoxelField(
        sdf=values[..., 0] * (spec.truncation_voxels * size),
        rgb=values[..., 1:],
        known=np.ones(values.shape[:3], bool),
        origin=np.array([0.0, 0.0, spec.height_range[0]]),
        voxel_size=size,
        truncation=spec.truncation_voxels * size,
    )


def sample_shape(
    field: VoxelField, count: int, generator: np.random.Generator, *, above: float
) -> Float[np.ndarray, "n 3"] | None:
    """Points spread over the surface above a height, uniform by area; None where there is next to nothing.

    The ground is left out: it is the same everywhere, and would drown every difference.
    """
    mesh = extract_mesh(field)
    corners = mesh.vertices[mesh.faces]
    high = corners[..., 2].min(axis=1) > above if len(corners) else np.zeros(0, bool)
    areas = _areas(TriangleMesh(vertices=mesh.vertices, faces=mesh.faces[high]))
    if areas.sum() < (2.0 * field.voxel_size) ** 2:
        return None
    return sample_by_area(corners[high], count, generator)[0]


def chamfer(one: Float[np.ndarray, "n 3"], other: Float[np.ndarray, "m 3"]) -> float:
    """Mean distance of each point to the other set's nearest, both ways, halved (not squared)."""
    return 0.5 * (float(cKDTree(other).query(one)[0].mean()) + float(cKDTree(one).query(other)[0].mean()))


def f_score(found: Float[np.ndarray, "n 3"], wanted: Float[np.ndarray, "m 3"], threshold: float) -> float:
    """Harmonic mean of the shares of each set that lie within the threshold of the other."""
    precision = float((cKDTree(wanted).query(found)[0] <= threshold).mean())
    recall = float((cKDTree(found).query(wanted)[0] <= threshold).mean())
    return 2.0 * precision * recall / (precision + recall) if precision + recall else 0.0


def pairwise_chamfer(
    first: Sequence[Float[np.ndarray, "n 3"]], second: Sequence[Float[np.ndarray, "n 3"]]
) -> Float[np.ndarray, "a b"]:
    """`chamfer` of each shape of one set with each of the other."""
    trees = [[cKDTree(shape) for shape in shapes] for shapes in (first, second)]
    result = np.zeros((len(first), len(second)))
    for a, one in enumerate(first):
        for b, other in enumerate(second):
            there, back = trees[1][b].query(one)[0].mean(), trees[0][a].query(other)[0].mean()
            result[a, b] = 0.5 * (there + back)
    return result


def compare_sets(made: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> SetFigures:
    """Coverage, minimum matching distance and 1-nearest-neighbour accuracy by `chamfer` (Yang et al. 2019, 5.2)."""
    return figures_of_distances(
        pairwise_chamfer(made, made), pairwise_chamfer(made, real), pairwise_chamfer(real, real)
    )


def figures_of_distances(
    within_made: Float[np.ndarray, "g g"], between: Float[np.ndarray, "g r"], within_real: Float[np.ndarray, "r r"]
) -> SetFigures:
    """The figures from the distances among made ones, made to real, and among real ones."""
    whole = np.block([[within_made, between], [between.T, within_real]])
    np.fill_diagonal(whole, np.inf)
    is_made = np.arange(len(whole)) < len(within_made)
    same = is_made[whole.argmin(axis=1)] == is_made
    return SetFigures(
        coverage=len(np.unique(between.argmin(axis=1))) / between.shape[1],
        minimum_distance=float(between.min(axis=0).mean()),
        nearest_neighbour_accuracy=float(same.mean()),
    )


def _areas(mesh: TriangleMesh) -> Float[np.ndarray, "f"]:
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
