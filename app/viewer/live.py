"""Owns the scene of a run that is still in training: what its newest checkpoints and finished blocks hold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from app.scenes import OpenedScene, open_capture
from blocks.block_folder import BlockFolder, load_block, read_block_record
from blocks.plan import BlockPlan, read_plan
from blocks.settings import RunSettings
from blocks.waiting import SNAPSHOTS, STATES, Snapshot, load_snapshot, read_block_tensors
from scene3d.cameras.camera import Camera
from scene3d.config import load_settings
from scene3d.errors import InputError, Scene3dError
from scene3d.gaussians.gaussians import Gaussians, resize_sh
from scene3d.geometry.similarity import Similarity
from scene3d.io.checkpoint import load_checkpoint
from scene3d.training.anchor_preview import bake_state, is_anchor_state
from scene3d.training.explicit_field import PARAMETERS
from scene3d.training.run_folder import RunFolder, read_run

MAX_SH_DEGREE = 3
NO_GAUSSIANS = Gaussians(
    means=torch.zeros(0, 3),
    quats=torch.zeros(0, 4),
    log_scales=torch.zeros(0, 3),
    opacity_logits=torch.zeros(0),
    sh=torch.zeros(0, 1, 3),
)

Shown = tuple[Gaussians | None, int]
"""What is there of a scene or a block, and after how many iterations."""


def find_live_key(root: Path) -> str | None:
    """What identifies the newest state of training on disk; None before there is any."""
    run = RunFolder(root)
    folders = [run.checkpoints, *run.blocks.glob("*/checkpoints"), run.turns / SNAPSHOTS]
    manifests = [path for folder in folders for path in folder.glob("checkpoint_*.json")]
    manifests += list(run.blocks.glob("*/block.json"))
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
    scene = OpenedScene(
        gaussians=NO_GAUSSIANS,
        world_from_capture=Similarity.from_record(record["world_from_capture"]),
        epsg=None,
        run=run,
        record=record,
        manifest={},
    )
    training = _Training(run, scene)
    gaussians, iteration = training.read()
    if gaussians is None:
        raise InputError("nothing has been trained yet", remedy="it appears here with the first checkpoint")
    return replace(scene, gaussians=gaussians), iteration


@dataclass(frozen=True, eq=False)
class _Training:
    """A run in training; settings and cameras are read where anchors need them."""

    run: RunFolder
    scene: OpenedScene

    def read(self) -> Shown:
        """What is there of it."""
        if self.run.plan.is_file():
            return self._join_blocks(read_plan(self.run.plan))
        return self._read_checkpoint(self.run.checkpoints)

    @cached_property
    def settings(self) -> RunSettings:
        return load_settings(RunSettings, self.run.config)

    @cached_property
    def cameras(self) -> list[Camera]:
        """Of the training views, where colours depend on the view."""
        if self.settings.anchors.mode == "static":
            return []
        held_out = set(self.scene.held_out)
        return [view.camera for view in open_capture(self.scene, None).views if view.name not in held_out]

    def bake(self, tensors: Mapping[str, Tensor], shared: Mapping[str, Tensor]) -> Gaussians:
        """A state of anchors as Gaussians.

        Args:
            tensors: The state.
            shared: What holds the decoder.
        """
        if "decoder.student" not in shared:
            raise InputError("the decoder of these anchors is not there")
        return bake_state(tensors, shared["decoder.student"], self.settings, self.cameras)

    def _read_checkpoint(self, folder: Path) -> Shown:
        try:
            checkpoint = load_checkpoint(folder)
        except (InputError, FileNotFoundError):
            return None, 0  # between two saves the older may be deleted while it is read; the next look finds the newer
        if checkpoint is None:
            return None, 0
        tensors = checkpoint.tensors
        if is_anchor_state(tensors):
            return self.bake(tensors, tensors), checkpoint.step
        return Gaussians(**{name: tensors[f"field.{name}"] for name in PARAMETERS}), checkpoint.step

    def _join_blocks(self, plan: BlockPlan) -> Shown:
        """Of every block what it owns."""
        parts, newest = [], 0
        snapshot = self._read_snapshot()
        for index, block in enumerate(plan.blocks):
            gaussians, iteration = self._read_block(block.block_id, plan.sha256, snapshot)
            if gaussians is None:
                continue
            newest = max(newest, iteration)
            owned = plan.owners(gaussians.means.double().numpy()) == index
            parts.append(gaussians.select(torch.from_numpy(owned)))
        if not parts:
            return None, 0
        degree = min(MAX_SH_DEGREE, max(part.sh_degree for part in parts))
        return Gaussians.concatenate([replace(part, sh=resize_sh(part.sh, degree)) for part in parts]), newest

    def _read_snapshot(self) -> Snapshot | None:
        """Blocks in turns as they stood after the last round."""
        try:
            return load_snapshot(self.run.turns / SNAPSHOTS, None)
        except (InputError, FileNotFoundError):
            return None

    def _read_block(self, block_id: str, plan_sha256: str, snapshot: Snapshot | None) -> Shown:
        folder = BlockFolder(self.run.blocks / block_id)
        try:
            record = read_block_record(folder, plan_sha256)
            if record is not None:
                return load_block(folder, record), int(record.get("iterations", 0))
            state = None if snapshot is None else snapshot.blocks.get(block_id)
            if snapshot is not None and state is not None and state.sha256 is not None:
                tensors = read_block_tensors(self.run.turns / STATES, block_id, state)
                return self.bake(tensors, snapshot.shared), state.iteration
        except Scene3dError:
            return None, 0
        return self._read_checkpoint(folder.checkpoints)
