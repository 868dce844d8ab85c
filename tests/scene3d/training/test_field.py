"""The explicit field keeps its parameters and moments together."""

import torch

from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.explicit_field import PARAMETERS, ExplicitField
from scene3d.training.exposure import Exposure


def _field(num: int = 6, degree: int = 0) -> ExplicitField:
    generator = torch.Generator().manual_seed(0)
    return ExplicitField(
        Gaussians(
            means=torch.randn(num, 3, generator=generator),
            quats=torch.randn(num, 4, generator=generator),
            log_scales=torch.randn(num, 3, generator=generator),
            opacity_logits=torch.randn(num, generator=generator),
            sh=torch.randn(num, (degree + 1) ** 2, 3, generator=generator),
        ),
        sh_degree=degree,
    )


def _step(field: ExplicitField, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for value in field.parameters.values():
        value.grad = torch.randn(value.shape, generator=generator)
    rates = dict.fromkeys(PARAMETERS, 0.01)
    field.adam.step(field.parameters, rates, torch.rand(len(field), generator=generator) > 0.3)


def test_a_restored_field_continues_bit_for_bit() -> None:
    field = _field(degree=1)
    _step(field, 1)
    twin = _field()
    twin.restore(field.capture())
    for seed in (2, 3):
        _step(field, seed)
        _step(twin, seed)
    assert all(torch.equal(field.capture()[name], twin.capture()[name]) for name in field.capture())


def test_capture_is_a_copy() -> None:
    field = _field()
    state = field.capture()
    before = state["field.means"].clone()
    _step(field, 1)
    assert torch.equal(state["field.means"], before)


def test_raising_the_degree_keeps_what_was_learned_and_adds_zeros() -> None:
    field = _field()
    _step(field, 1)
    before = field.parameters["sh"].detach().clone()
    field.raise_sh_degree(2)
    assert field.sh_degree == 2
    assert torch.equal(field.parameters["sh"].detach()[:, :1], before)
    assert float(field.parameters["sh"].detach()[:, 1:].abs().sum()) == 0
    _step(field, 2)
    field.raise_sh_degree(1)
    assert field.sh_degree == 2


def test_baking_fills_up_to_the_asked_degree() -> None:
    baked = _field().baked(3)
    assert baked.sh.shape == (6, 16, 3)
    assert not baked.means.requires_grad


def test_non_finite_values_are_found_with_their_row() -> None:
    field = _field()
    assert field.find_nonfinite() is None
    with torch.no_grad():
        field.parameters["quats"][2, 1] = float("nan")
    found = field.find_nonfinite()
    assert found is not None
    assert found.tolist() == [0, 0, 1, 0, 0, 0]


def test_the_mean_exposure_stays_the_identity() -> None:
    exposure = Exposure(5)
    for view in (0, 3, 3, 1):
        exposure.apply(torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(view)), view).sum().backward()
        exposure.step(view, 0.05)
    affine = exposure.parameters["affine"].detach()
    torch.testing.assert_close(affine.mean(0), torch.eye(3, 4), rtol=0, atol=1e-6)
    assert float((affine[3] - torch.eye(3, 4)).abs().max()) > 0.01


def test_an_exposure_begins_with_measured_gains_whose_mean_is_the_identity() -> None:
    gains = torch.tensor([[1.2, 1.0, 0.9], [0.8, 1.1, 1.2], [1.1, 1.0, 0.7]])
    exposure = Exposure.from_gains(gains)
    assert exposure.trainable
    affine = exposure.parameters["affine"].detach()
    torch.testing.assert_close(affine.mean(0), torch.eye(3, 4))
    image = torch.full((2, 2, 3), 0.5)
    torch.testing.assert_close(exposure.apply(image, 0).detach()[0, 0], 0.5 * gains[0] / gains.mean(0))
    exposure.apply(image, 1).sum().backward()
    exposure.step(1, 0.01)
    torch.testing.assert_close(exposure.parameters["affine"].detach().mean(0), torch.eye(3, 4))


def test_a_disabled_exposure_changes_nothing() -> None:
    exposure = Exposure(2, enabled=False)
    image = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0))
    assert exposure.apply(image, 1) is image
