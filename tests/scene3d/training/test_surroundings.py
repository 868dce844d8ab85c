"""Training a part of a larger scene: backdrop, region, fixed exposures, further terms, unreadable photographs."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.data.loader import TrainingImage
from scene3d.errors import InputError
from scene3d.events import Figure, Quiet
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view
from scene3d.seeding import make_generator
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.exposure import Exposure
from scene3d.training.hooks import Surroundings
from scene3d.training.splats import make_splats
from scene3d.training.terms import StepView
from scene3d.training.trainer import Trainer
from tests.scene3d.training.small_scenes import Photographs, make_cameras, make_gaussians
from tests.scene3d.training.test_trainer import SETTINGS

VIEWS = (0, 1, 2, 3)


def make_photos(scene: Gaussians) -> list[TrainingImage]:
    cameras = make_cameras(len(VIEWS))
    images = [render_view(scene, camera).image.detach().clamp(0, 1) for camera in cameras]
    pairs = zip(cameras, images, strict=True)
    return [TrainingImage(image=image, mask=None, camera=c, name=f"{i}.png") for i, (c, image) in enumerate(pairs)]


def make_trainer(photos: Sequence[TrainingImage], surroundings: Surroundings, **changes: object) -> Trainer:
    settings = replace(SETTINGS, **changes)
    field = ExplicitField(make_gaussians(5, 40))
    return Trainer(field, Photographs(photos), VIEWS, settings, scene_scale=1.0, surroundings=surroundings)


class Notes(Quiet):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str, *, level: str = "info") -> None:
        self.messages.append(f"{level}: {message}")

    def advance(self, stage: str, step: int, **figures: Figure) -> None:
        self.stage = stage


def test_a_backdrop_is_drawn_and_not_changed() -> None:
    backdrop = replace(make_gaussians(1), sh=torch.ones(60, 4, 3))
    field = ExplicitField(make_gaussians(5, 40))
    camera = make_cameras(4)[1]
    splats = make_splats(field.gaussians(), backdrop, drop_share=0.0, generator=make_generator(0))
    rendered = splats.render(camera, torch.zeros(3), depth=True)
    both = Gaussians.concatenate([field.gaussians().detach(), replace(backdrop, sh=backdrop.sh[:, :1])])
    expected = render_view(both, camera)
    torch.testing.assert_close(rendered.image, expected.image)
    torch.testing.assert_close(rendered.as_view().depth, expected.depth)
    assert rendered.visible.shape == (40,)
    before = backdrop.means.clone()
    trainer = make_trainer(make_photos(make_gaussians(0)), Surroundings(backdrop=backdrop), iterations=25)
    trainer.run()
    assert torch.equal(backdrop.means, before)
    assert backdrop.sh.grad is None


def test_what_the_backdrop_explains_is_left_to_it() -> None:
    scene = make_gaussians(0)
    photos = make_photos(scene)
    faint = replace(make_gaussians(5, 40), opacity_logits=torch.full((40,), -3.0))
    worst = []
    for backdrop in (scene, None):
        trainer = Trainer(
            ExplicitField(faint),
            Photographs(photos),
            VIEWS,
            replace(SETTINGS, density=replace(SETTINGS.density, stop_share=0.0)),
            scene_scale=1.0,
            surroundings=Surroundings(backdrop=backdrop),
        )
        trainer.run()
        worst.append(float(trainer.field.parameters["opacity_logits"].detach().sigmoid().mean()))
    assert worst[0] < 0.5 * worst[1]


def test_auxiliary_gaussians_rest_in_every_second_iteration_of_the_second_half() -> None:
    photos = make_photos(make_gaussians(0))
    trainer = make_trainer(
        photos,
        Surroundings(region=lambda means: means[:, 0] > 0),
        iterations=40,
        density=replace(SETTINGS.density, stop_share=0.0),
    )
    trainer.run(until=21)
    before = trainer.field.capture()
    trainer.run(until=22)
    after = trainer.field.capture()
    inside = before["field.means"][:, 0] > 0
    moved = (after["field.means"] != before["field.means"]).any(1)
    assert not bool((moved & ~inside).any())
    assert bool((moved & inside).any())
    trainer.run(until=23)
    assert bool(((trainer.field.parameters["means"].detach() != after["field.means"]).any(1) & ~inside).any())


def test_fixed_exposures_are_applied_and_survive_a_resume() -> None:
    affine = torch.eye(3, 4).repeat(4, 1, 1)
    affine[2, 0, 3] = 0.25
    exposure = Exposure.fixed(affine)
    trainer = make_trainer(make_photos(make_gaussians(0)), Surroundings(exposure=exposure), iterations=12)
    trainer.run()
    assert torch.equal(trainer.exposure.parameters["affine"], affine)
    trainer.restore(trainer.state())
    assert torch.equal(trainer.exposure.parameters["affine"], affine)
    assert not trainer.exposure.trainable
    image = torch.zeros(2, 2, 3)
    assert float(trainer.exposure.apply(image, 2)[0, 0, 0]) == 0.25


class Pull:
    """A term that wants everything to be darker; it remembers when it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def is_due(self, iteration: int, iterations: int) -> bool:
        return iteration % 3 == 0

    def __call__(self, step: StepView) -> Float[Tensor, ""]:
        self.asked.append(step.iteration)
        beside = step.render(step.photo.camera)
        torch.testing.assert_close(beside, step.rendered.image)
        return 100.0 * step.rendered.image.mean()


def test_further_terms_take_part_when_they_are_due() -> None:
    photos = make_photos(make_gaussians(0))
    term = Pull()
    brightness = []
    for terms in ((), (term,)):
        trainer = make_trainer(photos, Surroundings(terms=terms, stage="part"), iterations=30)
        trainer.run()
        brightness.append(float(render_view(trainer.field.baked(1), photos[0].camera).image.mean()))
    assert term.asked == list(range(0, 30, 3))
    assert brightness[1] < 0.8 * brightness[0]


def test_a_photograph_that_cannot_be_read_is_left_out_with_a_warning() -> None:
    class Torn(Photographs):
        def load(self, index: int) -> TrainingImage:
            if index in broken:
                raise InputError("is cut short", where="2.png")
            return super().load(index)

    photos = make_photos(make_gaussians(0))
    broken = {2}
    notes, loader = Notes(), Torn(photos)
    trainer = Trainer(ExplicitField(make_gaussians(5, 40)), loader, VIEWS, SETTINGS, scene_scale=1.0, reporter=notes)
    trainer.run()
    assert trainer.iteration == SETTINGS.iterations
    assert notes.messages == ["warning: 2.png: is cut short; training goes on without this view"]
    assert set(loader.asked) == {0, 1, 3}
    assert trainer.state()[1]["skipped"] == [2]
    broken = {0, 1, 2, 3}
    trainer = Trainer(ExplicitField(make_gaussians(5, 40)), loader, VIEWS, SETTINGS, scene_scale=1.0, reporter=notes)
    with pytest.raises(InputError, match="cut short"):
        trainer.run()
