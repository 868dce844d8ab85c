"""Owns the network that takes noise off latent planes, knowing a layout and whatever geometry is there already."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scene3d.generation.autoencoder import VOXEL_CHANNELS
from scene3d.generation.layers import GroupConv, PlaneAttention, PlaneBlock, PlaneMixing
from scene3d.generation.spec import CODE_STRIDE, NUM_PLANES, ModelConfig
from scene3d.generation.triplane import slice_voxels

_TIME_WIDTH = 128


class Condition(NamedTuple):
    """What the denoiser is told about a block; it does not depend on the noise, so it is computed once."""

    geometry: Float[Tensor, "b c s s"]
    """Features of the known voxels, three planes."""

    layout: Float[Tensor, "b d s s"]
    """Shares of the classes, three planes."""


class Denoiser(nn.Module):
    """A small U-Net on three planes that predicts v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) codes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes, width = config.sizes, config.sizes.denoiser_width
        geometry_channels = (VOXEL_CHANNELS + 1) * config.spec.block_voxels
        self.geometry = nn.Sequential(
            GroupConv(geometry_channels, sizes.condition_channels, kernel=2 * CODE_STRIDE, stride=CODE_STRIDE),
            nn.SiLU(),
            GroupConv(sizes.condition_channels, sizes.condition_channels),
        )
        self.time = nn.Sequential(
            nn.Linear(_TIME_WIDTH, _TIME_WIDTH), nn.SiLU(), nn.Linear(_TIME_WIDTH, _TIME_WIDTH), nn.SiLU()
        )
        inputs = sizes.code_channels + sizes.condition_channels + len(config.spec.classes)
        self.enter = GroupConv(inputs, width)
        self.fine_down = _Stage(width, width)
        self.down = GroupConv(width, 2 * width, kernel=4, stride=2)
        self.coarse_down = _Stage(2 * width, 2 * width)
        self.attention = PlaneAttention(2 * width) if sizes.attention else nn.Identity()
        self.coarse_up = _Stage(2 * width, 2 * width)
        self.up = GroupConv(2 * width, width)
        self.fine_up = _Stage(2 * width, width)
        self.leave = GroupConv(width, sizes.code_channels, zero=True)

    def condition(
        self,
        voxels: Float[Tensor, "b 4 k k k"],
        known: Float[Tensor, "b 1 k k k"],
        layout: Float[Tensor, "b n s s"],
    ) -> Condition:
        """What is known about blocks.

        Args:
            voxels: As for `AutoEncoder.encode`; only what is known is looked at.
            known: 1 where it is.
            layout: Share of each class in each column of the floor plan [x, z]; all 0 where nothing is asked for.
        """
        # Outside what is known the truncation says nothing, and 0 is neither inside nor outside.
        seen = torch.cat([voxels * known, known], dim=1)
        return Condition(self.geometry(slice_voxels(seen)), spread_layout(layout))

    def forward(
        self, noisy: Float[Tensor, "b 3 z s s"], timestep: Float[Tensor, "b"], condition: Condition
    ) -> Float[Tensor, "b 3 z s s"]:
        """The predicted v for normalised codes at a time 0 (clean) to 1000 (noise)."""
        time = self.time(embed_time(timestep))
        fine = self.fine_down(self.enter(_join(noisy.flatten(1, 2), *condition)), time)
        coarse = self.coarse_down(self.down(fine), time)
        coarse = self.coarse_up(self.attention(coarse), time)
        risen = self.up(functional.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        return self.leave(self.fine_up(_join(risen, fine), time)).reshape(noisy.shape)


class _Stage(nn.Module):
    """A block, mixing of the planes, and a second block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = PlaneBlock(inputs, outputs, time_width=_TIME_WIDTH)
        self.mixing = PlaneMixing(outputs)
        self.second = PlaneBlock(outputs, outputs, time_width=_TIME_WIDTH)
        self.mixing_after = PlaneMixing(outputs)

    def forward(self, planes: Float[Tensor, "b c r r"], time: Float[Tensor, "b t"]) -> Tensor:
        return self.mixing_after(self.second(self.mixing(self.first(planes, time)), time))


def spread_layout(layout: Float[Tensor, "b n s s"]) -> Float[Tensor, "b d s s"]:
    """A floor plan for all three planes: xy and zy get the largest share along the axis that they lack.

    Returns:
        Channels 3 n: xy, xz, zy.
    """
    along_x = layout.amax(dim=3, keepdim=True).expand(layout.shape)
    along_z = layout.amax(dim=2)[..., None].expand(layout.shape)
    return torch.cat([along_x, layout, along_z], dim=1)


def embed_time(timestep: Float[Tensor, "b"]) -> Float[Tensor, "b t"]:
    """Sines and cosines of a time 0 to 1000 at wavelengths from 6 to 60,000."""
    half = _TIME_WIDTH // 2
    rates = torch.exp(torch.arange(half, device=timestep.device) * (-math.log(10_000.0) / half))
    angles = timestep[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _join(*parts: Float[Tensor, "b _ r r"]) -> Float[Tensor, "b c r r"]:
    """Concatenate channels plane by plane."""
    split = [part.reshape(len(part), NUM_PLANES, -1, *part.shape[-2:]) for part in parts]
    return torch.cat(split, dim=2).flatten(1, 2)
