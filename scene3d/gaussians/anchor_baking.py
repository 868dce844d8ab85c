"""Owns the way from anchors to a standard Gaussian set that every viewer reads."""

import torch

from scene3d.gaussians.anchors import Anchors, decode_anchors
from scene3d.gaussians.decoder import Decoder
from scene3d.gaussians.gaussians import Gaussians, resize_sh


@torch.no_grad()
def bake_anchors(anchors: Anchors, decoder: Decoder, sh_degree: int) -> Gaussians:
    """The Gaussians of anchors of the static mode, exact; Gaussian i belongs to anchor i // k.

    Args:
        sh_degree: Degree of colour of the result; what the decoder emits beyond is dropped, what lacks is zero.
    """
    gaussians, _ = decode_anchors(anchors.detach(), decoder, sh_degree=sh_degree)
    return Gaussians(
        means=gaussians.means,
        quats=gaussians.quats,
        log_scales=gaussians.log_scales,
        opacity_logits=gaussians.opacity_logits,
        sh=resize_sh(gaussians.sh, sh_degree),
    )
