"""Owns moving a set of Gaussians from one world frame to another, view-dependent colour included."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from scene3d.errors import InputError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.geometry.similarity import Similarity

MAX_SH_DEGREE = 3
_NUM_SAMPLE_DIRECTIONS = 64


def transform_gaussians(gaussians: Gaussians, target_from_source: Similarity) -> Gaussians:
    """The same Gaussians in another world frame: an equally moved camera sees the same image.

    Positions are computed in double, so that a large translation costs only the final rounding to float32.

    Args:
        gaussians: In the source frame; spherical harmonics up to degree 3.
        target_from_source: From the frame they are in to the one they shall be in.

    Raises:
        InputError: The spherical harmonics have a degree above 3.
    """
    means = target_from_source.apply(gaussians.means.detach().cpu().double().numpy())
    return Gaussians(
        means=torch.from_numpy(means).to(gaussians.means),
        quats=_rotate_quats(gaussians.quats.detach(), target_from_source.rotation),
        log_scales=gaussians.log_scales.detach() + float(np.log(target_from_source.scale)),
        opacity_logits=gaussians.opacity_logits.detach().clone(),
        sh=rotate_sh(gaussians.sh.detach(), target_from_source.rotation),
    )


def rotate_sh(sh: Float[Tensor, "n k 3"], rotation: Float[np.ndarray, "3 3"]) -> Float[Tensor, "n k 3"]:
    """Coefficients whose colour seen along `rotation @ d` equals the colour of `sh` seen along d."""
    matrix = sh_rotation_matrix(rotation, round(sh.shape[1] ** 0.5) - 1)
    rotated = torch.einsum("ij,njc->nic", torch.from_numpy(matrix).to(sh.device), sh.double())
    return rotated.to(sh.dtype)


def sh_rotation_matrix(rotation: Float[np.ndarray, "3 3"], degree: int) -> Float[np.ndarray, "k k"]:
    """The block-diagonal matrix that rotates real spherical-harmonics coefficients, in double.

    The rotated basis lies in the span of the basis itself, band by band, so least squares over more directions than
    coefficients has no residual: the result is exact to rounding and needs no closed formulas.

    Raises:
        InputError: The degree is above 3.
    """
    if degree > MAX_SH_DEGREE:
        raise InputError(f"spherical harmonics of degree {degree}; at most {MAX_SH_DEGREE} can be rotated")
    directions = sphere_directions(_NUM_SAMPLE_DIRECTIONS)
    basis, rotated = sh_basis(directions, degree), sh_basis(directions @ rotation, degree)
    matrix = np.zeros((basis.shape[1], basis.shape[1]))
    for band in range(degree + 1):
        part = slice(band**2, (band + 1) ** 2)
        matrix[part, part] = np.linalg.lstsq(basis[:, part], rotated[:, part], rcond=None)[0]
    return matrix


def sh_basis(directions: Float[np.ndarray, "m 3"], degree: int) -> Float[np.ndarray, "m k"]:
    """The real orthonormal basis at unit directions, with the order and signs of 3DGS files."""
    x, y, z = directions.T
    norm = np.sqrt(1 / np.pi)
    bands = [np.full_like(x, norm / 2)]
    if degree >= 1:
        bands += [norm * np.sqrt(3 / 4) * part for part in (-y, z, -x)]
    if degree >= 2:
        bands += [norm * np.sqrt(15 / 4) * part for part in (x * y, -y * z, -x * z, (x * x - y * y) / 2)]
        bands.insert(6, norm * np.sqrt(5 / 16) * (3 * z * z - 1))
    if degree >= 3:
        outer, middle = norm * np.sqrt(35 / 32), norm * np.sqrt(21 / 32)
        bands += [
            -outer * y * (3 * x * x - y * y),
            norm * np.sqrt(105 / 4) * x * y * z,
            -middle * y * (5 * z * z - 1),
            norm * np.sqrt(7 / 16) * z * (5 * z * z - 3),
            -middle * x * (5 * z * z - 1),
            norm * np.sqrt(105 / 16) * z * (x * x - y * y),
            -outer * x * (x * x - 3 * y * y),
        ]
    return np.stack(bands, axis=1)


def sphere_directions(count: int) -> Float[np.ndarray, "m 3"]:
    """Evenly spread unit directions: a golden-angle spiral."""
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.arange(count) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def _rotate_quats(quats: Float[Tensor, "n 4"], rotation: Float[np.ndarray, "3 3"]) -> Float[Tensor, "n 4"]:
    """Each quaternion (wxyz) after the rotation; lengths are kept, so that raw values stay raw."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    left = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    return (quats.double() @ torch.from_numpy(left.T).to(quats.device)).to(quats.dtype)
