"""Owns what one training step sees: blocks cropped, turned and mirrored at random, and what of them counts as known."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from scene3d.generation.autoencoder import near_surface
from scene3d.generation.site_store import SiteSet
from scene3d.generation.spec import CODE_STRIDE, GeneratorSpec

_WORLD_TO_BLOCK = (0, 2, 3, 1)
"""Axes of [b, x, y, z] of the world in the order of the block's: see block_frame."""


class Batch(NamedTuple):
    """Blocks in the block's axes."""

    voxels: Float[Tensor, "b 4 k k k"]
    """As `AutoEncoder.encode` takes them."""

    rgb: Float[Tensor, "b 3 k k k"]
    """Colour without the fading."""

    layout: Float[Tensor, "b n s s"]
    """Shares of the classes."""

    known: Bool[Tensor, "b 1 k k k"]
    """Where the values are true."""


def crop_batch(
    sites: SiteSet, spec: GeneratorSpec, size: int, generator: torch.Generator, *, turn: bool = True
) -> Batch:
    """Blocks from random places of random sites."""
    side = spec.block_voxels
    room = [sites.tsdf.shape[axis] - side + 1 for axis in (1, 2)]
    which = torch.randint(len(sites), (size,), generator=generator).tolist()
    first = [torch.randint(one, (size,), generator=generator).tolist() for one in room]
    turns = torch.randint(8 if turn else 1, (size,), generator=generator).tolist()
    places = list(zip(which, *first, turns, strict=True))
    parts = []
    for name in ("tsdf", "rgb", "class_id", "known"):
        source = getattr(sites, name)
        cut = [_turned(source[n, x : x + side, y : y + side], turn) for n, x, y, turn in places]
        parts.append(torch.stack(cut))
    return make_batch(parts[0], parts[1], parts[2], parts[3], num_classes=len(spec.classes))


def make_batch(tsdf: Tensor, rgb: Tensor, class_id: Tensor, known: Tensor, *, num_classes: int) -> Batch:
    """A batch from stacked crops [b, x, y, z(, 3)] and [b, x, y] in the world's axes."""
    distance = (tsdf.float() / 127.0).permute(_WORLD_TO_BLOCK)[:, None]
    color = (rgb.float() / 255.0).permute(0, 4, 2, 3, 1)
    is_class = class_id.transpose(1, 2)[:, None] == torch.arange(num_classes, device=class_id.device)[:, None, None]
    layout = functional.avg_pool2d(is_class.float(), CODE_STRIDE)
    voxels = torch.cat([distance, color * near_surface(distance)], dim=1)
    return Batch(voxels, color, layout, known.permute(_WORLD_TO_BLOCK)[:, None])


def make_known_masks(voxels: Float[Tensor, "b 4 k k k"], generator: torch.Generator) -> Bool[Tensor, "b 1 k k k"]:
    """What of each block counts as known: nothing, strips along one or two sides, a corner, a box, all but a box, and
    sometimes nothing deep inside matter, which no camera ever saw."""
    masks = [_one_mask(voxels.shape[-1], generator) for _ in range(len(voxels))]
    known = torch.stack(masks)[:, None].to(voxels.device)
    shallow = torch.rand(len(voxels), generator=generator) < 0.15
    return known & ~(shallow[:, None, None, None, None].to(voxels.device) & (voxels[:, :1] <= -1.0))


def disturb(voxels: Float[Tensor, "b 4 k k k"], generator: torch.Generator) -> Float[Tensor, "b 4 k k k"]:
    """Known voxels as they come in use: half of them softened, as if decoded, and all with a little noise."""
    soft = functional.avg_pool3d(voxels, 3, stride=1, padding=1, count_include_pad=False)
    chosen = torch.rand(len(voxels), generator=generator) < 0.5
    mixed = torch.where(chosen[:, None, None, None, None].to(voxels.device), soft, voxels)
    noise = 0.02 * torch.randn(voxels[:, :1].shape, generator=generator).to(voxels)
    return torch.cat([(mixed[:, :1] + noise).clamp(-1.0, 1.0), mixed[:, 1:]], dim=1)


def _one_mask(side: int, generator: torch.Generator) -> Bool[Tensor, "k k k"]:
    kind, *dice = torch.rand(12, generator=generator).tolist()
    mask = torch.zeros((side, side, side), dtype=torch.bool)
    if kind < 0.3:
        return mask
    if kind < 0.85:
        for axis, (there, usual, width, high) in ((0, dice[:4]), (2, dice[4:8])):
            if there < 0.65:
                count = round(side * (0.25 if usual < 0.6 else 0.2 + 0.3 * width))
                mask.transpose(0, axis)[side - count if high < 0.5 else 0 :][:count] = True
        return mask
    low = [round(side * 0.75 * one) for one in dice[:2]]
    size = [round(side * (0.25 + 0.5 * one)) for one in dice[2:4]]
    mask[low[0] : low[0] + size[0], :, low[1] : low[1] + size[1]] = True
    return ~mask if kind > 0.93 else mask


def _turned(crop: Tensor, turn: int) -> Tensor:
    """One of the eight turns and mirrorings about the vertical, of [x, y, ...]."""
    if turn & 4:
        crop = crop.transpose(0, 1)
    flips = [axis for axis in (0, 1) if turn & (1 << axis)]
    return crop.flip(flips) if flips else crop
