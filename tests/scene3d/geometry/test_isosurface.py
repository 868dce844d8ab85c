"""The surface of analytic fields: where it is, which way it faces, and where it must end."""

import numpy as np
import pytest
import trimesh

from scene3d.geometry.isosurface import extract_mesh
from scene3d.geometry.voxels import VoxelField

VOXEL = 0.1
ORIGIN = np.array([500_000.0, 5_800_000.0, 80.0])
CENTER = ORIGIN + 1.2
RADIUS = 0.83


def make_sphere(known: np.ndarray | None = None) -> VoxelField:
    shape = (24, 24, 24)
    field = VoxelField(
        sdf=np.zeros(shape),
        rgb=np.zeros((*shape, 3)),
        known=np.ones(shape, bool) if known is None else known,
        origin=ORIGIN,
        voxel_size=VOXEL,
        truncation=0.3,
    )
    offsets = field.centers() - CENTER
    field.sdf[:] = np.clip(np.linalg.norm(offsets, axis=-1) - RADIUS, -0.3, 0.3)
    field.rgb[:] = 0.5 + 0.25 * offsets
    return field


def boundary_edges(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    return unique[counts == 1]


def test_the_surface_of_a_sphere_lies_on_the_sphere_far_from_the_origin() -> None:
    mesh = extract_mesh(make_sphere())
    distances = np.linalg.norm(mesh.vertices - CENTER, axis=1) - RADIUS
    assert np.abs(distances).max() < 0.02 * VOXEL / 0.1


def test_the_surface_of_a_sphere_is_closed_and_faces_outward() -> None:
    mesh = extract_mesh(make_sphere())
    closed = trimesh.Trimesh(mesh.vertices - CENTER, mesh.faces, process=False)
    assert closed.is_watertight
    assert closed.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.02)


def test_normals_point_to_where_the_distance_is_positive() -> None:
    mesh = extract_mesh(make_sphere())
    middles = mesh.vertices[mesh.faces].mean(axis=1) - CENTER
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    assert ((mesh.face_normals() * middles).sum(axis=1) > 0.8).all()


def test_colours_are_interpolated_between_voxels() -> None:
    mesh = extract_mesh(make_sphere())
    assert mesh.colors == pytest.approx(0.5 + 0.25 * (mesh.vertices - CENTER), abs=1e-5)


def test_the_surface_ends_where_nothing_is_known() -> None:
    known = np.ones((24, 24, 24), bool)
    known[:, :, 14:] = False
    mesh = extract_mesh(make_sphere(known))
    top = ORIGIN[2] + 13.5 * VOXEL  # the centres of the last known voxels
    assert mesh.vertices[:, 2].max() <= top + 1e-6
    open_edges = boundary_edges(mesh.faces)
    assert len(open_edges) > 10
    assert mesh.vertices[open_edges.ravel(), 2] == pytest.approx(top)


def test_no_triangle_touches_an_unknown_voxel_inside() -> None:
    known = np.ones((24, 24, 24), bool)
    hole = (20, 12, 12)
    known[hole] = False
    mesh = extract_mesh(make_sphere(known))
    place = ORIGIN + (np.array(hole) + 0.5) * VOXEL
    inside_a_cube = (np.abs(mesh.vertices[mesh.faces].mean(axis=1) - place) < VOXEL).all(axis=1)
    assert not inside_a_cube.any()


def test_distances_of_exactly_zero_leave_no_triangle_without_area() -> None:
    field = make_sphere()
    heights = field.centers()[..., 2] - (ORIGIN[2] + 10.5 * VOXEL)
    field.sdf[:] = np.where(np.abs(heights) < 1e-6, 0.0, np.clip(heights, -0.3, 0.3))
    mesh = extract_mesh(field)
    corners = mesh.vertices[mesh.faces] - ORIGIN
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    assert areas.min() > 0.4 * VOXEL**2
    assert areas.sum() == pytest.approx((23 * VOXEL) ** 2, rel=1e-4)


@pytest.mark.parametrize("sdf", [0.3, -0.3])
def test_no_crossing_gives_an_empty_mesh(sdf: float) -> None:
    field = make_sphere()
    field.sdf[:] = sdf
    assert len(extract_mesh(field).faces) == 0


def test_a_crossing_between_known_and_unknown_is_no_surface() -> None:
    field = make_sphere()
    field.sdf[:] = 0.3
    field.sdf[:, :, :12] = -0.3
    field.known[:, :, 12:] = False
    assert len(extract_mesh(field).faces) == 0
