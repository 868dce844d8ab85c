"""The training loop: it learns, it resumes bit for bit, it survives poison, it never sees a held-out view."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from scene3d.data.loader import TrainingImage
from scene3d.errors import Diverged, InputError
from scene3d.render import render_view
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.hooks import TrainingHooks, TrainingState
from scene3d.training.settings import DensitySettings, ReconstructSettings
from scene3d.training.trainer import Trainer
from tests.scene3d.training.small_scenes import Photographs, make_gaussians, make_photographs, same_state

SETTINGS = ReconstructSettings(
    iterations=60,
    sh_degree=1,
    eval_every=0,
    checkpoint_every=10,
    coarse_share=0.0,
    background="black",
    density=DensitySettings(start=10, every=10, stop_share=0.9, grow_gradient=1e-6, max_gaussians=200),
)


@pytest.fixture(scope="module")
def photographs() -> list[TrainingImage]:
    return make_photographs()


def _trainer(
    photos: Sequence[TrainingImage],
    settings: ReconstructSettings = SETTINGS,
    hooks: TrainingHooks | None = None,
    views: Sequence[int] = (1, 2, 3, 5, 6, 7),
) -> tuple[Trainer, Photographs]:
    loader = Photographs(photos)
    field = ExplicitField(make_gaussians(5, 40))
    return Trainer(field, loader, views, settings, scene_scale=1.0, hooks=hooks), loader


class Memory:
    """Keeps every state."""

    def __init__(self) -> None:
        self.states: list[TrainingState] = []

    def save(self, tensors: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
        self.states.append(({name: value.clone() for name, value in tensors.items()}, dict(record)))

    def load(self) -> TrainingState | None:
        return self.states[-1] if self.states else None


def test_training_brings_the_renders_towards_the_photographs(photographs: list[TrainingImage]) -> None:
    trainer, _ = _trainer(photographs)

    def error() -> float:
        gaussians = trainer.field.baked(1)
        return float(
            np.mean([float((render_view(gaussians, p.camera).image - p.image).abs().mean()) for p in photographs[1:4]])
        )

    before = error()
    trainer.run()
    assert error() < 0.75 * before


@pytest.mark.timeout(240)
def test_a_run_cut_at_ten_random_points_ends_with_the_same_bytes(photographs: list[TrainingImage]) -> None:
    whole, _ = _trainer(photographs)
    whole.run()
    cuts = np.random.default_rng(7).integers(1, SETTINGS.iterations, 10)
    for cut in cuts:
        first, _ = _trainer(photographs)
        first.run(int(cut))
        second, _ = _trainer(photographs)
        second.restore(first.state())
        second.run()
        assert same_state(whole.state(), second.state()), f"cut at {cut}"


def test_only_training_views_are_ever_asked_for(photographs: list[TrainingImage]) -> None:
    trainer, loader = _trainer(photographs)
    trainer.run()
    assert set(loader.asked) == {1, 2, 3, 5, 6, 7}


def test_held_out_photographs_do_not_change_a_bit_of_the_result(photographs: list[TrainingImage]) -> None:
    changed = list(photographs)
    for held_out in (0, 4):
        changed[held_out] = dataclasses.replace(photographs[held_out], image=1 - photographs[held_out].image)
    one, _ = _trainer(photographs)
    other, _ = _trainer(changed)
    one.run()
    other.run()
    assert same_state(one.state(), other.state())


def test_a_poisoned_photograph_is_rolled_back_and_left_out(photographs: list[TrainingImage]) -> None:
    poisoned = list(photographs)
    bad = photographs[3].image.clone()
    bad[3, 4] = float("nan")
    poisoned[3] = dataclasses.replace(photographs[3], image=bad)
    memory = Memory()
    trainer, loader = _trainer(poisoned, hooks=TrainingHooks(save=memory.save, load=memory.load))
    trainer.run()
    assert trainer.iteration == SETTINGS.iterations
    assert trainer.state()[1]["skipped"] == [2]
    assert loader.asked.count(3) == 1
    assert all(bool(value.isfinite().all()) for value in trainer.field.capture().values())
    assert all(bool(v.float().isfinite().all()) for tensors, _ in memory.states for v in tensors.values())


def test_poison_everywhere_ends_as_diverged(photographs: list[TrainingImage]) -> None:
    poisoned = [dataclasses.replace(p, image=torch.full_like(p.image, float("nan"))) for p in photographs]
    memory = Memory()
    trainer, _ = _trainer(poisoned, hooks=TrainingHooks(save=memory.save, load=memory.load))
    with pytest.raises(Diverged, match="png"):
        trainer.run()


def test_without_training_views_there_is_a_clear_error(photographs: list[TrainingImage]) -> None:
    with pytest.raises(InputError, match="no view"):
        _trainer(photographs, views=())


def test_masked_pixels_have_no_influence(photographs: list[TrainingImage]) -> None:
    mask = torch.ones(photographs[0].image.shape[:2], dtype=torch.bool)
    mask[:, :12] = False
    masked = [dataclasses.replace(p, mask=mask) for p in photographs]
    noise = torch.rand(photographs[0].image.shape, generator=torch.Generator().manual_seed(0))
    changed = [dataclasses.replace(p, image=torch.where(mask[..., None], p.image, noise)) for p in masked]
    one, _ = _trainer(masked)
    other, _ = _trainer(changed)
    one.run(30)
    other.run(30)
    assert same_state(one.state(), other.state())
