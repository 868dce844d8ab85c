"""Gaussians in another world frame look the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scene3d.errors import InputError
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.gaussians.transform import rotate_sh, sh_basis, sh_rotation_matrix, transform_gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.seeding import make_generator, make_numpy_generator


def make_gaussians(count: int = 20, *, sh_degree: int = 3, seed: int = 0) -> Gaussians:
    generator = make_generator(seed, "gaussians")
    return Gaussians(
        means=torch.randn(count, 3, generator=generator),
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.randn(count, 3, generator=generator) - 2,
        opacity_logits=torch.randn(count, generator=generator),
        sh=torch.randn(count, (sh_degree + 1) ** 2, 3, generator=generator),
    )


def covariances(gaussians: Gaussians) -> np.ndarray:
    rotations = Rotation.from_quat(gaussians.quats.double().numpy()[:, [1, 2, 3, 0]]).as_matrix()
    half = rotations * gaussians.log_scales.double().exp().numpy()[:, None, :]
    return half @ half.transpose(0, 2, 1)


@st.composite
def similarities(draw: st.DrawFn) -> Similarity:
    rotation = Rotation.random(rng=make_numpy_generator(draw(st.integers(0, 10_000)))).as_matrix()
    offsets = st.floats(-20, 20)
    return Similarity(draw(st.floats(0.1, 10)), rotation, np.array([draw(offsets), draw(offsets), draw(offsets)]))


@given(similarities())
@settings(max_examples=30)
def test_covariances_turn_and_scale_with_the_world(move):
    source = make_gaussians()
    expected = move.scale**2 * move.rotation @ covariances(source) @ move.rotation.T
    actual = covariances(transform_gaussians(source, move))
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@given(similarities())
@settings(max_examples=30)
def test_colour_seen_along_a_turned_direction_is_the_same(move):
    source = make_gaussians()
    directions = make_numpy_generator(3).normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before = np.einsum("mk,nkc->mnc", sh_basis(directions, 3), source.sh.double().numpy())
    turned = sh_basis(directions @ move.rotation.T, 3)
    after = np.einsum("mk,nkc->mnc", turned, transform_gaussians(source, move).sh.double().numpy())
    assert np.abs(after - before).max() < 5e-6


@given(similarities())
@settings(max_examples=30)
def test_going_there_and_back_changes_nothing(move):
    source = make_gaussians()
    back = transform_gaussians(transform_gaussians(source, move), move.inverse())
    # Sizes of the coordinates in between (up to 20 + 10 * 4) bound the rounding.
    assert (back.means - source.means).abs().max() < 1e-4 / move.scale + 1e-5
    assert (back.log_scales - source.log_scales).abs().max() < 1e-5
    sign = (back.quats * source.quats).sum(dim=1, keepdim=True).sign()  # q and -q are one rotation
    assert (sign * back.quats - source.quats).abs().max() < 1e-5
    assert (back.sh - source.sh).abs().max() < 1e-5
    assert torch.equal(back.opacity_logits, source.opacity_logits)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rotation_matrices_of_harmonics_are_orthogonal_and_compose(degree):
    first = Rotation.random(rng=make_numpy_generator(1)).as_matrix()
    second = Rotation.random(rng=make_numpy_generator(2)).as_matrix()
    matrix = sh_rotation_matrix(first, degree)
    assert np.abs(matrix @ matrix.T - np.eye((degree + 1) ** 2)).max() < 1e-12
    composed = sh_rotation_matrix(second, degree) @ matrix
    assert np.abs(composed - sh_rotation_matrix(second @ first, degree)).max() < 1e-12


def test_basis_has_the_signs_and_order_of_3dgs_files():
    # Values published with 3DGS (constant, then -y z -x, then xy yz ...), at a direction with all parts different.
    x, y, z = direction = np.array([0.36, 0.48, 0.8])
    basis = sh_basis(direction[None], 3)[0]
    assert basis[0] == pytest.approx(SH_C0)
    assert basis[1:4] == pytest.approx(0.4886025119029199 * np.array([-y, z, -x]))
    assert basis[4] == pytest.approx(1.0925484305920792 * x * y)
    assert basis[5] == pytest.approx(-1.0925484305920792 * y * z)
    assert basis[6] == pytest.approx(0.31539156525252005 * (2 * z * z - x * x - y * y))
    assert basis[7] == pytest.approx(-1.0925484305920792 * x * z)
    assert basis[8] == pytest.approx(0.5462742152960396 * (x * x - y * y))
    assert basis[9] == pytest.approx(-0.5900435899266435 * y * (3 * x * x - y * y))
    assert basis[10] == pytest.approx(2.890611442640554 * x * y * z)
    assert basis[11] == pytest.approx(-0.4570457994644658 * y * (4 * z * z - x * x - y * y))
    assert basis[12] == pytest.approx(0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y))
    assert basis[13] == pytest.approx(-0.4570457994644658 * x * (4 * z * z - x * x - y * y))
    assert basis[14] == pytest.approx(1.445305721320277 * z * (x * x - y * y))
    assert basis[15] == pytest.approx(-0.5900435899266435 * x * (x * x - 3 * y * y))


def test_basis_is_orthonormal_on_the_sphere():
    count = 20_000
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.arange(count) * np.pi * (3 - np.sqrt(5))
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], axis=1)
    basis = sh_basis(directions, 3)
    assert np.abs(4 * np.pi * basis.T @ basis / count - np.eye(16)).max() < 1e-3


def test_a_large_translation_costs_only_the_final_rounding():
    source = make_gaussians()
    move = Similarity(1.0, np.eye(3), np.array([4.0e5, 5.0e6, 100.0]))
    there = Similarity(1.0, np.eye(3), np.array([-4.0e5, -5.0e6, 0.0])) @ move
    assert (transform_gaussians(source, there).means - source.means - torch.tensor([0, 0, 100.0])).abs().max() < 1e-5


def test_no_gaussians_are_fine():
    assert len(transform_gaussians(make_gaussians(0), Similarity.identity())) == 0


def test_a_degree_above_three_is_refused():
    with pytest.raises(InputError, match="degree 4"):
        rotate_sh(torch.zeros(2, 25, 3), np.eye(3))
