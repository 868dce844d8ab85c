"""Owns what the networks are trained for: the loss of one step of the auto-encoder, and of the denoiser."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scene3d.generation.batches import Batch, disturb, make_known_masks
from scene3d.generation.diffusion import NUM_TIMESTEPS, add_noise, make_velocity, snr_weight
from scene3d.generation.model import Model
from scene3d.generation.strips import find_known_shares
from scene3d.generation.train_settings import TrainSettings
from scene3d.generation.triplane import grid_points

_DISTANCE_WEIGHT, _COLOR_WEIGHT = 2.5, 1.0
_COLOR_REACH = 0.5
"""Colour counts so near the surface, in units of the truncation."""

_TRUSTED_FROM = 0.5
"""A code counts from this share of known voxels in its slab on, and fully where all are known."""


def autoencoder_loss(
    model: Model, batch: Batch, settings: TrainSettings, generator: torch.Generator
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Difference of the decoded field from the voxels, at places half of which lie near a surface."""
    network = model.autoencoder
    posterior = network.encode(batch.voxels)
    triplane = network.decode(posterior.sample(generator))
    points = choose_points(batch, settings.points, generator)
    wanted = _read_voxels(torch.cat([batch.voxels[:, :1], batch.rgb], dim=1), points)
    found = network.query(triplane, points)
    tsdf, rgb = wanted[..., 0], wanted[..., 1:]
    distance = cut_off_error(found.tsdf, tsdf).mean()
    near = (tsdf.abs() < _COLOR_REACH).float()
    color = ((found.rgb - rgb).abs().mean(-1) * near).sum() / near.sum().clamp(min=1.0)
    divergence = posterior.divergence()
    loss = _DISTANCE_WEIGHT * distance + _COLOR_WEIGHT * color + settings.divergence_weight * divergence
    return loss, {"distance": distance, "colour": color, "divergence": divergence}


def denoiser_loss(
    model: Model, batch: Batch, settings: TrainSettings, generator: torch.Generator
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Error of the predicted v at random times, for blocks of which random parts are known.

    Codes of what was never observed do not count: their part of the error is left out.
    """
    size, device = len(batch.voxels), batch.voxels.device
    with torch.no_grad():
        codes = model.normalise(model.autoencoder.encode(batch.voxels).sample(generator))
    known = make_known_masks(batch.voxels, generator) & batch.known
    seen = disturb(batch.voxels, generator)
    told = (torch.rand(size, generator=generator) >= settings.layout_dropped).to(device)
    condition = model.denoiser.condition(seen, known.float(), batch.layout * told[:, None, None, None])
    timestep = torch.randint(NUM_TIMESTEPS, (size,), generator=generator).to(device)
    noise = torch.randn(codes.shape, generator=generator).to(device)
    predicted = model.denoiser(add_noise(codes, noise, timestep), timestep.float(), condition)
    squared = (predicted - make_velocity(codes, noise, timestep)) ** 2
    shares = find_known_shares(batch.known[:, 0])
    counts = ((shares - _TRUSTED_FROM) / (1.0 - _TRUSTED_FROM)).clamp(min=0.0).expand(squared.shape)
    error = (squared * counts).sum(dim=(1, 2, 3, 4)) / counts.sum(dim=(1, 2, 3, 4)).clamp(min=1.0)
    return (error * snr_weight(timestep)).mean(), {"velocity": error.mean()}


def choose_points(batch: Batch, count: int, generator: torch.Generator) -> Float[Tensor, "b n 3"]:
    """Random places in known voxels, half of them in voxels near a surface."""
    side, device = batch.voxels.shape[-1], batch.voxels.device
    near = (batch.voxels[:, 0].abs() < 1.0).flatten(1).float()
    known = batch.known.flatten(1).float()
    chance = known * (near / near.sum(1, keepdim=True).clamp(min=1.0) + 1.0 / near.shape[1])
    chosen = torch.multinomial(chance.cpu(), count, replacement=True, generator=generator)
    jitter = torch.rand((*chosen.shape, 3), generator=generator) - 0.5
    return (grid_points(side)[chosen] + jitter * (2.0 / side)).to(device)


def cut_off_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Absolute difference, where a distance beyond the truncation is as good as the truncation."""
    beyond = ((wanted >= 1.0) & (found > 1.0)) | ((wanted <= -1.0) & (found < -1.0))
    return torch.where(beyond, 0.0, (found - wanted).abs())


def _read_voxels(voxels: Float[Tensor, "b c k k k"], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n c"]:
    """Trilinear values at points of the cube."""
    where = points.flip(-1)[:, None, None]
    values = functional.grid_sample(voxels, where, mode="bilinear", padding_mode="border", align_corners=False)
    return values[:, :, 0, 0].transpose(1, 2)
