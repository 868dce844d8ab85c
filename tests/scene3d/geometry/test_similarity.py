"""Similarities by their laws: closure, identity, inverse, and what they do to cameras."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scene3d.cameras.camera import Camera
from scene3d.errors import InputError
from scene3d.geometry.rotations import matrices_from_quats
from scene3d.geometry.similarity import Similarity
from scene3d.seeding import make_numpy_generator

POINTS = make_numpy_generator(0, "points").normal(size=(20, 3))


@st.composite
def similarities(draw):
    quat = draw(st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(np.array).filter(lambda q: (q @ q) > 1e-2))
    shift = draw(st.lists(st.floats(-100, 100), min_size=3, max_size=3))
    return Similarity(draw(st.floats(1e-3, 1e3)), matrices_from_quats(quat), np.array(shift))


@given(similarities(), similarities())
def test_a_product_is_one_after_the_other(first, second):
    np.testing.assert_allclose((first @ second).apply(POINTS), first.apply(second.apply(POINTS)), rtol=1e-9, atol=1e-6)


@given(similarities())
def test_an_inverse_undoes(move):
    np.testing.assert_allclose(move.inverse().apply(move.apply(POINTS)), POINTS, rtol=1e-9, atol=1e-9)
    both = move @ move.inverse()
    np.testing.assert_allclose(both.scale, 1)
    np.testing.assert_allclose(both.translation, 0, atol=1e-9)


@given(similarities())
def test_the_identity_changes_nothing(move):
    for same in (move @ Similarity.identity(), Similarity.identity() @ move):
        np.testing.assert_array_equal(same.apply(POINTS), move.apply(POINTS))


@given(similarities())
def test_a_moved_camera_sees_moved_points_where_it_saw_them(move):
    pose = np.eye(4)
    pose[:3, :3] = matrices_from_quats(np.array([0.9, 0.1, -0.2, 0.3]))
    pose[:3, 3] = [0.1, 0.2, 8.0]
    camera = Camera(width=64, height=48, K=np.array([[50.0, 0, 30], [0, 50, 20], [0, 0, 1]]), cam_from_world=pose)

    def pixels(seen_by: Camera, points: np.ndarray) -> np.ndarray:
        in_camera = points @ seen_by.cam_from_world[:3, :3].T + seen_by.cam_from_world[:3, 3]
        projected = in_camera @ seen_by.K.T
        return projected[:, :2] / projected[:, 2:]

    np.testing.assert_allclose(
        pixels(camera.transformed(move), move.apply(POINTS)), pixels(camera, POINTS), rtol=1e-6, atol=1e-5
    )


@given(similarities())
def test_a_record_brings_the_same_transform_back(move):
    back = Similarity.from_record(move.to_record())
    np.testing.assert_array_equal(back.apply(POINTS), move.apply(POINTS))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(InputError, match="positive and finite"):
        Similarity(scale, np.eye(3), np.zeros(3))


def test_a_reflection_is_refused():
    with pytest.raises(InputError, match="not a rotation"):
        Similarity(1.0, np.diag([1.0, 1.0, -1.0]), np.zeros(3))
