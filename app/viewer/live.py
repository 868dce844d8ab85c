"""Owns the scene of a run that is still in training: what its newest checkpoints and finished blocks hold."""

from pathlib import Path

import torch

from app.scenes import OpenedScene
from blocks.block_folder import BlockFolder, load_block, read_block_record
from blocks.plan import BlockPlan, read_plan
from scene3d.errors import InputError, Scene3dError
from scene3d.gaussians.gaussians import Gaussians, resize_sh
from scene3d.geometry.similarity import Similarity
from scene3d.io.checkpoint import load_checkpoint
from scene3d.training.explicit_field import PARAMETERS
from scene3d.training.run_folder import read_run

MAX_SH_DEGREE = 3


def find_live_key(root: Path) -> str | None:
    """What identifies the newest state of training on disk; None before there is any."""
    folders = [root / "checkpoints", *(root / "blocks").glob("*/checkpoints")]
    manifests = [path for folder in folders for path in folder.glob("checkpoint_*.json")]
    manifests += list((root / "blocks").glob("*/block.json"))
    newest = 0
    for path in manifests:
        try:
            newest = max(newest, path.stat().st_mtime_ns)
        except FileNotFoundError:
            continue  # the trainer keeps two and has just deleted this one
    return f"{newest:x}" if newest else None


def open_live_scene(root: Path) -> tuple[OpenedScene, int]:
    """The scene as far as it is trained, and the iteration of its newest part.

    Raises:
        InputError: Nothing is there yet, or it is damaged.
    """
    run, record = read_run(root)
    if run.plan.is_file():
        gaussians, iteration = _join_blocks(root, read_plan(run.plan))
    else:
        gaussians, iteration = _read_checkpoint(root / "checkpoints")
    if gaussians is None:
        raise InputError("nothing has been trained yet", remedy="it appears here with the first checkpoint")
    scene = OpenedScene(
        gaussians=gaussians,
        world_from_capture=Similarity.from_record(record["world_from_capture"]),
        epsg=None,
        run=run,
        record=record,
        manifest={},
    )
    return scene, iteration


def _read_checkpoint(folder: Path) -> tuple[Gaussians | None, int]:
    try:
        checkpoint = load_checkpoint(folder)
    except (InputError, FileNotFoundError):
        return None, 0  # between two saves the older may be deleted while it is read; the next look finds the newer
    if checkpoint is None:
        return None, 0
    if any(f"field.{name}" not in checkpoint.tensors for name in PARAMETERS):
        raise InputError("anchors are shown when they are finished", remedy="wait for the end of the run")
    return Gaussians(**{name: checkpoint.tensors[f"field.{name}"] for name in PARAMETERS}), checkpoint.step


def _join_blocks(root: Path, plan: BlockPlan) -> tuple[Gaussians | None, int]:
    """Of every block what it owns."""
    parts, newest = [], 0
    for index, block in enumerate(plan.blocks):
        gaussians, iteration = _read_block(BlockFolder(root / "blocks" / block.block_id), plan.sha256)
        if gaussians is None:
            continue
        newest = max(newest, iteration)
        owned = plan.owners(gaussians.means.double().numpy()) == index
        parts.append(gaussians.select(torch.from_numpy(owned)))
    if not parts:
        return None, 0
    degree = min(MAX_SH_DEGREE, max(part.sh_degree for part in parts))
    return Gaussians.concatenate([_with_degree(part, degree) for part in parts]), newest


def _read_block(folder: BlockFolder, plan_sha256: str) -> tuple[Gaussians | None, int]:
    try:
        record = read_block_record(folder, plan_sha256)
        if record is not None:
            return load_block(folder, record), int(record.get("iterations", 0))
    except Scene3dError:
        return None, 0
    return _read_checkpoint(folder.checkpoints)


def _with_degree(part: Gaussians, degree: int) -> Gaussians:
    return Gaussians(
        means=part.means,
        quats=part.quats,
        log_scales=part.log_scales,
        opacity_logits=part.opacity_logits,
        sh=resize_sh(part.sh, degree),
    )
