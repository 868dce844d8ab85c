"""Owns training one block: what it starts from, what it is trained amid, and what it leaves in its folder."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from blocks.block_folder import BlockFolder, save_block
from blocks.global_stage import IMAGE_SCALE, Shared, block_exposure
from blocks.plan import FAR, BlockPlan
from blocks.settings import RunSettings
from blocks.survey import find_projected
from scene3d.data.capture import Capture, SparsePoints
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.checkpoint import save_checkpoint
from scene3d.render import max_blending_weights
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.hooks import Surroundings, TrainingHooks
from scene3d.training.memory import affordable_gaussians, forget_peak, peak_memory_bytes, release_memory
from scene3d.training.preparation import (
    Prepared,
    choose_device,
    find_scene_scale,
    gaussians_for_views,
    largest_image,
    limit_growth,
    make_terms,
    open_photos,
)
from scene3d.training.run import load_state, settings_identity
from scene3d.training.trainer import Trainer

STAGE = "blocks"

MIN_WEIGHT = 1 / 255
"""A Gaussian that never makes up this much of a pixel is not seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockJob:
    """Everything that training one block needs; jobs know nothing of each other."""

    folder: BlockFolder
    prepared: Prepared
    plan: BlockPlan
    index: int
    shared: Shared
    settings: RunSettings


def train_block(job: BlockJob, *, resume: bool, reporter: Reporter) -> None:
    """Train one block to its end and keep it; its checkpoints are then no longer needed.

    Raises:
        Diverged: Training could not be kept finite.
        LimitExceeded: The block does not fit into the memory given.
        InputError: Too few of its photographs can be read.
    """
    release_memory()
    forget_peak()
    capture = job.prepared.capture
    views = job.plan.find_views(job.index, capture)
    start = make_block_start(job, views, reporter)
    settings = limit_block(job, views, len(start))
    loader = open_photos(capture, views, settings)
    identity = _identity(job)
    hooks = TrainingHooks(
        save=lambda tensors, record: save_checkpoint(job.folder.checkpoints, tensors, {**record, "identity": identity}),
        load=lambda: load_state(job.folder.checkpoints, identity),
    )
    field = ExplicitField(start.to(choose_device(settings)), sh_degree=0)
    trainer = Trainer(
        field,
        loader,
        views,
        settings,
        scene_scale=find_scene_scale(capture, views),
        surroundings=make_surroundings(job, views, settings, reporter),
        hooks=hooks,
        reporter=reporter,
    )
    try:
        state = load_state(job.folder.checkpoints, identity) if resume else None
        if state is not None:
            trainer.restore(state)
        trainer.run()
    finally:
        loader.close()
    save_block(job.folder, trainer.field.baked(settings.sh_degree).to("cpu"), job.plan.sha256, _facts(trainer))
    shutil.rmtree(job.folder.checkpoints, ignore_errors=True)


def limit_block(job: BlockJob, views: Sequence[int], num_gaussians: int) -> RunSettings:
    """The run's settings with the cap on Gaussians that this block's own pixels allow.

    Args:
        job: The block.
        views: Of the capture, that it is trained on.
        num_gaussians: That it begins with.

    Raises:
        LimitExceeded: Not even these fit into the memory given.
    """
    block, settings = job.plan.blocks[job.index], job.settings
    own_pixels = int(block.num_pixels * settings.image_scale**2)
    # Auxiliary Gaussians are not what the block's own pixels determine, so they come on top.
    around = max(0, num_gaussians - block.num_points * gaussians_per_point(settings))
    num_pixels = own_pixels + int(around * settings.density.pixels_per_gaussian)
    limited = limit_growth(settings, job.prepared.capture, views, num_gaussians, num_pixels=num_pixels)
    return replace(settings, density=limited.density, eval_every=0)


def make_block_start(job: BlockJob, views: Sequence[int], reporter: Reporter) -> Gaussians:
    """One Gaussian per sparse point on the block's own ground; outside the same, or what is seen of the coarse scene.

    Points are what only these views saw. Those outside are auxiliary; where they are too many for the memory given,
    they are thinned.
    """
    capture, plan, settings = job.prepared.capture, job.plan, job.settings
    started = gaussians_for_views(capture, views, find_block_points(capture, plan, views), settings)
    grows = _may_grow(plan, job.index, started.means)
    own = started.select(grows)
    if not settings.block.auxiliary:
        return own
    around = started.select(~grows) if settings.block.surroundings == "points" else find_surroundings(job, views)
    image_pixels = largest_image(capture, views, settings)
    most = affordable_gaussians(int(settings.memory_gb * 2**30), settings.sh_degree, image_pixels)
    most //= gaussians_per_point(settings)
    if len(own) + len(around) > most > len(own):
        places = most - len(own)
        reporter.note(f"{len(around):,} auxiliary Gaussians are thinned to {places:,} to fit the memory given")
        around = around.select(torch.linspace(0, len(around) - 1, places, dtype=torch.float64).long())
    return Gaussians.concatenate([own, around])


def find_surroundings(job: BlockJob, views: Sequence[int]) -> Gaussians:
    """The Gaussians of the coarse scene outside of where the block may grow; by default those that these views see."""
    coarse, scale = job.shared.coarse, job.settings.image_scale * IMAGE_SCALE
    outside = ~_may_grow(job.plan, job.index, coarse.means)
    if not job.settings.block.visibility_crop:
        return coarse.select(outside)
    cameras = [job.prepared.capture.views[i].camera.scaled(scale) for i in views]
    backend = None if job.settings.backend in ("auto", "gsplat") else job.settings.backend
    seen = max_blending_weights(coarse, cameras, backend=backend) > MIN_WEIGHT
    return coarse.select(seen & outside)


def find_block_points(capture: Capture, plan: BlockPlan, views: Sequence[int]) -> SparsePoints:
    """Sparse points that these views saw, or may have seen where nobody kept a record; none FAR."""
    points = capture.points
    if len(points.track_views):
        points = points.seen_by(views)
        points = points.subset(points.track_lengths > 0)
    elif len(points):
        seen = np.zeros(len(points), bool)
        seen[find_projected([capture.views[i].camera for i in views], points.positions)[0]] = True
        points = points.subset(seen)
    return points.subset(plan.owners(points.positions) != FAR)


def make_surroundings(job: BlockJob, views: Sequence[int], settings: RunSettings, reporter: Reporter) -> Surroundings:
    """Where the block may grow, what stands behind it, and how its photographs were exposed."""
    plan, device = job.plan, choose_device(settings)

    return Surroundings(
        region=(lambda means: _may_grow(plan, job.index, means)) if settings.block.auxiliary else None,
        backdrop=job.shared.far.to(device) if len(job.shared.far) else None,
        exposure=block_exposure(job.shared, plan, job.index, device),
        terms=make_terms(job.prepared.capture, views, settings, reporter),
        num_views=len(plan.views),
        stage=STAGE,
    )


def gaussians_per_point(settings: RunSettings) -> int:
    """Gaussians that one sparse point stands for at the start, at most."""
    return settings.anchors.offsets if settings.field == "anchors" else 1


def _identity(job: BlockJob) -> str:
    """Hash of everything that must be the same for a checkpoint of this block to be continued."""
    text = f"{settings_identity(job.settings, job.prepared)} {job.plan.sha256} {job.index}".encode()
    digest = hashlib.sha256(text)
    for part in (job.shared.far, job.shared.coarse):
        digest.update(part.means.numpy().tobytes())
    return digest.hexdigest()


def _facts(trainer: Trainer) -> dict[str, Any]:
    return {
        "iterations": trainer.iteration,
        "train_seconds": trainer.seconds,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _may_grow(plan: BlockPlan, index: int, means: Float[Tensor, "n 3"]) -> Bool[Tensor, "n"]:
    """Which places lie where a block may add Gaussians."""
    return torch.from_numpy(plan.may_grow(index, means.double().cpu().numpy())).to(means.device)
