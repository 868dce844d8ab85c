"""The shared decoder: one optimiser, a teacher that follows by the book, and a life that can be saved."""

import pytest
import torch

from scene3d.gaussians.decoder import decoder_checksum, flat_parameters
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.shared_decoder import SharedDecoder

SMALL = AnchorSettings(features=6, hidden=8, offsets=2)


def _shared(**changes: object) -> SharedDecoder:
    settings = AnchorSettings(**{"features": 6, "hidden": 8, "offsets": 2, "teacher": "step", **changes})
    return SharedDecoder(settings, steps=50, seed=0, sh_degree=1)


def _gradient(shared: SharedDecoder, seed: int) -> torch.Tensor:
    return torch.randn(shared.num_parameters, generator=torch.Generator().manual_seed(seed))


def test_gradients_are_taken_once() -> None:
    shared = _shared()
    assert float(shared.take_gradient().abs().sum()) == 0
    shared.student(torch.ones(3, 6)).sh.sum().backward()
    assert float(shared.take_gradient().abs().sum()) > 0
    assert float(shared.take_gradient().abs().sum()) == 0


def test_gradients_of_several_backward_passes_add_up() -> None:
    shared = _shared()
    parts = []
    for value in (1.0, -2.0):
        shared.student(torch.full((3, 6), value)).sh.square().sum().backward()
        parts.append(shared.take_gradient())
    for value in (1.0, -2.0):
        shared.student(torch.full((3, 6), value)).sh.square().sum().backward()
    torch.testing.assert_close(shared.take_gradient(), parts[0] + parts[1])


def test_a_step_is_adams() -> None:
    shared = _shared(final_ratio=1.0, opacity_lr=0.01, covariance_lr=0.01, color_lr=0.01)
    value = flat_parameters(shared.student).clone().requires_grad_()
    twin = torch.optim.Adam([value], lr=0.01, eps=1e-15)
    for seed in range(5):
        value.grad = _gradient(shared, seed)
        twin.step()
        shared.step(_gradient(shared, seed))
    torch.testing.assert_close(flat_parameters(shared.student), value.detach(), rtol=1e-5, atol=1e-6)


def test_each_head_steps_at_its_own_rate() -> None:
    shared = _shared(opacity_lr=0.01, covariance_lr=0.0, color_lr=0.0)
    before = {name: value.detach().clone() for name, value in shared.student.named_parameters()}
    shared.step(torch.ones(shared.num_parameters))
    moved = {name: (value.detach() - before[name]).abs() for name, value in shared.student.named_parameters()}
    assert float(moved["opacity.weight"].min()) > 0
    assert float(moved["color.weight"].max()) == 0
    assert float(moved["hidden.weight"][:8].min()) > 0
    assert float(moved["hidden.weight"][8:].max()) == 0


@pytest.mark.parametrize("momentum", [0.9, 0.5, 0.0, 1.0])
def test_the_teacher_follows_in_closed_form(momentum: float) -> None:
    shared = _shared(teacher_momentum=momentum)
    first = flat_parameters(shared.teacher).double()
    students = []
    for seed in range(12):
        shared.step(_gradient(shared, seed))
        students.append(flat_parameters(shared.student).double())
    count = len(students)
    expected = momentum**count * first
    for i, student in enumerate(students):
        expected = expected + (1 - momentum) * momentum ** (count - 1 - i) * student
    torch.testing.assert_close(flat_parameters(shared.teacher).double(), expected, rtol=0, atol=1e-6)
    if momentum == 0:
        assert decoder_checksum(shared.teacher) == shared.checksum()
    if momentum == 1:
        assert torch.equal(flat_parameters(shared.teacher).double(), first)


def test_a_teacher_of_rounds_moves_at_their_end_only() -> None:
    shared = _shared(teacher="round", teacher_momentum=0.5)
    first = flat_parameters(shared.teacher)
    shared.step(_gradient(shared, 1))
    assert torch.equal(flat_parameters(shared.teacher), first)
    shared.end_round()
    expected = 0.5 * first + 0.5 * flat_parameters(shared.student)
    torch.testing.assert_close(flat_parameters(shared.teacher), expected)


def test_a_frozen_decoder_changes_no_more_and_teaches_nothing() -> None:
    shared = _shared()
    shared.step(_gradient(shared, 0))
    assert shared.teaches
    shared.freeze()
    before, teacher = shared.checksum(), decoder_checksum(shared.teacher)
    features = torch.ones(3, 6, requires_grad=True)
    shared.student(features).sh.sum().backward()
    assert features.grad is not None
    assert float(shared.take_gradient().abs().sum()) == 0
    shared.step(_gradient(shared, 1))
    shared.end_round()
    assert (shared.checksum(), decoder_checksum(shared.teacher)) == (before, teacher)
    assert not shared.teaches


@pytest.mark.parametrize("frozen", [False, True])
def test_a_restored_decoder_goes_on_bit_for_bit(frozen: bool) -> None:
    shared, twin = _shared(), _shared()
    for seed in range(3):
        shared.step(_gradient(shared, seed))
    if frozen:
        shared.freeze()
    twin.restore(shared.capture())
    for seed in (7, 8):
        shared.step(_gradient(shared, seed))
        twin.step(_gradient(twin, seed))
    assert twin.is_frozen == frozen
    mine, theirs = shared.capture(), twin.capture()
    assert mine.keys() == theirs.keys()
    assert all(name.startswith("decoder.") and torch.equal(mine[name], theirs[name]) for name in mine)


def test_what_was_captured_is_a_copy() -> None:
    shared = _shared()
    state = shared.capture()
    before = {name: value.clone() for name, value in state.items()}
    shared.step(_gradient(shared, 0))
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_numbers_that_are_not_finite_are_noticed() -> None:
    shared = _shared()
    assert shared.is_finite()
    shared.step(torch.full((shared.num_parameters,), float("nan")))
    assert not shared.is_finite()


@pytest.mark.parametrize(("steps", "chosen", "weight"), [(1_000, None, 0.5), (200_000, None, 50.0), (1_000, 7.0, 7.0)])
def test_short_runs_are_pulled_less_towards_their_teacher(steps: int, chosen: float | None, weight: float) -> None:
    decoder = SharedDecoder(AnchorSettings(distill_weight=chosen), steps=steps, seed=0, sh_degree=1)
    assert decoder.distill_weight == pytest.approx(weight)
    assert decoder.teaches


def test_no_weight_means_no_teacher() -> None:
    assert not SharedDecoder(AnchorSettings(distill_weight=0.0), steps=50, seed=0, sh_degree=1).teaches
