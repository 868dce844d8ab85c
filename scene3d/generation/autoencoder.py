"""Owns the amortised auto-encoder: voxels of a block to three latent planes, and those to a field.

It takes the place of fitting planes to each block (hours for each) and compressing them afterwards. The encoder is a
few convolutions without normalisation or mixing, so a latent pixel knows only what lies near its own slab of voxels:
blocks that overlap have nearly the same codes there, and codes of what is known can be had where the rest is not.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scene3d.generation.layers import GroupConv, PlaneBlock, PlaneMixing
from scene3d.generation.spec import CODE_STRIDE, NUM_PLANES, ModelConfig, NetworkSizes
from scene3d.generation.triplane import sample_grid, sample_planes, slice_voxels

VOXEL_CHANNELS = 4
"""Signed distance in units of the truncation, and colour."""


class Posterior(NamedTuple):
    """The normal distribution of a block's codes."""

    mean: Float[Tensor, "b 3 z s s"]
    log_variance: Float[Tensor, "b 3 z s s"]

    def sample(self, generator: torch.Generator) -> Float[Tensor, "b 3 z s s"]:
        """One draw."""
        noise = torch.randn(self.mean.shape, generator=generator)
        return self.mean + (0.5 * self.log_variance).exp() * noise.to(self.mean)

    def divergence(self) -> Float[Tensor, ""]:
        """From the standard normal distribution, mean over the codes' elements, nats."""
        variance = self.log_variance.exp()
        return 0.5 * (self.mean**2 + variance - 1.0 - self.log_variance).mean()


class FieldValues(NamedTuple):
    """The field at some places."""

    tsdf: Tensor
    """[...], signed distance in units of the truncation; not yet cut off."""

    rgb: Tensor
    """[..., 3], 0 to 1."""


class AutoEncoder(nn.Module):
    """Encoder, decoder and the heads that read distance and colour from the decoded planes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes, width = config.sizes, config.sizes.encoder_width
        voxel_channels = VOXEL_CHANNELS * config.spec.block_voxels
        self.encoder = nn.Sequential(
            GroupConv(voxel_channels, width, kernel=2 * CODE_STRIDE, stride=CODE_STRIDE, repeat=True),
            PlaneBlock(width, width, local=True),
            nn.SiLU(),
            GroupConv(width, 2 * sizes.code_channels, kernel=1),
        )
        self.decoder = make_plane_decoder(sizes, sizes.plane_channels)
        self.distance_head = _make_head(sizes.plane_channels, sizes.head_width, 1)
        self.color_head = _make_head(sizes.plane_channels, sizes.head_width // 2, 3)

    def encode(self, voxels: Float[Tensor, "b 4 k k k"]) -> Posterior:
        """Codes of blocks.

        Args:
            voxels: In the block's axes: signed distance over the truncation, -1 to 1, and colour times what
                `near_surface` says.
        """
        mean, log_variance = _split_planes(self.encoder(slice_voxels(voxels))).chunk(2, dim=2)
        return Posterior(mean, log_variance.clamp(-12.0, 4.0))

    def decode(self, codes: Float[Tensor, "b 3 z s s"]) -> Float[Tensor, "b 3 f r r"]:
        """The planes that the heads read."""
        return _split_planes(self.decoder(codes.flatten(1, 2)))

    def query(self, triplane: Float[Tensor, "b 3 f r r"], points: Float[Tensor, "b n 3"]) -> FieldValues:
        """The field at points of the cube [-1, 1]^3, in the block's axes."""
        features = sample_planes(triplane, points)
        return FieldValues(self.distance_head(features)[..., 0], self.color_head(features).sigmoid())

    def query_grid(self, triplane: Float[Tensor, "b 3 f r r"], side: int, *, cut: bool = True) -> FieldValues:
        """The field at the centres of side^3 voxels; colour only where the surface is near, elsewhere 0.

        Args:
            triplane: Decoded planes.
            side: Voxels along each edge.
            cut: Cut distances off at -1 and 1.
        """
        features = sample_grid(triplane, side).movedim(1, -1)
        tsdf = self.distance_head(features)[..., 0]
        tsdf = tsdf.clamp(-1.0, 1.0) if cut else tsdf
        near = tsdf.abs() < 1.0
        rgb = torch.zeros((*tsdf.shape, 3), dtype=tsdf.dtype, device=tsdf.device)
        rgb[near] = self.color_head(features[near]).sigmoid()
        return FieldValues(tsdf, rgb)


def make_plane_decoder(sizes: NetworkSizes, outputs: int) -> nn.Sequential:
    """Layers from codes to planes of so many channels, at twice the codes' resolution."""
    width = sizes.decoder_width
    return nn.Sequential(
        GroupConv(sizes.code_channels, width),
        PlaneMixing(width),
        PlaneBlock(width, width),
        PlaneMixing(width),
        PlaneBlock(width, width),
        PlaneMixing(width),
        nn.Upsample(scale_factor=CODE_STRIDE, mode="nearest"),
        PlaneBlock(width, width),
        GroupConv(width, outputs, kernel=1),
    )


def near_surface(tsdf: Tensor) -> Tensor:
    """How much the colour of a voxel counts: 1 at the surface, 0 from the truncation on."""
    return functional.relu(1.0 - tsdf.abs())


def _make_head(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, outputs)
    )


def _split_planes(planes: Float[Tensor, "b c r r"]) -> Float[Tensor, "b 3 f r r"]:
    return planes.reshape(len(planes), NUM_PLANES, -1, *planes.shape[-2:])
