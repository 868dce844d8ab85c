"""The nearest point on triangles against a dense search."""

import numpy as np
import pytest

from scene3d.geometry.triangles import closest_weights, nearest_on_triangles
from scene3d.seeding import make_numpy_generator

RNG = make_numpy_generator(0, "triangles")


def test_the_nearest_point_is_no_farther_than_any_point_of_the_triangle() -> None:
    triangles = RNG.normal(size=(50, 3, 3))
    points = 2 * RNG.normal(size=(50, 3))
    weights = closest_weights(points, triangles)
    assert weights.min() >= 0
    assert weights.sum(axis=1) == pytest.approx(1)
    found = np.linalg.norm(np.einsum("nc,nck->nk", weights, triangles) - points, axis=1)
    dense = RNG.dirichlet(np.ones(3) * 0.5, size=4000)
    best = np.linalg.norm(np.einsum("mc,nck->nmk", dense, triangles) - points[:, None], axis=2).min(axis=1)
    assert (found <= best + 1e-9).all()
    assert found == pytest.approx(best, abs=0.1)


def test_points_on_a_triangle_are_their_own_nearest() -> None:
    triangles = RNG.normal(size=(20, 3, 3))
    weights = RNG.dirichlet(np.ones(3), size=20)
    points = np.einsum("nc,nck->nk", weights, triangles)
    assert closest_weights(points, triangles) == pytest.approx(weights, abs=1e-6)


def test_the_nearest_of_several_triangles_is_found() -> None:
    corners = np.array([[[0, 0, z], [1, 0, z], [0, 1, z]] for z in (0.0, 1.0, 5.0)])
    points = np.array([[0.2, 0.2, 0.7], [0.2, 0.2, 4.0]])
    distance, face, _ = nearest_on_triangles(points, corners, np.array([[0, 1, 3], [2, 1, 0]]))
    assert distance == pytest.approx([0.3, 1.0])
    assert face.tolist() == [1, 2]


def test_triangles_without_area_do_no_harm() -> None:
    flat = np.zeros((1, 3, 3))
    weights = closest_weights(np.array([[1.0, 2.0, 2.0]]), flat)
    assert np.isfinite(weights).all()
