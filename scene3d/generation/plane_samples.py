"""Owns what planes are fitted to: points on the surface of blocks with normals, and points beside it with distances."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from scene3d.generation.spec import GeneratorSpec
from scene3d.geometry.isosurface import extract_mesh
from scene3d.geometry.triangles import sample_by_area
from scene3d.geometry.voxels import VoxelField

_NEAR_SHARE = 0.5
_NEAR_SPREAD = 0.5
"""Standard deviation, in truncations, of the points that lie beside the surface."""


class PlaneSamples(NamedTuple):
    """Of some blocks, in the cube [-1, 1]^3 of the block's axes; distances in its units."""

    surface: Float[Tensor, "b n 3"]
    normals: Float[Tensor, "b n 3"]
    places: Float[Tensor, "b m 3"]
    sdf: Float[Tensor, "b m"]
    """At the places; cut off at the truncation."""

    has_surface: Float[Tensor, "b"]
    """0 for a block that is all free or all solid: its surface points mean nothing."""

    def choose(self, count: int, generator: torch.Generator) -> "PlaneSamples":
        """Some of the points of each block, other ones for each call."""
        on = torch.randint(self.surface.shape[1], (count,), generator=generator)
        off = torch.randint(self.places.shape[1], (count,), generator=generator)
        return PlaneSamples(
            self.surface[:, on], self.normals[:, on], self.places[:, off], self.sdf[:, off], self.has_surface
        )

    def select(self, rows: Tensor) -> "PlaneSamples":
        """Those of some blocks."""
        return PlaneSamples(*(part[rows] for part in self))


def sample_blocks(
    tsdf: Float[Tensor, "b k k k"], spec: GeneratorSpec, count: int, generator: np.random.Generator
) -> PlaneSamples:
    """Points of blocks given as voxels in the block's axes, distances over the truncation.

    Half of the places lie near the surface, half anywhere. (BlockFusion takes 300,000 surface points of a mesh and
    100,000 with exact distances for each block; here both come from the voxels that the amortised encoder sees.)
    """
    surface = np.zeros((len(tsdf), count, 3), np.float32)
    normals, has = np.zeros_like(surface), np.zeros(len(tsdf), np.float32)
    for row, block in enumerate(tsdf.numpy()):
        corners = _triangles(block)
        if len(corners):
            surface[row], normals[row] = sample_by_area(corners, count, generator)
            has[row] = 1.0
    near = surface + generator.normal(0.0, _NEAR_SPREAD * spec.truncation, surface.shape).astype(np.float32)
    anywhere = generator.uniform(-1.0, 1.0, surface.shape).astype(np.float32)
    by_surface = (np.arange(count) < _NEAR_SHARE * count)[:, None] & (has[:, None, None] > 0)
    places = torch.from_numpy(np.where(by_surface, near, anywhere).clip(-1.0, 1.0))
    sdf = read_distances(tsdf, places) * spec.truncation
    return PlaneSamples(torch.from_numpy(surface), torch.from_numpy(normals), places, sdf, torch.from_numpy(has))


def read_distances(tsdf: Float[Tensor, "b k k k"], places: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n"]:
    """Trilinear values at places of the cube."""
    where = places.flip(-1)[:, None, None]
    values = functional.grid_sample(tsdf[:, None], where, mode="bilinear", padding_mode="border", align_corners=False)
    return values[:, 0, 0, 0]


def _triangles(block: Float32[np.ndarray, "k k k"]) -> Float[np.ndarray, "f 3 3"]:
    """The surface of one block, in its cube; without triangles that have no area."""
    side = len(block)
    field = VoxelField(
        sdf=block,
        rgb=np.zeros((side, side, side, 3), np.float32),
        known=np.ones((side, side, side), bool),
        origin=np.full(3, -1.0),
        voxel_size=2.0 / side,
        truncation=1.0,
    )
    mesh = extract_mesh(field)
    corners = mesh.vertices[mesh.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return corners[np.linalg.norm(across, axis=1) > 1e-12]
