"""Owns rotations in double precision: quaternions (wxyz), matrices, and the turns between directions."""

import numpy as np
from jaxtyping import Float

from scene3d.errors import InputError


def matrices_from_quats(quats: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 3 3"]:
    """Rotation matrices of wxyz quaternions, which need not be unit.

    Raises:
        InputError: A quaternion is zero or not finite; it stands for no rotation.
    """
    norms = np.linalg.norm(quats, axis=-1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise InputError("a quaternion is zero or not finite; it stands for no rotation")
    w, x, y, z = np.moveaxis(quats / norms, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quats_from_matrices(matrices: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 4"]:
    """Unit wxyz quaternions of rotation matrices, with w >= 0."""
    m = matrices.reshape(-1, 3, 3)
    # products[:, i, j] = 4 q_i q_j: any row is the quaternion up to length, the one with the largest q_i to all digits.
    products = np.zeros((len(m), 4, 4))
    trace = np.trace(m, axis1=1, axis2=2)
    products[:, 0, 0] = 1 + trace
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        products[:, i + 1, i + 1] = 1 + 2 * m[:, i, i] - trace
        products[:, 0, i + 1] = products[:, i + 1, 0] = m[:, k, j] - m[:, j, k]
        products[:, j + 1, k + 1] = products[:, k + 1, j + 1] = m[:, k, j] + m[:, j, k]
    best = np.argmax(np.diagonal(products, axis1=1, axis2=2), axis=1)
    quats = products[np.arange(len(m)), best]
    quats = np.where(quats[:, :1] < 0, -quats, quats)
    return (quats / np.linalg.norm(quats, axis=1, keepdims=True)).reshape(*matrices.shape[:-2], 4)


def nearest_rotation(matrix: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation closest to a matrix in the least-squares sense; never a reflection."""
    u, _, vt = np.linalg.svd(matrix)
    handedness = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    return u @ np.diag([1.0, 1.0, handedness]) @ vt


def rotation_between(source: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that turns one direction into another; their lengths do not matter.

    For opposite directions, where many are smallest, it turns about an axis across the world axis farthest from them.
    """
    a, b = unit(source), unit(target)
    halfway = a + b
    if np.linalg.norm(halfway) < 1e-9:
        halfway = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
    return _half_turn(unit(halfway)) @ _half_turn(a)


def angle_between_rad(first: Float[np.ndarray, "3 3"], second: Float[np.ndarray, "3 3"]) -> float:
    """Angle of the turn from one rotation to another."""
    # The sine comes from the antisymmetric part: near zero the arc cosine alone would lose half of the digits.
    turn = first.T @ second
    sine = np.linalg.norm([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
    return float(np.arctan2(sine, (np.trace(turn) - 1) / 2))


def unit(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """The direction of a vector.

    Raises:
        InputError: The vector is zero or not finite.
    """
    length = float(np.linalg.norm(vector))
    if not (np.isfinite(length) and length > 0):
        raise InputError(f"the vector {vector.tolist()} has no direction")
    return vector / length


def _half_turn(axis: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    return 2 * np.outer(axis, axis) - np.eye(3)
