"""Owns one block of anchors at work: what its trainer needs, made once per process, and what it leaves at the end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from blocks.block_folder import BlockFolder, save_block
from blocks.block_training import BlockJob, limit_block, make_block_start, make_surroundings
from blocks.run_progress import OnlyNotes
from blocks.settings import RunSettings
from blocks.weighting import Quality, measure_quality
from scene3d.data.loader import ImageLoader
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians, resize_sh
from scene3d.io.anchor_file import write_anchors
from scene3d.io.atomic import make_folder
from scene3d.training.anchor_field import AnchorField
from scene3d.training.field import Field
from scene3d.training.first_field import make_first_field
from scene3d.training.hooks import Surroundings, TrainingHooks
from scene3d.training.preparation import choose_device, find_scene_scale, open_photos
from scene3d.training.shared_decoder import SharedDecoder
from scene3d.training.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockOutfit:
    """What does not change from turn to turn of a block."""

    views: Sequence[int]
    """Of the capture."""

    settings: RunSettings
    """With the cap on its rows, and its part of the memory given."""

    surroundings: Surroundings
    scene_scale: float
    device: torch.device


@dataclass(slots=True, kw_only=True, eq=False)
class Seat:
    """A block at work."""

    index: int
    trainer: Trainer
    photos: ImageLoader
    outfit: BlockOutfit

    def measure(self) -> Quality:
        """How well it shows its probe views now."""
        settings, trainer = self.outfit.settings, self.trainer
        gaussians = trainer.field.baked(settings.sh_degree)
        backdrop = self.outfit.surroundings.backdrop
        if backdrop is not None:
            backdrop = replace(backdrop, sh=resize_sh(backdrop.sh, gaussians.sh_degree))
            gaussians = Gaussians.concatenate([gaussians, backdrop])
        backend = None if settings.backend == "auto" else settings.backend
        return measure_quality(gaussians, trainer.exposure, self.photos, self.outfit.views, backend=backend)

    def close(self) -> None:
        """Ends the reading of photographs."""
        self.photos.close()


def make_outfit(job: BlockJob, decoder: SharedDecoder, num_lanes: int, reporter: Reporter) -> tuple[BlockOutfit, Field]:
    """What a block needs in every turn, and the anchors that it begins with.

    Args:
        job: The block.
        decoder: Of all blocks.
        num_lanes: Blocks that share the memory given.
        reporter: Hears what was thinned.

    Raises:
        LimitExceeded: The block does not fit into its part of the memory.
    """
    reporter = OnlyNotes(reporter, f"block {job.folder.root.name}")
    job = replace(job, settings=replace(job.settings, memory_gb=job.settings.memory_gb / num_lanes))
    views, device = job.plan.find_views(job.index, job.prepared.capture), choose_device(job.settings)
    start = make_block_start(job, views, reporter)
    field = make_first_field(start, job.settings, shared=decoder, device=device)
    settings = limit_block(job, views, field.num_gaussians)
    surroundings = make_surroundings(job, views, settings, reporter)
    outfit = BlockOutfit(
        views=views,
        settings=settings,
        surroundings=replace(surroundings, shared=decoder, steps_shared=False),
        scene_scale=find_scene_scale(job.prepared.capture, views),
        device=device,
    )
    return outfit, field


def make_blank_field(outfit: BlockOutfit) -> Field:
    """A field of one anchor, for a state to be put into."""
    blank = Gaussians(
        means=torch.zeros(1, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]),
        log_scales=torch.zeros(1, 3),
        opacity_logits=torch.zeros(1),
        sh=torch.zeros(1, 1, 3),
    )
    return make_first_field(blank, outfit.settings, shared=outfit.surroundings.shared, device=outfit.device)


def open_seat(job: BlockJob, outfit: BlockOutfit, field: Field, *, hooks: TrainingHooks, reporter: Reporter) -> Seat:
    """A block ready to work.

    Args:
        job: The block.
        outfit: Its own.
        field: What it begins with, or what a state is then put into.
        hooks: For rolling back.
        reporter: Hears warnings.
    """
    photos = open_photos(job.prepared.capture, outfit.views, outfit.settings)
    trainer = Trainer(
        field,
        photos,
        outfit.views,
        outfit.settings,
        scene_scale=outfit.scene_scale,
        surroundings=outfit.surroundings,
        hooks=hooks,
        reporter=OnlyNotes(reporter, f"block {job.folder.root.name}"),
    )
    return Seat(index=job.index, trainer=trainer, photos=photos, outfit=outfit)


def finish_block(job: BlockJob, seat: Seat, decoder: SharedDecoder, peak_bytes: int | None) -> None:
    """Keep a trained block: its anchors with the decoder, the Gaussians they stand for, and the record last."""
    field = seat.trainer.field
    assert isinstance(field, AnchorField), "turns train anchors"
    folder: BlockFolder = job.folder
    anchors = field.anchors().detach().to("cpu")
    make_folder(folder.root)
    sha256 = write_anchors(folder.anchors, anchors, decoder.student)
    record = {
        "iterations": seat.trainer.iteration,
        "train_seconds": seat.trainer.seconds,
        "peak_memory_bytes": peak_bytes,
        "num_anchors": len(anchors),
        "offsets_per_anchor": anchors.num_offsets,
        "anchors_sha256": sha256,
        "decoder_sha256": decoder.checksum(),
    }
    with torch.no_grad():
        gaussians = field.baked(seat.outfit.settings.sh_degree).to("cpu")
    save_block(folder, gaussians, job.plan.sha256, record)
