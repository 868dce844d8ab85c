"""Owns what one training step sees: blocks cropped, turned and mirrored at random, and what of them counts as known."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from scene3d.errors import InputError
from scene3d.generation.autoencoder import near_surface
from scene3d.generation.site_store import SiteSet
from scene3d.generation.spec import CODE_STRIDE, GeneratorSpec
from scene3d.generation.strips import continue_known

MIN_KNOWN = 0.5
"""A block of which less is known is cropped anew, if its site has better ones."""

_TRIES = 12
_WORLD_TO_BLOCK = (0, 2, 3, 1)
"""Axes of [b, x, y, z] of the world in the order of the block's: see block_frame."""


class Batch(NamedTuple):
    """Blocks in the block's axes."""

    voxels: Float[Tensor, "b 4 k k k"]
    """As `AutoEncoder.encode` takes them; where nothing is known, what the nearest known voxel says."""

    rgb: Float[Tensor, "b 3 k k k"]
    """Colour without the fading."""

    layout: Float[Tensor, "b n s s"]
    """Shares of the classes."""

    known: Bool[Tensor, "b 1 k k k"]
    """Where the values are true."""


def crop_batch(
    sites: SiteSet, spec: GeneratorSpec, size: int, generator: torch.Generator, *, turn: bool = True
) -> Batch:
    """Blocks from random places of random sites, of which enough is known.

    Raises:
        InputError: A site shows nothing in many places.
    """
    side = spec.block_voxels
    room = [sites.tsdf.shape[axis] - side + 1 for axis in (1, 2)]
    which = torch.randint(len(sites), (size,), generator=generator).tolist()
    first = [torch.randint(one, (size,), generator=generator).tolist() for one in room]
    turns = torch.randint(8 if turn else 1, (size,), generator=generator).tolist()
    places = list(zip(which, *first, strict=True))
    windows = [_find_known_window(sites, place, side, generator) for place in places]
    parts = []
    for name in ("tsdf", "rgb", "class_id", "known"):
        source = getattr(sites, name)
        cut = [_turned(source[window], turn) for window, turn in zip(windows, turns, strict=True)]
        parts.append(torch.stack(cut))
    return make_batch(parts[0], parts[1], parts[2], parts[3], num_classes=len(spec.classes))


def make_batch(tsdf: Tensor, rgb: Tensor, class_id: Tensor, known: Tensor, *, num_classes: int) -> Batch:
    """A batch from stacked crops [b, x, y, z(, 3)] and [b, x, y] in the world's axes.

    What is stored where nothing is known has no influence.
    """
    if not known.all():
        tsdf, rgb = _continued(tsdf, rgb, known)
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


def _find_known_window(
    sites: SiteSet, place: tuple[int, int, int], side: int, generator: torch.Generator
) -> tuple[int, slice, slice]:
    """The window at a place (site and first column), or where too little is known there, another of that site."""
    site, x, y = place
    room = [sites.tsdf.shape[axis] - side + 1 for axis in (1, 2)]
    best, best_share = None, 0.0
    for _ in range(_TRIES):
        window = (site, slice(x, x + side), slice(y, y + side))
        share = float(sites.known[window].float().mean())
        if share > best_share:
            best, best_share = window, share
        if best_share >= MIN_KNOWN:
            break
        x, y = (int(torch.randint(one, (), generator=generator)) for one in room)
    if best is None:
        raise InputError(f"nothing is known in {_TRIES} places of site {site}", remedy="leave it out")
    return best


def _continued(tsdf: Tensor, rgb: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Crops whose unknown voxels repeat the nearest known one, as they do when a block is grown."""
    stored = torch.cat([tsdf[..., None].short(), rgb.short()], dim=-1).numpy()
    whole = np.stack([continue_known(one, seen) for one, seen in zip(stored, known.numpy(), strict=True)])
    return torch.from_numpy(whole[..., 0]), torch.from_numpy(whole[..., 1:])


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
