"""Even samples of a surface, and how densely the flat Gaussians on them cover it."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from scene3d.cameras.camera import Camera
from scene3d.cameras.trajectories import look_at
from scene3d.errors import InputError
from scene3d.gaussians.gaussians import SH_C0
from scene3d.gaussians.surface_sampling import (
    DISK,
    FINEST,
    SurfaceSamples,
    make_flat_gaussians,
    sample_surface,
    vertex_normals,
)
from scene3d.geometry.mesh import TriangleMesh
from scene3d.geometry.rotations import matrices_from_quats
from scene3d.render import render_view
from scene3d.seeding import make_numpy_generator

SPACING = 0.05


def make_plane(side: float = 2.0, count: int = 21) -> TriangleMesh:
    steps = np.linspace(-side / 2, side / 2, count)
    x, y = np.meshgrid(steps, steps, indexing="ij")
    rows = np.arange(count * count).reshape(count, count)
    a, b, c, d = (part.ravel() for part in (rows[:-1, :-1], rows[1:, :-1], rows[1:, 1:], rows[:-1, 1:]))
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    colors = np.clip(0.5 + 0.2 * vertices, 0, 1)
    return TriangleMesh(
        vertices=vertices, faces=np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]), colors=colors
    )


def make_sphere(radius: float) -> TriangleMesh:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return TriangleMesh(vertices=np.asarray(ball.vertices), faces=np.asarray(ball.faces, np.int64))


@pytest.fixture(scope="module")
def plane() -> SurfaceSamples:
    return sample_surface(make_plane(), SPACING, generator=make_numpy_generator(0, "plane"))


def test_no_two_samples_of_a_plane_are_closer_than_the_disk(plane: SurfaceSamples) -> None:
    gaps = cKDTree(plane.points).query(plane.points, k=2)[0][:, 1]
    assert gaps.min() >= DISK * SPACING


def test_no_place_of_a_plane_is_left_out(plane: SurfaceSamples) -> None:
    places = make_numpy_generator(1, "places").uniform(-1, 1, (5000, 2))
    gaps = cKDTree(plane.points[:, :2]).query(places)[0]
    assert np.quantile(gaps, 0.999) < 1.15 * DISK * SPACING


def test_there_is_about_one_sample_for_each_square_of_the_spacing(plane: SurfaceSamples) -> None:
    assert len(plane) * SPACING**2 / 4 == pytest.approx(1.03, abs=0.06)


def test_flat_gaussians_cover_the_surface(plane: SurfaceSamples) -> None:
    gaussians = make_flat_gaussians(plane, sh_degree=0)
    K = np.array([[300.0, 0, 150], [0, 300.0, 150], [0, 0, 1]])
    camera = Camera(width=300, height=300, K=K, cam_from_world=look_at(np.array([0, 0, 1.6]), np.zeros(3)))
    alpha = render_view(gaussians, camera).alpha.numpy().ravel()
    assert np.quantile(alpha, 0.01) >= 0.93
    assert alpha.mean() >= 0.975


def test_the_same_seed_gives_the_same_samples_and_another_one_others(plane: SurfaceSamples) -> None:
    again = sample_surface(make_plane(), SPACING, generator=make_numpy_generator(0, "plane"))
    other = sample_surface(make_plane(), SPACING, generator=make_numpy_generator(1, "plane"))
    assert (again.points == plane.points).all()
    assert other.points.shape != plane.points.shape or not np.allclose(other.points, plane.points)


def test_both_sides_of_a_thin_wall_are_covered() -> None:
    front = make_plane()
    back = TriangleMesh(vertices=front.vertices - [0, 0, 0.005], faces=front.faces[:, ::-1] + len(front.vertices))
    wall = TriangleMesh(
        vertices=np.concatenate([front.vertices, back.vertices]), faces=np.concatenate([front.faces, back.faces])
    )
    samples = sample_surface(wall, SPACING, generator=make_numpy_generator(0, "wall"))
    up = samples.normals[:, 2] > 0
    assert up.mean() == pytest.approx(0.5, abs=0.03)
    assert len(samples) * SPACING**2 / 8 == pytest.approx(1.03, abs=0.06)


def test_samples_lie_closer_where_the_surface_bends() -> None:
    small, large = (
        sample_surface(make_sphere(radius), SPACING, generator=make_numpy_generator(0, "ball"))
        for radius in (0.05, 1.0)
    )
    assert large.spacing == pytest.approx(SPACING)
    assert small.spacing.mean() < 0.75 * SPACING
    assert small.spacing.min() >= FINEST * SPACING


def test_gaussians_are_flat_along_the_normal_and_lie_just_below_the_surface() -> None:
    samples = sample_surface(make_sphere(1.0), SPACING, generator=make_numpy_generator(0, "ball"))
    gaussians = make_flat_gaussians(samples, sh_degree=2)
    axes = matrices_from_quats(gaussians.quats.double().numpy())
    assert np.abs((axes[:, :, 2] * samples.normals).sum(axis=1)) == pytest.approx(1, abs=1e-5)
    assert gaussians.scales[0].tolist() == pytest.approx([0.7 * SPACING, 0.7 * SPACING, 0.05 * SPACING], rel=1e-4)
    assert gaussians.opacities.numpy() == pytest.approx(0.95, abs=1e-5)
    assert gaussians.sh.shape[1] == 9
    radius = gaussians.means.norm(dim=1).numpy()
    assert radius == pytest.approx(1 - 0.1 * SPACING, abs=2e-3)


def test_colours_come_from_the_vertices(plane: SurfaceSamples) -> None:
    gaussians = make_flat_gaussians(plane, sh_degree=0)
    shown = gaussians.sh[:, 0].numpy() * SH_C0 + 0.5
    assert shown[:, :2] == pytest.approx(0.5 + 0.2 * plane.points[:, :2], abs=1e-5)


def test_normals_of_vertices_point_outward() -> None:
    ball = make_sphere(0.5)
    assert (vertex_normals(ball) * ball.vertices).sum(axis=1) == pytest.approx(0.5, abs=1e-3)


def test_an_empty_mesh_has_no_samples() -> None:
    empty = TriangleMesh(vertices=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int64))
    samples = sample_surface(empty, SPACING, generator=make_numpy_generator(0, "none"))
    assert len(samples) == 0
    assert len(make_flat_gaussians(samples, sh_degree=1)) == 0


def test_a_spacing_must_be_positive() -> None:
    with pytest.raises(InputError, match="spacing"):
        sample_surface(make_plane(), 0.0, generator=make_numpy_generator(0, "none"))
