"""The axes of `.spz` and its packed numbers."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from scene3d.gaussians.gaussians import Gaussians
from scene3d.io import spz_packing
from tests.scene3d.io.gaussian_sets import FIELDS, angle_deg, random_gaussians

FLIP = np.diag([1.0, -1.0, -1.0])


def covariances(gaussians: Gaussians) -> np.ndarray:
    turns = Rotation.from_quat(gaussians.quats[:, [1, 2, 3, 0]].numpy()).as_matrix()
    halves = turns * gaussians.scales.double().numpy()[:, None, :]
    return halves @ halves.transpose(0, 2, 1)


def harmonics(d: np.ndarray) -> np.ndarray:
    """The sixteen basis polynomials of 3DGS in their order, without their constants."""
    x, y, z = d.T
    degree_2 = [x * y, y * z, 2 * z * z - x * x - y * y, x * z, x * x - y * y]
    degree_3 = [y * (3 * x * x - y * y), x * y * z, y * (4 * z * z - x * x - y * y)]
    degree_3 += [z * (2 * z * z - 3 * x * x - 3 * y * y), x * (4 * z * z - x * x - y * y)]
    degree_3 += [z * (x * x - y * y), x * (x * x - 3 * y * y)]
    return np.stack([np.ones_like(x), y, z, x, *degree_2, *degree_3], axis=1)


def test_turning_moves_positions_shapes_and_colours_together() -> None:
    gaussians = random_gaussians(50)
    turned = spz_packing.turned(gaussians)
    np.testing.assert_allclose(turned.means, gaussians.means.numpy() @ FLIP, rtol=1e-6)
    np.testing.assert_allclose(covariances(turned), FLIP @ covariances(gaussians) @ FLIP, rtol=1e-5, atol=1e-9)
    directions = np.random.default_rng(0).normal(size=(30, 3))
    before = np.einsum("dk,nkc->ndc", harmonics(directions), gaussians.sh)
    after = np.einsum("dk,nkc->ndc", harmonics(directions @ FLIP), turned.sh)
    np.testing.assert_allclose(after, before, atol=1e-4)
    for field in FIELDS:
        assert torch.equal(getattr(spz_packing.turned(turned), field), getattr(gaussians, field))


@pytest.mark.parametrize("fraction_bits", [1, 12, 20])
def test_positions_survive_packing_to_half_a_step(fraction_bits: int) -> None:
    limit = (2**23 - 1) / 2**fraction_bits
    means = torch.tensor([[0.0, limit, -limit], [1.0, -1.0, 0.3]]).clamp(-limit, limit)
    packed = np.frombuffer(spz_packing.pack_positions(means, fraction_bits), np.uint8).reshape(-1, 9)
    read = spz_packing.unpack_positions(packed, fraction_bits)
    assert np.abs(read - means.numpy()).max() <= 0.5001 / 2**fraction_bits


def test_rotations_survive_packing_whichever_component_is_largest() -> None:
    quats = torch.cat([torch.eye(4), -torch.eye(4), torch.ones(1, 4), random_gaussians(500).quats])
    packed = np.frombuffer(spz_packing.pack_rotations(quats), np.uint8).reshape(-1, 4)
    read = torch.from_numpy(spz_packing.unpack_rotations(packed))
    assert angle_deg(read, quats).max() < 0.35
    np.testing.assert_allclose(read.norm(dim=1), 1, atol=1e-6)
