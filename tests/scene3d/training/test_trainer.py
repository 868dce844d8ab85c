"""The training loop: it learns, it resumes bit for bit, it survives poison, it never sees a held-out view."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from scene3d.cameras.camera import Camera
from scene3d.data.loader import TrainingImage
from scene3d.errors import Diverged, InputError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.hooks import TrainingHooks, TrainingState
from scene3d.training.settings import DensitySettings, ReconstructSettings
from scene3d.training.trainer import Trainer

SETTINGS = ReconstructSettings(
    iterations=60,
    sh_degree=1,
    eval_every=0,
    checkpoint_every=10,
    coarse_share=0.0,
    background="black",
    density=DensitySettings(start=10, every=10, stop_share=0.9, grow_gradient=1e-6, max_gaussians=200),
)


class Photographs:
    """Stands where the image loader stands; remembers which views were asked for."""

    def __init__(self, photos: Sequence[TrainingImage]) -> None:
        self.photos = list(photos)
        self.asked: list[int] = []

    def load(self, index: int) -> TrainingImage:
        self.asked.append(index)
        return self.photos[index]

    def prefetch(self, indices: Iterable[int]) -> None:
        assert all(0 <= index < len(self.photos) for index in indices)

    def view_name(self, index: int) -> str:
        return self.photos[index].name


def _gaussians(seed: int, num: int = 60) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(num, 3, generator=generator) * 0.4,
        quats=torch.randn(num, 4, generator=generator),
        log_scales=torch.full((num, 3), -2.2),
        opacity_logits=torch.full((num,), 1.0),
        sh=torch.randn(num, 1, 3, generator=generator) * 0.8,
    )


def _cameras(num: int, width: int = 40, height: int = 32) -> list[Camera]:
    cameras = []
    for i in range(num):
        angle = 2 * math.pi * i / num
        cam_from_world = np.eye(4)
        cam_from_world[:3, :3] = [
            [math.cos(angle), 0, math.sin(angle)],
            [0, 1, 0],
            [-math.sin(angle), 0, math.cos(angle)],
        ]
        cam_from_world[2, 3] = 2.5
        K = np.array([[40.0, 0, width / 2], [0, 40, height / 2], [0, 0, 1]])
        cameras.append(Camera(width=width, height=height, K=K, cam_from_world=cam_from_world))
    return cameras


@pytest.fixture(scope="module")
def photographs() -> list[TrainingImage]:
    truth = _gaussians(0)
    photos = []
    for i, camera in enumerate(_cameras(8)):
        image = render_view(truth, camera).image.detach().clamp(0, 1)
        photos.append(TrainingImage(image=image, mask=None, camera=camera, name=f"{i}.png"))
    return photos


def _trainer(
    photos: Sequence[TrainingImage],
    settings: ReconstructSettings = SETTINGS,
    hooks: TrainingHooks | None = None,
    views: Sequence[int] = (1, 2, 3, 5, 6, 7),
) -> tuple[Trainer, Photographs]:
    loader = Photographs(photos)
    field = ExplicitField(_gaussians(5, 40))
    return Trainer(field, loader, views, settings, scene_scale=1.0, hooks=hooks), loader


class Memory:
    """Keeps every state."""

    def __init__(self) -> None:
        self.states: list[TrainingState] = []

    def save(self, tensors: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
        self.states.append(({name: value.clone() for name, value in tensors.items()}, dict(record)))

    def load(self) -> TrainingState | None:
        return self.states[-1] if self.states else None


def _same(a: TrainingState, b: TrainingState) -> bool:
    plain = {key: value for key, value in a[1].items() if key != "seconds"}
    other = {key: value for key, value in b[1].items() if key != "seconds"}
    return plain == other and a[0].keys() == b[0].keys() and all(torch.equal(a[0][name], b[0][name]) for name in a[0])


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
        assert _same(whole.state(), second.state()), f"cut at {cut}"


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
    assert _same(one.state(), other.state())


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
    assert _same(one.state(), other.state())
