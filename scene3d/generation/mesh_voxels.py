"""Owns the signed distance of a mesh on voxels: exact near the surface, the sign by counting crossings."""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from scene3d.geometry.mesh import TriangleMesh
from scene3d.geometry.triangles import nearest_on_triangles
from scene3d.geometry.voxels import VoxelField
from scene3d.world.raster import expand

_CANDIDATES = 6
_SAMPLES_PER_VOXEL = 2.0
"""Surface samples lie about this many to a voxel's edge; the triangles of the nearest are then measured exactly."""

_NUDGE = np.array([1.7e-5, 2.3e-5])
"""In voxels. Columns through edges and vertices would count a crossing twice or not at all."""


def voxelise(
    mesh: TriangleMesh,
    shape: tuple[int, int, int],
    origin: Float[np.ndarray, "3"],
    voxel_size: float,
    *,
    truncation: float,
    fill_below: bool = False,
    colored: TriangleMesh | None = None,
    level: Float[np.ndarray, "x y"] | None = None,
) -> VoxelField:
    """Signed distance and colour of a mesh.

    Args:
        mesh: Closed, unless `fill_below`.
        shape: Voxels along x, y, z.
        origin: Outer corner of the first voxel.
        voxel_size: Edge of a voxel.
        truncation: Largest distance kept.
        fill_below: Everything under any surface is solid: for land and buildings that are not closed.
        colored: Where colours come from; `mesh` if not given. Grey if neither has any.
        level: What each column of voxels is lifted by; 0 if not given.
    """
    lift = np.zeros(shape[:2]) if level is None else level
    above = count_crossings_above(mesh, shape, origin, voxel_size, lift)
    solid = above > 0 if fill_below else above % 2 == 1
    field = VoxelField(
        sdf=np.full(shape, truncation),
        rgb=np.zeros((*shape, 3)),
        known=np.ones(shape, bool),
        origin=np.asarray(origin, np.float64),
        voxel_size=voxel_size,
        truncation=truncation,
    )
    points = field.centers()
    points[..., 2] += lift[:, :, None]
    points = points.reshape(-1, 3)
    distance = measure_distance(mesh, points, truncation, voxel_size / _SAMPLES_PER_VOXEL).reshape(shape)
    near = distance < truncation
    rgb = field.rgb
    rgb[near] = _find_colors(colored or mesh, points[near.reshape(-1)], voxel_size / _SAMPLES_PER_VOXEL)
    sdf = np.where(solid, -distance, distance)
    return VoxelField(
        sdf=sdf, rgb=rgb, known=field.known, origin=field.origin, voxel_size=voxel_size, truncation=truncation
    )


def measure_distance(
    mesh: TriangleMesh, points: Float[np.ndarray, "n 3"], truncation: float, spacing: float
) -> Float[np.ndarray, "n"]:
    """Distance of points to the triangles of a mesh, cut off at the truncation.

    Args:
        mesh: Any.
        points: In its frame.
        truncation: Largest distance told.
        spacing: Of the surface samples that find the triangles to be measured.
    """
    samples, owners = sample_triangles(mesh, spacing)
    if len(samples) == 0:
        return np.full(len(points), truncation)
    reach = truncation + 2.0 * spacing
    count = min(_CANDIDATES, len(samples))
    gaps, rows = cKDTree(samples).query(points, k=count, distance_upper_bound=reach)
    gaps, rows = gaps.reshape(len(points), count), rows.reshape(len(points), count)
    distance = np.full(len(points), truncation)
    near = np.isfinite(gaps[:, 0])
    owners = np.append(owners, len(mesh.faces))  # a row past the last sample stands for none
    found, _, _ = nearest_on_triangles(points[near], mesh.vertices[mesh.faces], owners[rows[near]])
    distance[near] = np.minimum(found, truncation)
    return distance


def count_crossings_above(
    mesh: TriangleMesh,
    shape: tuple[int, int, int],
    origin: Float[np.ndarray, "3"],
    voxel_size: float,
    lift: Float[np.ndarray, "x y"],
) -> Int[np.ndarray, "x y z"]:
    """How often the upward ray from each voxel's centre goes through the mesh; see `voxelise` for the lift."""
    columns, heights = find_crossings(mesh, shape[:2], origin, voxel_size)
    heights = heights - lift[columns[:, 0], columns[:, 1]] / voxel_size
    below = np.clip(np.ceil(heights), 0, shape[2]).astype(np.int64)  # voxels 0..below-1 lie under the crossing
    counts = np.zeros((shape[0], shape[1], shape[2] + 1), np.int64)
    np.add.at(counts, (columns[:, 0], columns[:, 1], below), 1)
    return counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, 1:]


def find_crossings(
    mesh: TriangleMesh, shape: tuple[int, int], origin: Float[np.ndarray, "3"], voxel_size: float
) -> tuple[Int[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Where the vertical lines through the columns' centres go through a mesh: the columns, and heights in voxels
    above the centre of the lowest."""
    corners = (mesh.vertices[mesh.faces] - origin) / voxel_size - 0.5  # voxel (i, j, k) has its centre at (i, j, k)
    corners[..., :2] += _NUDGE
    limit = np.array(shape)
    low = np.clip(np.ceil(corners[..., :2].min(axis=1)), 0, limit).astype(np.int64)
    high = np.clip(np.floor(corners[..., :2].max(axis=1)) + 1, 0, limit).astype(np.int64)
    size = np.maximum(high - low, 0)
    face, step = expand(np.arange(len(corners)), size[:, 0] * size[:, 1])
    width = np.maximum(size[face, 1], 1)
    columns = low[face] + np.stack([step // width, step % width], axis=1)
    weights = _flat_weights(columns.astype(np.float64), corners[face][..., :2])
    hit = (weights >= 0).all(axis=1)
    heights = np.einsum("nc,nc->n", weights[hit], corners[face[hit]][..., 2])
    return columns[hit], heights


def sample_triangles(mesh: TriangleMesh, spacing: float) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "n"]]:
    """Points on every triangle, no farther apart than about the spacing, and the triangle that each lies on."""
    corners = mesh.vertices[mesh.faces]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1) if len(corners) else np.zeros(0)
    splits = np.maximum(np.ceil(longest / spacing), 1).astype(np.int64)
    face, step = expand(np.arange(len(corners)), (splits + 1) * (splits + 2) // 2)
    # Step numbers run over rows of a triangular lattice: row r has r + 1 points.
    row = ((np.sqrt(8.0 * step + 1.0) - 1.0) / 2.0).astype(np.int64)
    place = step - row * (row + 1) // 2
    across = splits[face].astype(np.float64)
    weights = np.stack([1.0 - row / across, (row - place) / across, place / across], axis=1)
    return np.einsum("nc,nck->nk", weights, corners[face]), face


def _flat_weights(points: Float[np.ndarray, "n 2"], triangles: Float[np.ndarray, "n 3 2"]) -> Float[np.ndarray, "n 3"]:
    """Barycentric weights seen from above; all negative for triangles that stand upright."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    area = _cross(b - a, c - a)
    upright = area == 0
    safe = np.where(upright, 1.0, area)
    first, second = _cross(b - points, c - points) / safe, _cross(c - points, a - points) / safe
    weights = np.stack([first, second, 1.0 - first - second], axis=1)
    weights[upright] = -1.0
    return weights


def _cross(one: Float[np.ndarray, "n 2"], other: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]


def _find_colors(mesh: TriangleMesh, points: Float[np.ndarray, "n 3"], spacing: float) -> Float[np.ndarray, "n 3"]:
    """Colour of the nearest surface sample."""
    if mesh.colors is None:
        return np.full((len(points), 3), 0.6)
    samples, face = sample_triangles(mesh, spacing)
    _, rows = cKDTree(samples).query(points)
    return mesh.colors[mesh.faces[face[rows], 0]]
