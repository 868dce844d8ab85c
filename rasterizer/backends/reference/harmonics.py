"""Owns the colour of a Gaussian seen from a direction: real spherical harmonics up to degree 3."""

import math

import torch
from jaxtyping import Float, Int32
from torch import Tensor

_C0 = math.sqrt(1 / math.pi) / 2
_C1 = math.sqrt(3 / math.pi) / 2
_C2 = math.sqrt(15 / math.pi) / 2
_C2_ZONAL = math.sqrt(5 / math.pi) / 4
_C3_SECTORAL = math.sqrt(35 / (2 * math.pi)) / 4
_C3_TESSERAL = math.sqrt(105 / math.pi) / 2
_C3_FIRST = math.sqrt(21 / (2 * math.pi)) / 4
_C3_ZONAL = math.sqrt(7 / math.pi) / 4


def shade(
    sh_degree: int,
    means: Float[Tensor, "n 3"],
    sh: Float[Tensor, "n k 3"],
    viewmats: Float[Tensor, "c 4 4"],
    radii: Int32[Tensor, "c n 2"],
) -> Float[Tensor, "c n 3"]:
    """Colours from each camera; see `Ops.shade`."""
    return torch.stack(
        [_shade_one(sh_degree, means, sh, viewmats[i], radii[i]) for i in range(viewmats.shape[0])],
    )


def sh_basis(sh_degree: int, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n k"]:
    """The (degree + 1)^2 real harmonics, orders -l..l within each degree l, with the Condon-Shortley sign.

    Args:
        sh_degree: 0 to 3.
        directions: Unit vectors.
    """
    x, y, z = directions.unbind(dim=1)
    basis = [torch.full_like(x, _C0)]
    if sh_degree >= 1:
        basis += [-_C1 * y, _C1 * z, -_C1 * x]
    if sh_degree >= 2:
        basis += [
            _C2 * x * y,
            -_C2 * y * z,
            _C2_ZONAL * (3 * z * z - 1),
            -_C2 * x * z,
            _C2 / 2 * (x * x - y * y),
        ]
    if sh_degree >= 3:
        basis += [
            -_C3_SECTORAL * y * (3 * x * x - y * y),
            _C3_TESSERAL * x * y * z,
            -_C3_FIRST * y * (5 * z * z - 1),
            _C3_ZONAL * z * (5 * z * z - 3),
            -_C3_FIRST * x * (5 * z * z - 1),
            _C3_TESSERAL / 2 * z * (x * x - y * y),
            -_C3_SECTORAL * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, dim=1)


def _shade_one(
    sh_degree: int,
    means: Float[Tensor, "n 3"],
    sh: Float[Tensor, "n k 3"],
    viewmat: Float[Tensor, "4 4"],
    radii: Int32[Tensor, "n 2"],
) -> Float[Tensor, "n 3"]:
    num_bases = (sh_degree + 1) ** 2
    visible = (radii > 0).all(dim=1)
    finite = sh[:, :num_bases].isfinite().flatten(start_dim=1).all(dim=1)
    ids = (visible & finite).nonzero()[:, 0]
    center = -torch.linalg.inv_ex(viewmat[:3, :3]).inverse @ viewmat[:3, 3]
    directions = torch.nn.functional.normalize(means[ids] - center, dim=1)
    basis = sh_basis(sh_degree, directions)
    seen = (torch.einsum("nk,nkc->nc", basis, sh[ids, :num_bases]) + 0.5).clamp_min(0)
    colors = torch.where((visible & ~finite)[:, None], torch.nan, 0.0).to(sh.dtype).expand(-1, 3)
    return colors.index_copy(0, ids, seen)
