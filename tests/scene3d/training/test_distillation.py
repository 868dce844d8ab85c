"""Distillation: the teacher is only listened to, every head is compared, blocks that share a decoder agree sooner."""

from dataclasses import replace

import pytest
import torch

from scene3d.data.loader import TrainingImage
from scene3d.gaussians.decoder import Decoded, Decoder
from scene3d.gaussians.decoder_shape import DecoderShape
from scene3d.gaussians.gaussians import SH_C0
from scene3d.seeding import make_generator
from scene3d.training.distillation import distillation_loss
from scene3d.training.hooks import Surroundings
from tests.scene3d.training.anchor_scenes import SETTINGS, make_field, make_trainer, with_anchors
from tests.scene3d.training.small_scenes import make_photographs


def _decoder(mode: str, seed: int) -> Decoder:
    decoder = Decoder(
        DecoderShape(num_features=6, num_hidden=8, num_offsets=3, sh_degree=1, mode=mode), make_generator(seed)
    )
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=make_generator(seed, "more"))
    return decoder.double()


def _inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = make_generator(3)
    features = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    directions = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    return features, torch.nn.functional.normalize(directions, dim=1)


@pytest.mark.parametrize("mode", ["static", "view"])
def test_the_gradient_of_features_is_that_of_the_detached_form(mode: str) -> None:
    student, teacher = _decoder(mode, 1), _decoder(mode, 2)
    features, directions = _inputs()
    fixed = teacher(features, directions)
    leaf = features.clone().requires_grad_()
    distillation_loss(student(leaf, directions), teacher(leaf, directions), directions).backward()
    step = 1e-6
    for row, column in ((0, 0), (1, 3), (2, 5), (4, 2)):
        values = []
        for sign in (1, -1):
            moved = features.clone()
            moved[row, column] += sign * step
            with torch.no_grad():
                values.append(float(distillation_loss(student(moved, directions), fixed, directions)))
        expected = (values[0] - values[1]) / (2 * step)
        assert abs(float(leaf.grad[row, column]) - expected) <= 1e-3 * abs(expected)


def test_the_teacher_receives_no_gradient() -> None:
    photos = make_photographs(8)
    trainer = make_trainer(photos, with_anchors(SETTINGS, teacher="step"))
    trainer.run(5)
    shared = trainer.field.shared
    drawn = trainer.field.draw(photos[1].camera)
    assert float(drawn.distillation.detach()) > 0
    drawn.distillation.backward()
    assert all(parameter.grad is None for parameter in shared.teacher.parameters())
    assert float(shared.take_gradient().abs().sum()) > 0
    assert float(trainer.field.parameters["features"].grad.abs().sum()) > 0


def _decoded(**changes: torch.Tensor) -> Decoded:
    values = {
        "opacity_logits": torch.zeros(2, 2),
        "log_shares": torch.zeros(2, 2, 3),
        "quats": torch.tensor([1.0, 0, 0, 0]).expand(2, 2, 4),
        "sh": torch.zeros(2, 2, 4, 3),
    }
    return Decoded(**{**values, **changes})


UP = torch.tensor([[0.0, 0, 1], [0, 0, 1]])


def test_decoders_that_agree_lose_nothing() -> None:
    assert float(distillation_loss(_decoded(), _decoded(), UP)) == 0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("opacity_logits", torch.full((2, 2), 1.0), (torch.tensor(1.0).sigmoid().item() - 0.5) ** 2),
        ("log_shares", torch.full((2, 2, 3), 0.1), 0.01),
        ("quats", torch.tensor([0.0, 3, 0, 0]).expand(2, 2, 4), 0.5),
        ("sh", torch.ones(2, 2, 4, 3) * torch.tensor([1.0, 0, 0, 0])[:, None], SH_C0**2),
    ],
)
def test_every_head_is_compared(name: str, value: torch.Tensor, expected: float) -> None:
    loss = distillation_loss(_decoded(**{name: value}), _decoded(), UP)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_colours_are_compared_as_the_camera_sees_them() -> None:
    differing = torch.zeros(2, 2, 4, 3)
    differing[:, :, 1] = 1.0  # seen along y only
    other = _decoded(sh=differing)
    assert float(distillation_loss(other, _decoded(), UP)) == pytest.approx(0, abs=1e-12)
    assert float(distillation_loss(other, _decoded(), UP[:, [0, 2, 1]])) > 0.1


def test_what_the_student_does_not_draw_has_no_colour_to_disagree_about() -> None:
    hidden = torch.tensor([[0.0, -20], [-20, -20]])
    differing = torch.zeros(2, 2, 4, 3)
    differing[0, 1] = differing[1] = 5.0
    loss = distillation_loss(_decoded(opacity_logits=hidden, sh=differing), _decoded(opacity_logits=hidden), UP)
    assert float(loss) == 0


def test_the_weight_of_a_block_does_not_touch_distillation() -> None:
    photos = make_photographs(8)
    settings = replace(with_anchors(SETTINGS, teacher="step"), loss=replace(SETTINGS.loss, drop_share=0.0))
    losses, statistics = [], []
    for weight in (1.0, 2.0):
        trainer = make_trainer(photos, settings, surroundings=Surroundings(block_weight=weight))
        with torch.no_grad():
            for parameter in trainer.field.shared.teacher.parameters():
                parameter += 0.05
        distillation = [float(trainer.field.draw(p.camera).distillation.detach()) for p in photos]
        state = trainer.state()
        losses.append(trainer.advance())
        view = (1, 2, 3, 5, 6, 7)[int(_first_of_order(state, settings))]
        statistics.append(trainer.field.statistics.gradient_sum.clone())
    assert losses[1] - losses[0] == pytest.approx(losses[0] - distillation[view], rel=1e-4)
    torch.testing.assert_close(statistics[0], statistics[1], rtol=1e-4, atol=1e-7)


def _first_of_order(state, settings) -> int:
    generator = torch.Generator()
    generator.set_state(state[0]["trainer.generator"])
    return int(torch.randperm(6, generator=generator)[0])


def _spread_between_turns(photos: list[list[TrainingImage]], weight: float) -> float:
    """How much the decoder's colours for fixed features change from turn to turn of two blocks that share it."""
    settings = with_anchors(SETTINGS, teacher="step", distill_weight=weight)
    shared = make_field(settings)[1]
    surroundings = Surroundings(shared=shared, steps_shared=False)
    trainers = [make_trainer(each, settings, surroundings=surroundings) for each in photos]
    probe = torch.randn(40, 8, generator=make_generator(11))
    seen = []
    for turn in range(8):
        for _ in range(6):
            trainers[turn % 2].advance()
            shared.step(shared.take_gradient())
        seen.append(shared.student(probe).sh[:, :, 0].detach())
    changes = torch.stack(seen[3:]).diff(dim=0)
    return float(changes.square().mean())


def test_the_teacher_calms_the_decoder_between_the_turns_of_two_blocks() -> None:
    photos = [make_photographs(8, seed) for seed in (0, 1)]
    assert _spread_between_turns(photos, 50.0) < 0.8 * _spread_between_turns(photos, 0.0)
