"""Owns fitting three planes to each block, read by one small network for all: the first stage of BlockFusion.

It takes seconds for each block where the amortised encoder takes milliseconds, and is kept to compare with it. As
published: the sum of the planes' values, softplus layers, losses on and off the surface, on normals and on slopes
(eikonal), gradients by central differences, planes that grow from coarse to fine with a new optimizer each time, and
cosine rates. Other than published: pixels are areas (align_corners=False), differences reach over one pixel (over a
millionth they are noise in single precision), planes begin with a little noise, the same for every block, and distances
stop at the truncation.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scene3d.errors import SettingsError
from scene3d.generation.objectives import cut_off_error
from scene3d.generation.plane_samples import PlaneSamples
from scene3d.generation.spec import NUM_PLANES, GeneratorSpec
from scene3d.generation.triplane import grid_points, sample_planes

_EIKONAL, _NORMAL, _SURFACE, _DISTANCE = 2.0, 5.0, 100.0, 50.0
"""Weights of the losses (BlockFusion)."""

_COARSEST_PX = 4
_LAST_RATE = 1e-3
_FIRST_SPREAD = 0.1
_SHARPNESS = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How planes are fitted to blocks."""

    channels: int = 8
    """Of each plane."""

    side: int = 16
    """Pixels along each side of a plane: the coarsest, 4, times a power of two."""

    width: int = 32
    """Neurons in each of the three hidden layers of the shared network."""

    steps: int = 200
    """Of the optimizer for each batch of blocks."""

    points: int = 384
    """On the surface, beside it, and anywhere, in each step and block."""

    plane_rate: float = 5e-2
    """Learning rate of planes."""

    head_rate: float = 1e-3
    """Learning rate of the network."""

    def __post_init__(self) -> None:
        if self.side < _COARSEST_PX or self.side & (self.side - 1):
            raise SettingsError(f"planes of {self.side} pixels a side; it must be a power of two, at least 4")
        if min(self.channels, self.width, self.steps, self.points) < 1:
            raise SettingsError("channels, width, steps and points must be at least 1")

    @property
    def sides(self) -> tuple[int, ...]:
        """Sizes of the planes, coarse to fine; each is fitted for as many steps as the others."""
        return tuple(_COARSEST_PX << level for level in range(int(math.log2(self.side // _COARSEST_PX)) + 1))


class PlaneHead(nn.Module):
    """Reads signed distance, in halves of a block's edge, from the sum of three planes."""

    first: Tensor
    """Where the planes of every block begin [1, 3, f, 4, 4]: equal shapes shall end with nearly equal planes."""

    def __init__(self, settings: FitSettings, generator: torch.Generator) -> None:
        super().__init__()
        widths = [settings.channels, settings.width, settings.width, settings.width]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.Softplus(beta=_SHARPNESS)]
        self.layers = nn.Sequential(*layers, nn.Linear(settings.width, 1))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)
        shape = (1, NUM_PLANES, settings.channels, _COARSEST_PX, _COARSEST_PX)
        self.register_buffer("first", _FIRST_SPREAD * torch.randn(shape, generator=generator))

    def forward(self, planes: Float[Tensor, "b 3 f r r"], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n"]:
        """Distances at points of the cube; differentiable in all."""
        found: Tensor = self.layers(sample_planes(planes, points))[..., 0]
        return found


def fit_planes(
    samples: PlaneSamples,
    head: PlaneHead,
    spec: GeneratorSpec,
    settings: FitSettings,
    generator: torch.Generator,
    *,
    train_head: bool = False,
) -> Float[Tensor, "b 3 f r r"]:
    """Planes of some blocks.

    Args:
        samples: Of the blocks.
        head: Reads the planes.
        spec: The blocks.
        settings: How.
        generator: Of the choice of points.
        train_head: Change the network as well, as for the first blocks; else it is frozen.
    """
    planes = head.first.repeat(len(samples.surface), 1, 1, 1, 1)
    head.requires_grad_(train_head)
    level_steps = -(-settings.steps // len(settings.sides))
    step = 0
    for side in settings.sides:
        if planes.shape[-1] != side:
            flat = functional.interpolate(planes.flatten(0, 1), (side, side), mode="bilinear", align_corners=False)
            planes = flat.reshape(*planes.shape[:3], side, side)
        planes = planes.detach().requires_grad_(True)
        groups = [{"params": [planes], "base": settings.plane_rate}]
        if train_head:
            groups.append({"params": list(head.parameters()), "base": settings.head_rate})
        optimizer = torch.optim.Adam(groups, lr=settings.plane_rate)
        for _ in range(level_steps):
            part = step / (level_steps * len(settings.sides))
            falling = _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * part))
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * falling
            optimizer.zero_grad(set_to_none=True)
            loss = fit_loss(planes, head, samples.choose(settings.points, generator), spec, generator)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
    head.requires_grad_(False)
    return planes.detach()


def fit_loss(
    planes: Float[Tensor, "b 3 f r r"],
    head: PlaneHead,
    samples: PlaneSamples,
    spec: GeneratorSpec,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """How far planes are from blocks: on the surface, beside it, in their normals, and from slope 1 everywhere."""
    reach = 2.0 / planes.shape[-1]
    distance = cut_off_error(head(planes, samples.places) / spec.truncation, samples.sdf / spec.truncation)
    anywhere = torch.rand(samples.places.shape, generator=generator) * 2.0 - 1.0
    slopes = differences(planes, head, torch.cat([samples.surface, anywhere], dim=1), reach)
    on_surface, elsewhere = slopes[:, : samples.surface.shape[1]], slopes[:, samples.surface.shape[1] :]
    has, count = samples.has_surface[:, None], samples.has_surface.sum().clamp(min=1.0) * samples.surface.shape[1]
    surface = (head(planes, samples.surface).abs() * has).sum() / count
    normal = ((on_surface - samples.normals).norm(dim=-1) * has).sum() / count
    eikonal = ((elsewhere.norm(dim=-1) - 1.0) ** 2).mean()
    distance = distance.mean() * spec.truncation
    return _EIKONAL * eikonal + _NORMAL * normal + _SURFACE * surface + _DISTANCE * distance


def differences(
    planes: Float[Tensor, "b 3 f r r"], head: PlaneHead, points: Float[Tensor, "b n 3"], reach: float
) -> Float[Tensor, "b n 3"]:
    """Slopes by central differences; points at the cube's sides are moved in, so that both ends lie in it."""
    middle = points.clamp(-1.0 + reach, 1.0 - reach)
    steps = torch.eye(3) * reach
    ends = torch.cat([middle + steps[axis] * sign for axis in range(3) for sign in (1.0, -1.0)], dim=1)
    values = head(planes, ends).reshape(len(points), 3, 2, -1)
    return ((values[:, :, 0] - values[:, :, 1]) / (2.0 * reach)).transpose(1, 2)


def query_planes(planes: Float[Tensor, "b 3 f r r"], head: PlaneHead, spec: GeneratorSpec) -> Float[Tensor, "b k k k"]:
    """Distances over the truncation, cut off, at the centres of a block's voxels."""
    side = spec.block_voxels
    with torch.no_grad():
        found = head(planes, grid_points(side).expand(len(planes), -1, 3))
    return (found / spec.truncation).clamp(-1.0, 1.0).reshape(-1, side, side, side)
