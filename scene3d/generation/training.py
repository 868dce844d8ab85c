"""Owns the training of a generator: auto-encoder, then the spread of its codes, then the denoiser; resumable."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from scene3d.errors import Diverged, InputError
from scene3d.events import Quiet, Reporter
from scene3d.generation.batches import Batch, crop_batch
from scene3d.generation.model import Model
from scene3d.generation.objectives import autoencoder_loss, denoiser_loss
from scene3d.generation.site_store import SiteSet
from scene3d.generation.train_settings import TrainSettings
from scene3d.generation.train_state import STAGES, StageName, TrainState, make_state, restore_state
from scene3d.io.checkpoint import load_checkpoint, save_checkpoint
from scene3d.seeding import make_generator

_WARM_STEPS = 50
_LAST_RATE = 0.05
_LARGEST_STEP = 1.0
_ROW_STEPS = 10
"""Losses are kept as means over so many steps."""

_STATISTICS_BATCHES, _STATISTICS_SIZE = 16, 16


def train_generator(
    settings: TrainSettings,
    sites: SiteSet,
    folder: Path,
    *,
    resume: bool = False,
    start: Model | None = None,
    device: torch.device | None = None,
    reporter: Reporter | None = None,
) -> TrainState:
    """Train both networks.

    A step's randomness follows from the seed and the step's number, so a training that was interrupted and goes on
    ends with the same bytes as one that was not.

    Args:
        settings: How.
        sites: Where blocks are cropped, without those held out.
        folder: For the checkpoints.
        resume: Go on from the newest checkpoint of the folder, where there is one.
        start: Begin with the weights of these networks; with random ones if not given.
        device: Where the networks are; the CPU if not given.
        reporter: Told about each step.

    Raises:
        Diverged: The loss is no number.
        InputError: There are checkpoints but none can be used.
    """
    device, reporter = device or torch.device("cpu"), reporter or Quiet()
    state = make_state(settings, device, start)
    saved = load_checkpoint(folder) if resume else None
    if saved is not None:
        state = restore_state(settings, saved.tensors, saved.record, device)
        reporter.note(f"going on with step {state.step} of the {state.stage}")
    for stage in STAGES[STAGES.index(state.stage) :]:
        if stage != state.stage:
            if settings.autoencoder_steps or start is None:
                state.model = measure_codes(state.model, sites, settings)
            state.enter(stage, settings)
            save_checkpoint(folder, state.to_tensors(), state.record())
        _train_stage(state, settings, sites, folder, reporter)
    return state


def measure_codes(model: Model, sites: SiteSet, settings: TrainSettings) -> Model:
    """The model with mean and spread of the codes of many blocks."""
    generator = make_generator(settings.seed, "code statistics")
    with torch.no_grad():
        batches = [_batch(sites, settings, _STATISTICS_SIZE, generator, model) for _ in range(_STATISTICS_BATCHES)]
        codes = torch.cat([model.autoencoder.encode(batch.voxels).sample(generator) for batch in batches])
    mean, std = codes.mean(dim=(0, 3, 4)), codes.std(dim=(0, 3, 4))
    return Model(model.config, model.autoencoder, model.denoiser, mean, std.clamp(min=1e-3))


def _train_stage(state: TrainState, settings: TrainSettings, sites: SiteSet, folder: Path, reporter: Reporter) -> None:
    stage = state.stage
    steps = settings.autoencoder_steps if stage == "autoencoder" else settings.denoiser_steps
    if state.step >= steps:
        return
    reporter.start(stage, steps)
    rows: list[dict[str, float]] = []
    while state.step < steps:
        figures = _train_step(state, settings, sites, steps)
        rows.append(figures)
        if len(rows) == _ROW_STEPS or state.step == steps:
            means = {name: sum(row[name] for row in rows) / len(rows) for name in figures}
            _check_finite(means, stage, state.step)
            state.losses[stage].append([state.step, *means.values()])
            reporter.advance(stage, state.step, **means)
            rows = []
        if state.step % settings.checkpoint_steps == 0 and state.step < steps:
            save_checkpoint(folder, state.to_tensors(), state.record())
    state.adopt_averages()
    save_checkpoint(folder, state.to_tensors(), state.record())
    reporter.finish(stage)


def _train_step(state: TrainState, settings: TrainSettings, sites: SiteSet, steps: int) -> dict[str, float]:
    stage = state.stage
    generator = make_generator(settings.seed, f"{stage} step {state.step}")
    size = settings.autoencoder_batch if stage == "autoencoder" else settings.denoiser_batch
    batch = _batch(sites, settings, size, generator, state.model)
    objective = autoencoder_loss if stage == "autoencoder" else denoiser_loss
    loss, figures = objective(state.model, batch, settings, generator)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    clip_grad_norm_(state.network().parameters(), _LARGEST_STEP)
    for group in state.optimizer.param_groups:
        group["lr"] = _rate(settings, stage, state.step, steps)
    state.optimizer.step()
    state.step += 1
    state.average(settings.ema_decay)
    return {"loss": float(loss.detach()), **{name: float(value.detach()) for name, value in figures.items()}}


def _rate(settings: TrainSettings, stage: StageName, step: int, steps: int) -> float:
    """Linear at first, then half a cosine down to a twentieth."""
    base = settings.autoencoder_rate if stage == "autoencoder" else settings.denoiser_rate
    warm = min(1.0, (step + 1) / min(_WARM_STEPS, max(1, steps // 10)))
    falling = _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
    return base * warm * falling


def _batch(sites: SiteSet, settings: TrainSettings, size: int, generator: torch.Generator, model: Model) -> Batch:
    batch = crop_batch(sites, settings.config.spec, size, generator)
    device: torch.device = model.code_mean.device
    return Batch(*(_to(part, device) for part in batch))


def _to(part: Tensor, device: torch.device) -> Tensor:
    return part.to(device)


def _check_finite(means: dict[str, float], stage: str, step: int) -> None:
    if not all(math.isfinite(value) for value in means.values()):
        raise Diverged(
            f"the {stage}'s loss is no number after {step:,} steps", remedy="train again with half the learning rate"
        )


def check_new(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that already holds a training, unless it is to go on.

    Raises:
        InputError: It does.
    """
    if not resume and (folder / "checkpoints").is_dir():
        raise InputError("holds a training already", where=folder, remedy="add --resume, or choose another folder")
