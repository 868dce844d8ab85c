"""The switches of the loss: coarser images, and a floor under the size of Gaussians."""

from dataclasses import replace

import pytest
import torch

from scene3d.errors import SettingsError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.regularisation import multiscale_l1, regularisation, size_shortfall
from scene3d.training.settings import LossSettings, ReconstructSettings


def _gaussians(log_scales: list[list[float]]) -> Gaussians:
    num = len(log_scales)
    return Gaussians(
        means=torch.zeros(num, 3),
        quats=torch.ones(num, 4),
        log_scales=torch.tensor(log_scales, requires_grad=True),
        opacity_logits=torch.zeros(num),
        sh=torch.zeros(num, 1, 3),
    )


def _random(seed: int) -> torch.Tensor:
    return torch.rand(17, 22, 3, generator=torch.Generator().manual_seed(seed))


def test_a_constant_difference_counts_once_per_level() -> None:
    image = _random(0)
    assert float(multiscale_l1(image + 0.1, image, None)) == pytest.approx(0.3, rel=1e-4)


def test_what_averages_out_does_not_count() -> None:
    image = torch.zeros(16, 16, 3)
    checker = image.clone()
    checker[::2, ::2], checker[1::2, 1::2], checker[::2, 1::2], checker[1::2, ::2] = 0.5, 0.5, -0.5, -0.5
    assert float(multiscale_l1(checker, image, None)) == pytest.approx(0, abs=1e-7)


def test_masked_pixels_have_no_influence_on_any_level() -> None:
    image, target = _random(0), _random(1)
    mask = torch.ones(17, 22, dtype=torch.bool)
    mask[:, :9] = False
    changed = torch.where(mask[..., None], target, _random(2))
    assert float(multiscale_l1(image, target, mask)) == float(multiscale_l1(image, changed, mask)) > 0
    assert float(multiscale_l1(image, target, torch.zeros_like(mask))) == 0


def test_only_the_thinnest_side_below_the_floor_counts() -> None:
    floor = 0.1
    thick = _gaussians([[0.0, 0.0, -2.0]])
    assert float(size_shortfall(thick, floor).detach()) == 0
    half = _gaussians([[0.0, 0.0, float(torch.tensor(0.05).log())], [0.0, 0.0, 0.0]])
    loss = size_shortfall(half, floor)
    assert float(loss.detach()) == pytest.approx(0.25)
    loss.backward()
    grown = half.log_scales.grad
    assert grown is not None
    assert float(grown[0, 2]) < 0
    assert float(grown.abs().sum()) == pytest.approx(float(grown[0, 2].abs()))


def test_the_floor_is_a_share_of_the_scene() -> None:
    settings = ReconstructSettings(loss=LossSettings(size_floor=0.01, size_floor_weight=2.0))
    small, large = _gaussians([[-6.0, -6.0, -6.0]]), _gaussians([[-6.0 + 3.0] * 3])
    one = regularisation(small, settings, 1.0).detach()
    assert float(one) > 0
    torch.testing.assert_close(one, regularisation(large, settings, float(torch.tensor(3.0).exp())).detach())
    assert float(regularisation(small, ReconstructSettings(), 1.0)) == 0


@pytest.mark.parametrize("name", ["size_floor_weight", "multiscale_weight"])
def test_negative_weights_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        replace(LossSettings(), **{name: -1.0})
