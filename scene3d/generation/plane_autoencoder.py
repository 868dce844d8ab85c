"""Owns the auto-encoder of fitted planes: the second stage of BlockFusion, with this project's layers and sizes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scene3d.generation.autoencoder import Posterior, make_plane_decoder
from scene3d.generation.layers import GroupConv, PlaneBlock, PlaneMixing
from scene3d.generation.plane_fit import FitSettings
from scene3d.generation.spec import CODE_STRIDE, NUM_PLANES, NetworkSizes

_SMALLEST_RANGE = 1e-3
CODE_SPREAD = 0.25
"""Standard deviation of the normal distribution that codes are held to (BlockFusion)."""


class PlaneAutoEncoder(nn.Module):
    """Planes to codes of half their resolution, and back.

    Each channel of each plane is scaled to -1..1 by its range over the training's planes, and the result goes through
    a tanh, as published. The published network has 805 million weights, this one those of the amortised decoder.
    """

    low: Tensor
    high: Tensor

    def __init__(self, fit: FitSettings, sizes: NetworkSizes) -> None:
        super().__init__()
        width = sizes.encoder_width
        self.encoder = nn.Sequential(
            GroupConv(fit.channels, width, kernel=2 * CODE_STRIDE, stride=CODE_STRIDE),
            PlaneMixing(width),
            PlaneBlock(width, width),
            nn.SiLU(),
            GroupConv(width, 2 * sizes.code_channels, kernel=1),
        )
        self.decoder = make_plane_decoder(sizes, fit.channels)
        self.register_buffer("low", -torch.ones(NUM_PLANES, fit.channels, 1, 1))
        self.register_buffer("high", torch.ones(NUM_PLANES, fit.channels, 1, 1))

    def set_ranges(self, planes: Float[Tensor, "b 3 f r r"]) -> None:
        """Take the range of each channel from the planes of the training."""
        self.low.copy_(planes.amin(dim=(0, 3, 4))[..., None, None])
        self.high.copy_(planes.amax(dim=(0, 3, 4))[..., None, None].maximum(self.low + _SMALLEST_RANGE))

    def normalise(self, planes: Float[Tensor, "b 3 f r r"]) -> Float[Tensor, "b 3 f r r"]:
        """Planes of the training's range as -1..1."""
        return 2.0 * (planes - self.low) / (self.high - self.low) - 1.0

    def encode(self, planes: Float[Tensor, "b 3 f r r"]) -> Posterior:
        """Codes of planes."""
        codes = self.encoder(self.normalise(planes).flatten(1, 2))
        mean, log_variance = codes.reshape(len(codes), NUM_PLANES, -1, *codes.shape[-2:]).chunk(2, dim=2)
        return Posterior(mean, log_variance.clamp(-12.0, 4.0))

    def decode(self, codes: Float[Tensor, "b 3 z s s"]) -> Float[Tensor, "b 3 f r r"]:
        """Planes, in their own range."""
        found = self.decoder(codes.flatten(1, 2)).tanh()
        found = found.reshape(len(found), NUM_PLANES, -1, *found.shape[-2:])
        return (found + 1.0) / 2.0 * (self.high - self.low) + self.low


def code_divergence(posterior: Posterior) -> Float[Tensor, ""]:
    """From the normal distribution of spread `CODE_SPREAD`, mean over the codes' elements, nats."""
    scaled = Posterior(
        posterior.mean / CODE_SPREAD, posterior.log_variance - 2.0 * torch.tensor(CODE_SPREAD).log().item()
    )
    return scaled.divergence()
