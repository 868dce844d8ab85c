"""A run in training as the viewer shows it: anchors in one piece, anchors of blocks in turns, and states in between."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.viewer.job_record import Job
from app.viewer.jobs_api import find_blocks
from app.viewer.live import find_live_key, open_live_scene
from blocks.team import Alone
from blocks.turns import train_in_turns
from blocks.waiting import SNAPSHOTS, STATES
from scene3d.config import write_settings
from scene3d.errors import InputError
from scene3d.events import Quiet
from scene3d.gaussians.anchor_baking import bake_anchors
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.anchor_file import read_anchors
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.preparation import prepare_training
from scene3d.training.run import reconstruct, write_run_records
from scene3d.training.run_folder import RunFolder
from scene3d.training.settings import ReconstructSettings
from tests.blocks.turn_runs import HAMLET, SETTINGS, make_job
from tests.synthetic_captures import shared_capture, tiny_capture

__all__ = ["tiny_capture"]

ANCHORS = AnchorSettings(features=8, hidden=16, offsets=2, bake_iterations=0)
ONE_PIECE = ReconstructSettings(
    iterations=30, sh_degree=1, eval_every=0, checkpoint_every=10, memory_gb=1.0, field="anchors", anchors=ANCHORS
)
PARTS = ("means", "quats", "log_scales", "opacity_logits", "sh")


class Stop(Exception):
    """Stands for a person who looks while training goes on."""


class StopsAt(Quiet):
    """Ends training at one step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def advance(self, stage: str, step: int, **figures: object) -> None:
        if stage in ("train", "blocks") and step >= self._step:
            raise Stop


def assert_same(first: Gaussians, second: Gaussians) -> None:
    for part in PARTS:
        assert torch.equal(getattr(first, part), getattr(second, part)), part


@pytest.mark.parametrize("mode", ["static", "view"])
def test_anchors_in_training_show_what_would_be_baked_of_them(tiny_capture: Path, tmp_path: Path, mode: str) -> None:
    settings = replace(ONE_PIECE, anchors=replace(ANCHORS, mode=mode))
    with pytest.raises(Stop):
        reconstruct(tiny_capture, tmp_path / "run", settings, reporter=StopsAt(15))
    key = find_live_key(tmp_path / "run")
    begun, iteration = open_live_scene(tmp_path / "run")
    assert iteration == 10
    run = reconstruct(tiny_capture, tmp_path / "run", settings, resume=True).run
    assert find_live_key(run.root) != key
    ended, iteration = open_live_scene(run.root)
    assert iteration == 30
    assert not torch.equal(ended.gaussians.means, begun.gaussians.means)
    prepared = prepare_training(tiny_capture, settings)
    cameras = [prepared.capture.views[view].camera for view in prepared.split.train]
    assert_same(ended.gaussians, bake_anchors(*read_anchors(run.merged_anchors), 1, cameras))


def test_settings_that_are_not_those_of_the_state_are_named(tiny_capture: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        reconstruct(tiny_capture, tmp_path / "run", ONE_PIECE, reporter=StopsAt(15))
    write_settings(tmp_path / "run" / "config.yaml", replace(ONE_PIECE, anchors=replace(ANCHORS, hidden=8)))
    with pytest.raises(InputError, match="another shape"):
        open_live_scene(tmp_path / "run")


def test_blocks_in_turns_are_shown_after_each_round(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    hamlet = shared_capture(tmp_path_factory, "hamlet", HAMLET)
    job = make_job(hamlet, tmp_path / "run")
    write_run_records(job.run, job.prepared, SETTINGS)
    with pytest.raises(InputError, match="nothing has been trained"):
        open_live_scene(job.run.root)
    with pytest.raises(Stop):
        train_in_turns(job, Alone(), reporter=StopsAt(30))
    first_key = find_live_key(job.run.root)
    work = Job(id="a", kind="reconstruct", title="hamlet", words=(), run_root=str(job.run.root))
    assert [block["state"] for block in find_blocks(work)] == ["training"] * 3
    first, iteration = open_live_scene(job.run.root)
    assert 0 < iteration < SETTINGS.iterations
    owners = job.plan.owners(first.gaussians.means.double().numpy())
    assert set(owners.tolist()) == {0, 1, 2}
    train_in_turns(job, Alone())
    assert find_live_key(job.run.root) != first_key
    assert [block["state"] for block in find_blocks(work)] == ["done"] * 3
    last, iteration = open_live_scene(job.run.root)
    assert iteration == SETTINGS.iterations
    # The last snapshot stands for the very blocks that were kept at the end.
    for path in job.run.blocks.glob("*/block.json"):
        path.unlink()
    assert_same(open_live_scene(job.run.root)[0].gaussians, last.gaussians)


def test_a_block_whose_state_has_just_been_deleted_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    hamlet = shared_capture(tmp_path_factory, "hamlet", HAMLET)
    job = make_job(hamlet, tmp_path / "run")
    write_run_records(job.run, job.prepared, SETTINGS)
    with pytest.raises(Stop):
        train_in_turns(job, Alone(), reporter=StopsAt(30))
    for path in (RunFolder(tmp_path / "run").turns / STATES / job.block_id(1)).iterdir():
        path.unlink()
    assert list((job.run.turns / SNAPSHOTS).glob("*.json"))
    scene, _ = open_live_scene(job.run.root)
    assert set(job.plan.owners(scene.gaussians.means.double().numpy()).tolist()) == {0, 2}
