"""Owns quick figures of a training on sites that it never saw."""

from dataclasses import replace

import torch

from scene3d.generation.autoencoder import FieldValues
from scene3d.generation.batches import Batch, crop_batch
from scene3d.generation.model import Model
from scene3d.generation.objectives import denoiser_loss
from scene3d.generation.site_store import SiteSet
from scene3d.generation.spec import GeneratorSpec
from scene3d.generation.train_settings import TrainSettings
from scene3d.seeding import make_generator

_BLOCKS = 32


def measure_held_out(model: Model, sites: SiteSet, settings: TrainSettings) -> dict[str, float]:
    """How well held-out blocks come back from their codes where they are known, and noise is told from codes."""
    generator = make_generator(settings.seed, "held out")
    spec = settings.config.spec
    with torch.no_grad():
        batch = crop_batch(sites, spec, _BLOCKS, generator, turn=False)
        found = reconstruct(model, batch)
        velocity = denoiser_loss(model, batch, replace(settings, layout_dropped=0.0), generator)[1]["velocity"]
    wanted, known = batch.voxels[:, 0], batch.known[:, 0]
    near = (wanted.abs() < 0.5) & known
    color = (found.rgb.movedim(-1, 1) - batch.rgb).abs().mean(1)[near].mean()
    return {
        "tsdf_l1": float((found.tsdf - wanted).abs()[known].mean()),
        "solid_iou": solid_iou(found.tsdf, wanted, known=known),
        "above_ground_iou": solid_iou(found.tsdf, wanted, known=known, from_level=ground_level(spec)),
        "color_l1": float(color),
        "velocity_mse": float(velocity),
    }


def reconstruct(model: Model, batch: Batch) -> FieldValues:
    """Blocks from the means of their codes, on the voxels' grid."""
    network = model.autoencoder
    side = batch.voxels.shape[-1]
    return network.query_grid(network.decode(network.encode(batch.voxels).mean), side)


def ground_level(spec: GeneratorSpec) -> int:
    """First layer of voxels that lies a whole voxel above the level ground."""
    return round(-spec.height_range[0] * spec.block_voxels) + 1


def solid_iou(
    one: torch.Tensor, other: torch.Tensor, *, known: torch.Tensor | None = None, from_level: int = 0
) -> float:
    """Solid voxels that two fields [b, x, y, z] of the block's axes share, over those of either; 1 where none are.

    Where it is not known, nothing counts.
    """
    first, second = ((part < 0 if known is None else (part < 0) & known)[:, :, from_level:] for part in (one, other))
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
