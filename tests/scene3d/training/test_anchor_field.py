"""An anchor field in training: it learns, it is restored and resumed bit for bit, it exports what it shows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scene3d.data.loader import TrainingImage
from scene3d.io.anchor_file import read_anchors, write_anchors
from scene3d.metrics import psnr_db
from scene3d.render import render_view
from scene3d.training.field import Field
from scene3d.training.hooks import Surroundings
from tests.scene3d.training.anchor_scenes import SETTINGS, make_field, make_trainer, with_anchors
from tests.scene3d.training.small_scenes import make_photographs, same_state


@pytest.fixture(scope="module")
def photographs() -> list[TrainingImage]:
    return make_photographs()


def test_training_brings_the_renders_towards_the_photographs(photographs: list[TrainingImage]) -> None:
    trainer = make_trainer(photographs)

    def error() -> float:
        gaussians = trainer.field.baked(1)
        return float(
            np.mean([float((render_view(gaussians, p.camera).image - p.image).abs().mean()) for p in photographs[1:4]])
        )

    before = error()
    trainer.run()
    assert error() < 0.85 * before


@pytest.mark.parametrize("teacher", ["off", "step"])
def test_a_run_cut_anywhere_and_resumed_ends_with_the_same_bytes(
    photographs: list[TrainingImage], teacher: str
) -> None:
    settings = with_anchors(SETTINGS, teacher=teacher)
    whole = make_trainer(photographs, settings)
    whole.run()
    for cut in (3, 45):
        first = make_trainer(photographs, settings)
        first.run(cut)
        second = make_trainer(photographs, settings)
        second.restore(first.state())
        second.run()
        assert same_state(whole.state(), second.state()), f"cut at {cut}"


def test_a_decoder_of_others_is_neither_stepped_nor_saved_by_the_trainer(photographs: list[TrainingImage]) -> None:
    trainer = make_trainer(photographs, surroundings=Surroundings(steps_shared=False))
    shared = trainer.field.shared
    before = shared.checksum()
    trainer.advance()
    assert shared.checksum() == before
    assert shared.step_count == 0
    assert not [name for name in trainer.state()[0] if name.startswith("decoder.")]
    assert float(shared.take_gradient().abs().sum()) > 0


def test_growth_by_the_trainer_keeps_to_region_and_cap(photographs: list[TrainingImage]) -> None:
    def region(means: torch.Tensor) -> torch.Tensor:
        return means[:, 0] > 0

    trainer = make_trainer(photographs, surroundings=Surroundings(region=region))
    first = len(trainer.field)
    trainer.run()
    field = trainer.field
    assert first < len(field) <= SETTINGS.density.max_gaussians // 3
    known = make_field()[0].centers()
    new = ~(field.centers()[:, None] == known).all(2).any(1)
    assert bool(new.any())
    assert bool(region(field.centers()[new]).all())


def test_held_rows_do_not_move(photographs: list[TrainingImage]) -> None:
    field = make_field()[0]
    drawn = field.draw(photographs[1].camera)
    drawn.gaussians.means.sum().backward()
    before = field.anchors().offsets.detach().clone()
    held = torch.arange(len(field)) % 2 == 0
    visible = torch.ones(len(drawn.gaussians), dtype=torch.bool)
    field.step(drawn, visible, SETTINGS, held=held, iteration=0, scene_scale=1.0)
    moved = (field.anchors().offsets.detach() != before).flatten(1).any(1)
    assert not bool(moved[held].any())
    assert bool(moved[~held].any())


def test_the_field_is_what_a_trainer_asks_for(photographs: list[TrainingImage]) -> None:
    assert isinstance(make_trainer(photographs).field, Field)


def test_the_written_anchors_show_what_the_field_shows(photographs: list[TrainingImage], tmp_path: Path) -> None:
    trainer = make_trainer(photographs)
    trainer.run(30)
    field = trainer.field
    write_anchors(tmp_path / "anchors.safetensors", field.anchors(), field.shared.student)
    anchors, decoder = read_anchors(tmp_path / "anchors.safetensors")
    assert all(
        torch.equal(getattr(anchors, name), getattr(field.anchors(), name)) for name in ("positions", "features")
    )
    for photo in photographs:
        shown = render_view(field.gaussians(photo.camera).detach(), photo.camera).image
        baked = render_view(field.baked(3), photo.camera).image
        assert psnr_db(shown.clamp(0, 1), baked.clamp(0, 1)) >= 60
    assert decoder.shape == field.shared.student.shape
