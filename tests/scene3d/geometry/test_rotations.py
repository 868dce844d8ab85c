"""Rotations against scipy and by their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scene3d.errors import InputError
from scene3d.geometry.rotations import (
    angle_between_rad,
    matrices_from_quats,
    nearest_rotation,
    quats_from_matrices,
    rotation_between,
    unit,
)
from scene3d.seeding import make_numpy_generator

directions = (
    st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(np.array).filter(lambda v: float(np.linalg.norm(v)) > 1e-3)
)


def random_quats(count: int = 200) -> np.ndarray:
    return make_numpy_generator(0, "quats").normal(size=(count, 4))


def test_matrices_agree_with_scipy_for_quaternions_of_any_length():
    quats = random_quats()
    np.testing.assert_allclose(
        matrices_from_quats(quats), Rotation.from_quat(quats, scalar_first=True).as_matrix(), atol=1e-14
    )


def test_quaternions_survive_the_way_through_matrices_up_to_sign():
    quats = random_quats()
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    back = quats_from_matrices(matrices_from_quats(quats))
    np.testing.assert_allclose(back, np.where(quats[:, :1] < 0, -quats, quats), atol=1e-14)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_have_quaternions_too(axis):
    matrix = -np.eye(3)
    matrix[axis, axis] = 1
    quat = quats_from_matrices(matrix)
    np.testing.assert_array_equal(np.abs(quat), np.eye(4)[axis + 1])


@pytest.mark.parametrize("quat", [[0.0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 0]])
def test_what_is_no_rotation_is_refused(quat):
    with pytest.raises(InputError, match="no rotation"):
        matrices_from_quats(np.array([quat]))


@given(directions, directions)
def test_the_turn_between_two_directions_turns_one_into_the_other(source, target):
    rotation = rotation_between(source, target)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0
    np.testing.assert_allclose(rotation @ unit(source), unit(target), atol=1e-6)


@given(directions)
def test_opposite_directions_are_half_a_turn_apart(source):
    rotation = rotation_between(source, -source)
    np.testing.assert_allclose(rotation @ source, -source, atol=1e-9)
    assert angle_between_rad(np.eye(3), rotation) == pytest.approx(np.pi)


def test_the_turn_of_a_direction_into_itself_is_none():
    np.testing.assert_array_equal(rotation_between(np.array([0.0, 0, 2]), np.array([0.0, 0, 5])), np.eye(3))


def test_the_nearest_rotation_of_a_mirror_is_a_rotation():
    rotation = nearest_rotation(np.diag([1.0, 1.0, -1.0]))
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_the_nearest_rotation_removes_scale_and_noise():
    truth = matrices_from_quats(np.array([0.5, 0.1, -0.7, 0.2]))
    noise = make_numpy_generator(0, "noise").normal(scale=1e-4, size=(3, 3))
    assert angle_between_rad(truth, nearest_rotation(3.0 * truth + noise)) < 3e-4


@given(st.floats(0, np.pi), directions)
def test_the_angle_of_a_turn_is_what_it_was_made_with(angle, axis):
    turn = Rotation.from_rotvec(angle * unit(axis)).as_matrix()
    start = matrices_from_quats(np.array([0.5, 0.1, -0.7, 0.2]))
    assert angle_between_rad(start, start @ turn) == pytest.approx(angle, abs=1e-7)


def test_a_zero_vector_has_no_direction():
    with pytest.raises(InputError, match="no direction"):
        unit(np.zeros(3))
