"""The main job with anchors in one piece: it writes what it trained, resumes, and says what a fit costs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scene3d.errors import Scene3dError
from scene3d.events import Quiet
from scene3d.gaussians.anchor_baking import bake_anchors
from scene3d.gaussians.decoder import decoder_checksum
from scene3d.gaussians.transform import transform_gaussians
from scene3d.geometry.similarity import Similarity
from scene3d.io.anchor_file import read_anchors
from scene3d.io.ply import read_gaussians_ply
from scene3d.io.tensors import file_sha256
from scene3d.metrics import psnr_db
from scene3d.render import render_view
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.preparation import prepare_training
from scene3d.training.run import reconstruct
from scene3d.training.run_folder import RunFolder
from scene3d.training.settings import DensitySettings, ReconstructSettings
from tests.synthetic_captures import tiny_capture as tiny_capture

SETTINGS = ReconstructSettings(
    iterations=60,
    sh_degree=1,
    eval_every=0,
    checkpoint_every=20,
    memory_gb=1.0,
    field="anchors",
    anchors=AnchorSettings(features=8, hidden=16, offsets=2),
    density=DensitySettings(start=10, every=20),
)


class Interrupted(Exception):
    """Stands for whatever ends a process."""


class StopsAt(Quiet):
    """A reporter that ends the run at one iteration."""

    def __init__(self, iteration: int) -> None:
        self._iteration = iteration

    def advance(self, stage: str, step: int, **figures: float) -> None:
        if step == self._iteration:
            raise Interrupted


def _manifest(run: RunFolder) -> dict:
    return json.loads(run.manifest.read_text(encoding="utf-8"))


def test_ply_and_anchor_file_show_the_same(tiny_capture: Path, tmp_path: Path) -> None:
    run = reconstruct(tiny_capture, tmp_path / "run", SETTINGS).run
    manifest = _manifest(run)
    anchors, decoder = read_anchors(run.merged_anchors)
    assert manifest["field"] == "anchors"
    assert manifest["num_gaussians"] == anchors.num_gaussians == 2 * manifest["anchors"]["num_anchors"]
    assert manifest["anchors"]["sha256"] == file_sha256(run.merged_anchors)
    assert manifest["anchors"]["decoder_sha256"] == decoder_checksum(decoder)
    world_from_capture = Similarity.from_record(manifest["world_from_capture"])
    written = transform_gaussians(read_gaussians_ply(run.merged_scene), world_from_capture)
    baked = bake_anchors(anchors, decoder, 1)
    prepared = prepare_training(tiny_capture, SETTINGS)
    for view in prepared.split.test:
        camera = prepared.capture.views[view].camera
        one, other = render_view(written, camera).image, render_view(baked, camera).image
        assert float(one.max()) > 0.2
        assert psnr_db(one.clamp(0, 1), other.clamp(0, 1)) >= 60


def test_the_same_seed_gives_the_same_files_and_so_does_a_run_that_was_cut(tiny_capture: Path, tmp_path: Path) -> None:
    whole = reconstruct(tiny_capture, tmp_path / "whole", SETTINGS).run
    for cut in (7, 50):
        with pytest.raises(Interrupted):
            reconstruct(tiny_capture, tmp_path / f"cut{cut}", SETTINGS, reporter=StopsAt(cut))
        resumed = reconstruct(tiny_capture, tmp_path / f"cut{cut}", SETTINGS, resume=True).run
        assert file_sha256(resumed.merged_scene) == file_sha256(whole.merged_scene)
        assert file_sha256(resumed.merged_anchors) == file_sha256(whole.merged_anchors)


def test_another_decoder_is_not_resumed_with(tiny_capture: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        reconstruct(tiny_capture, tmp_path / "run", SETTINGS, reporter=StopsAt(30))
    other = replace(SETTINGS, anchors=replace(SETTINGS.anchors, hidden=8))
    with pytest.raises(Scene3dError, match="other settings"):
        reconstruct(tiny_capture, tmp_path / "run", other, resume=True)


def test_the_view_mode_is_exported_by_a_fit_whose_loss_is_recorded(tiny_capture: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, anchors=replace(SETTINGS.anchors, mode="view", bake_iterations=120))
    run = reconstruct(tiny_capture, tmp_path / "run", settings).run
    bake = _manifest(run)["bake"]
    assert bake["iterations"] == 120
    assert bake["psnr_to_field_db"] >= 35
    assert abs(bake["drop_db"]) < 1
    anchors, decoder = read_anchors(run.merged_anchors)
    assert decoder.shape.mode == "view"
    assert len(read_gaussians_ply(run.merged_scene)) == anchors.num_gaussians
