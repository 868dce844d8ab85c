"""Owns the surface of a box of voxels: where the signed distance changes its sign between known voxels."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import map_coordinates
from skimage.measure import marching_cubes

from scene3d.geometry.mesh import TriangleMesh
from scene3d.geometry.voxels import VoxelField

_SMALLEST_DISTANCE = 1e-4
"""In voxels. A distance of exactly 0 would give triangles without area, and edges that belong to four of them."""


def extract_mesh(field: VoxelField) -> TriangleMesh:
    """The surface sdf = 0 by marching cubes (Lewiner et al. 2003), coloured.

    A cube of eight neighbouring voxels gives triangles only if all eight are known: what is unknown is neither free
    nor filled, so the surface ends there with an open edge.

    Args:
        field: Its voxels' centres are the corners of the cubes.

    Returns:
        World coordinates in double, triangles anticlockwise seen from where `sdf` is positive, colours interpolated;
        an empty mesh where no known neighbours differ in sign.
    """
    cubes = _known_cubes(field.known)
    smallest = _SMALLEST_DISTANCE * field.voxel_size
    sdf = np.where(np.abs(field.sdf) < smallest, np.copysign(smallest, field.sdf), field.sdf).astype(np.float32)
    if not cubes.any() or not _crosses(sdf, field.known):
        return _empty_mesh()
    try:
        places, faces, _, _ = marching_cubes(sdf, 0.0, gradient_direction="descent", mask=cubes)  # type: ignore[no-untyped-call]
    except RuntimeError:  # the signs differ, but nowhere within one cube
        return _empty_mesh()
    places = places.astype(np.float64)
    colors = [map_coordinates(field.rgb[..., channel], places.T, order=1, mode="nearest") for channel in range(3)]
    return TriangleMesh(
        vertices=field.origin + (places + 0.5) * field.voxel_size,
        faces=faces.astype(np.int64),
        colors=np.stack(colors, axis=1).astype(np.float64).clip(0, 1),
    )


def _known_cubes(known: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Cubes whose eight corners are known, each at its highest corner, which is where marching cubes asks."""
    cubes = np.zeros_like(known)
    whole = known[1:] & known[:-1]
    whole = whole[:, 1:] & whole[:, :-1]
    cubes[1:, 1:, 1:] = whole[:, :, 1:] & whole[:, :, :-1]
    return cubes


def _crosses(sdf: Float[np.ndarray, "x y z"], known: Bool[np.ndarray, "x y z"]) -> bool:
    """Whether both signs occur among known voxels."""
    return bool((sdf[known] < 0).any() and (sdf[known] > 0).any())


def _empty_mesh() -> TriangleMesh:
    return TriangleMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int64), colors=np.zeros((0, 3)))
