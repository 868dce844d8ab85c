"""Owns the main job: a capture goes in, a run folder with a scene and its measured quality comes out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from scene3d.config import settings_to_record, write_settings
from scene3d.data.capture import describe
from scene3d.data.loader import ImageLoader
from scene3d.data.split import Split, view_list_sha256
from scene3d.errors import InputError
from scene3d.events import EventLog, Quiet, Reporter, Tee
from scene3d.exporting import write_scene
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.atomic import write_json
from scene3d.io.checkpoint import load_checkpoint, save_checkpoint
from scene3d.metrics import psnr_db
from scene3d.render import render_view
from scene3d.training.field import Field
from scene3d.training.finishing import finish_field
from scene3d.training.first_field import in_one_piece, make_first_field, make_shared_decoder
from scene3d.training.hooks import Surroundings, TrainingHooks, TrainingState
from scene3d.training.memory import peak_memory_bytes
from scene3d.training.preparation import (
    Prepared,
    choose_device,
    count_pixels,
    find_scene_scale,
    limit_growth,
    make_initial_gaussians,
    make_terms,
    open_photos,
    prepare_training,
    start_exposure,
)
from scene3d.training.run_folder import RUN_SCHEMA_VERSION, RunFolder
from scene3d.training.settings import ReconstructSettings
from scene3d.training.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructResult:
    """What one reconstruction left behind."""

    run: RunFolder
    num_gaussians: int
    train_seconds: float
    peak_memory_bytes: int | None


def reconstruct(
    capture_path: Path,
    output: Path,
    settings: ReconstructSettings,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    prepared: Prepared | None = None,
) -> ReconstructResult:
    """Trains one scene from a capture and writes `merged/scene.ply` in the capture's own frame.

    Args:
        capture_path: A folder with poses (COLMAP or transforms.json) and photographs.
        output: The run folder; it must be new or empty unless `resume`.
        settings: How to train.
        resume: Go on from the last checkpoint of this folder.
        reporter: Hears of the progress, besides `events.jsonl`.
        prepared: What `prepare_training` made of this capture, if that was done already.

    Raises:
        InputError: The capture cannot be used, or the folder is taken.
        Diverged: Training could not be kept finite.
    """
    run = RunFolder(output)
    was_there = output.exists()
    prepared = prepared or prepare_training(capture_path, settings)
    check_run_folder(run, resume=resume)
    try:
        with run.locked():
            reporter = Tee(EventLog(run.events), reporter or Quiet())
            write_run_records(run, prepared, settings)
            for finding in prepared.findings:
                reporter.note(describe(finding), level=finding.severity.value)
            trainer = train(run, prepared, settings, resume=resume, reporter=reporter)
            gaussians, facts = finish_field(run, trainer.field, prepared, settings, reporter)
            write_merged(run, prepared, gaussians, settings, {"train_seconds": trainer.seconds, **facts})
    except InputError:
        if not was_there and not run.checkpoints.exists():
            leave_nothing_behind(run)
        raise
    return ReconstructResult(
        run=run,
        num_gaussians=len(gaussians),
        train_seconds=trainer.seconds,
        peak_memory_bytes=peak_memory_bytes(),
    )


def check_run_folder(run: RunFolder, *, resume: bool) -> None:
    """A new run never writes over an old one, and a resumed one must have begun."""
    if resume and not run.config.is_file():
        raise InputError("there is no run to resume", where=run.root, remedy="leave --resume out to start one")
    if not resume and run.root.is_dir() and any(run.root.iterdir()):
        raise InputError(
            "the output folder is not empty", where=run.root, remedy="choose another, or add --resume to go on"
        )


def write_run_records(run: RunFolder, prepared: Prepared, settings: ReconstructSettings) -> None:
    """Leaves settings, frame and split in the run folder."""
    write_settings(run.config, settings)
    capture, split = prepared.capture, prepared.split
    names = [view.name for view in capture.views]
    record = {
        "schema_version": RUN_SCHEMA_VERSION,
        "capture": str(capture.root.resolve()),
        "world_from_capture": capture.world_from_capture.to_record(),
        "split": {
            "rule": split.rule,
            "train": [names[i] for i in split.train],
            "test": [names[i] for i in split.test],
            "view_list_sha256": view_list_sha256([names[i] for i in split.test]),
        },
        "findings": [{**asdict(finding), "severity": finding.severity.value} for finding in prepared.findings],
    }
    write_json(run.capture, record)


def train(
    run: RunFolder, prepared: Prepared, settings: ReconstructSettings, *, resume: bool, reporter: Reporter
) -> Trainer:
    """Trains to the end, from the beginning or from the last checkpoint."""
    capture, split = prepared.capture, prepared.split
    identity = settings_identity(settings, prepared)
    hooks = TrainingHooks(
        save=lambda tensors, record: save_checkpoint(run.checkpoints, tensors, {**record, "identity": identity}),
        load=lambda: load_state(run.checkpoints, identity),
        look=lambda iteration, field: look_at_held_out(run, field, loader, split, settings, iteration),
    )
    settings, device = in_one_piece(settings), choose_device(settings)
    shared = make_shared_decoder(settings, steps=settings.iterations, device=device)
    first = make_initial_gaussians(capture, split, settings)
    field = make_first_field(first, settings, shared=shared, device=device)
    num_pixels = count_pixels(capture, split.train, settings)
    settings = limit_growth(settings, capture, split.train, field.num_gaussians, num_pixels=num_pixels)
    loader = open_photos(capture, split.train, settings)
    scale = find_scene_scale(capture, split.train)
    surroundings = Surroundings(
        exposure=start_exposure(capture, split.train, settings, reporter),
        terms=make_terms(capture, split.train, settings, reporter),
        shared=shared,
    )
    trainer = Trainer(
        field,
        loader,
        split.train,
        settings,
        scene_scale=scale,
        surroundings=surroundings,
        hooks=hooks,
        reporter=reporter,
    )
    try:
        state = load_state(run.checkpoints, identity) if resume else None
        if state is not None:
            trainer.restore(state)
            reporter.note(f"resuming at iteration {trainer.iteration:,} of {settings.iterations:,}")
        reporter.start("train", settings.iterations, gaussians=trainer.field.num_gaussians, step=trainer.iteration)
        trainer.run()
        reporter.finish("train", gaussians=trainer.field.num_gaussians)
    finally:
        loader.close()
    return trainer


def settings_identity(settings: ReconstructSettings, prepared: Prepared) -> str:
    """Hash of everything that must be the same for a checkpoint to be continued."""
    # Settings of blocks may stand beside those of the scene; they do not concern a checkpoint.
    names = {part.name for part in fields(ReconstructSettings)} - {"memory_gb", "checkpoint_every", "eval_every"}
    fixed = {name: value for name, value in settings_to_record(settings).items() if name in names}
    views = [prepared.capture.views[i].name for i in prepared.split.train]
    frame = prepared.capture.world_from_capture.to_record()
    text = json.dumps([fixed, views, frame], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_state(folder: Path, identity: str) -> TrainingState | None:
    """The newest checkpoint in a folder that can be read.

    Raises:
        InputError: It belongs to other settings or another capture.
    """
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        return None
    if checkpoint.record.get("identity") != identity:
        raise InputError(
            "the checkpoint was made with other settings or another capture",
            where=folder,
            remedy="resume with the same ones (see config.yaml), or start anew in another folder",
        )
    return checkpoint.tensors, checkpoint.record


def look_at_held_out(
    run: RunFolder,
    field: Field,
    loader: ImageLoader,
    split: Split,
    settings: ReconstructSettings,
    iteration: int,
) -> Mapping[str, float]:
    """Mean raw PSNR of the held-out views, appended to the run's curve; they never reach the gradient."""
    if not split.test:
        return {}
    backend = None if settings.backend == "auto" else settings.backend
    values = []
    for index in split.test:
        photo = loader.load(index)
        rendering = render_view(field.gaussians(photo.camera).detach(), photo.camera, backend=backend)
        values.append(psnr_db(rendering.image.clamp(0, 1), photo.image, mask=photo.mask))
    mean = float(np.mean(values))
    with run.curve.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"iteration": iteration, "psnr_db": mean, "gaussians": field.num_gaussians}) + "\n")
    return {"psnr_db": round(mean, 2)}


def write_merged(
    run: RunFolder,
    prepared: Prepared,
    gaussians: Gaussians,
    settings: ReconstructSettings,
    facts: Mapping[str, Any],
) -> None:
    """Writes the finished scene in the capture's frame, and the manifest with further facts last."""
    world_from_capture = prepared.capture.world_from_capture
    record = write_scene(run.merged_scene, gaussians, world_from_capture)
    manifest = {
        "schema_version": RUN_SCHEMA_VERSION,
        "num_gaussians": len(gaussians),
        "iterations": settings.iterations,
        "peak_memory_bytes": peak_memory_bytes(),
        "world_from_capture": world_from_capture.to_record(),
        **facts,
        **record,
    }
    write_json(run.manifest, manifest)


def leave_nothing_behind(run: RunFolder) -> None:
    """Removes the folder of a run that never began."""
    for path in sorted(run.root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    run.root.rmdir()
