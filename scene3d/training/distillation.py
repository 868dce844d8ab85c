"""Owns how far a decoder is from its momentum teacher, head by head."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scene3d.gaussians.decoder import Decoded
from scene3d.gaussians.transform import sh_basis

DRAWN_OPACITY = 1 / 255
"""No rasterizer draws what is fainter."""


def distillation_loss(student: Decoded, teacher: Decoded, directions: Float[Tensor, "a 3"]) -> Float[Tensor, ""]:
    """Mean squared difference of colour, rotation, size and opacity; gradient reaches the student alone.

    Opacity is compared everywhere, the rest where the student draws something: a Gaussian that is not there has no
    colour to disagree about. Colours are those for the given camera, sizes are compared as logarithms of their
    ratio, so that small world units do not hide them (after Fan et al. 2025, Momentum-GS, eq. 8).

    Args:
        student: Heads of the decoder in training.
        teacher: Heads of its teacher for the same anchors.
        directions: Unit vectors from the camera to the anchors.
    """
    drawn = student.opacities.detach() > DRAWN_OPACITY
    loss = (student.opacities - teacher.opacities.detach()).square().mean()
    if not bool(drawn.any()):
        return loss
    pairs = (
        (_colors(student, directions), _colors(teacher, directions)),
        (_unit(student.quats), _unit(teacher.quats)),
        (student.log_shares, teacher.log_shares),
    )
    return loss + torch.stack([_mean_over(drawn, (mine - theirs.detach()).square()) for mine, theirs in pairs]).sum()


def _colors(decoded: Decoded, directions: Float[Tensor, "a 3"]) -> Float[Tensor, "a k 3"]:
    degree = round(decoded.sh.shape[2] ** 0.5) - 1
    basis = torch.from_numpy(sh_basis(directions.detach().cpu().double().numpy(), degree)).to(decoded.sh)
    return torch.einsum("ac,akcd->akd", basis, decoded.sh)


def _unit(quats: Float[Tensor, "a k 4"]) -> Float[Tensor, "a k 4"]:
    return torch.nn.functional.normalize(quats, dim=-1)


def _mean_over(mask: Bool[Tensor, "a k"], values: Float[Tensor, "a k d"]) -> Float[Tensor, ""]:
    # A sum over a product and not over selected rows: no copy, and the same order of summation for every mask.
    return (values * mask[..., None]).sum() / (mask.sum() * values.shape[2])
