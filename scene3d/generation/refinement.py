"""Owns codes fitted to one block: from what the encoder says to what its known voxels say."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from scene3d.generation.model import Model
from scene3d.generation.objectives import cut_off_error
from scene3d.generation.strips import continue_known
from scene3d.generation.voxel_tensors import mask_tensor, tensor_from_values

_STEPS = 60
_RATE = 0.05
_NEAR_WEIGHT = 4.0
"""Voxels near a surface count so much more than others."""


def refine_codes(
    model: Model,
    values: Float32[np.ndarray, "b k k k 4"],
    known: Bool[np.ndarray, "b k k k"],
    *,
    steps: int = _STEPS,
) -> Float[Tensor, "b 3 z s s"]:
    """Codes, not normalised, whose decoded field fits the known voxels.

    Only the codes move, not the decoder: the result stays what the decoder can say, and what is unknown stays what
    the encoder guessed from the nearest known voxels.

    Args:
        model: Of the codes.
        values: Voxels in the world's axes; see `voxel_tensors`.
        known: Which of them count.
        steps: Of the optimizer.
    """
    whole = np.stack([continue_known(part, seen) for part, seen in zip(values, known, strict=True)])
    network, target, mask = model.autoencoder, tensor_from_values(values)[:, 0], mask_tensor(known).float()
    with torch.no_grad():
        start = network.encode(tensor_from_values(whole)).mean
    weight = mask * (1.0 + _NEAR_WEIGHT * (target.abs() < 0.5))
    weight = weight / weight.sum().clamp(min=1.0)
    spread = model.code_std[..., None, None]
    shift = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=_RATE)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            found = network.query_grid(network.decode(start + shift * spread), target.shape[-1], cut=False)
            (cut_off_error(found.tsdf, target) * weight).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return (start + shift * spread).detach()
