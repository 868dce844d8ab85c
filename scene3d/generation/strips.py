"""Owns which latent pixels are settled by geometry that is already there, and their codes."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from scipy import ndimage
from torch import Tensor

from scene3d.generation.spec import CODE_STRIDE

KNOWN_SHARE = 0.98
"""A pixel is settled where this share of the voxels that it stands for is known."""


def find_settled(known: Bool[Tensor, "b k k k"]) -> Bool[Tensor, "b 3 1 s s"]:
    """Latent pixels whose whole slab of voxels [x, y, z] is known.

    With a neighbour in x, those are the strips of xz and xy along their common side and none of zy; with one in z,
    the strips of xz and zy and none of xy: the rule by which the published extrapolation shares planes. Known
    regions of any other shape follow the same rule.
    """
    return find_known_shares(known) >= KNOWN_SHARE


def find_known_shares(known: Bool[Tensor, "b k k k"]) -> Float[Tensor, "b 3 1 s s"]:
    """How much is known of the slab of voxels [x, y, z] that each latent pixel stands for."""
    share = known.float()
    planes = [share.mean(3), share.mean(2), share.mean(1).transpose(1, 2)]
    return torch.nn.functional.avg_pool2d(torch.stack(planes, dim=1), CODE_STRIDE)[:, :, None]


def continue_known(voxels: Num[np.ndarray, "x y z c"], known: Bool[np.ndarray, "x y z"]) -> Num[np.ndarray, "x y z c"]:
    """Voxels whose unknown part repeats the nearest known value, so that codes near the border are not disturbed."""
    if known.all() or not known.any():
        return voxels
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return voxels[tuple(nearest)]
