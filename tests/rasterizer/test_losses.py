"""The photometric loss on every backend, against a loop over windows and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rasterizer import RasterizerError, l1_ssim
from rasterizer.losses import ssim
from tests.rasterizer.scenes import BACKENDS, relative_error, require_backend, unchecked_shapes


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return require_backend(request.param)


def images(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(height, width, 3, generator=generator)
    noise = torch.randn(height, width, 3, generator=generator) * 0.1
    return (target + noise).clamp(0, 1), target


def naive_ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Window by window, zeros beyond the border."""
    side = np.arange(11) - 5
    kernel = np.exp(-(side[:, None] ** 2 + side[None] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    height, width, channels = first.shape
    padded = [np.pad(image, ((5, 5), (5, 5), (0, 0))) for image in (first, second)]
    result = np.zeros_like(first)
    for j in range(height):
        for i in range(width):
            for k in range(channels):
                x, y = (image[j : j + 11, i : i + 11, k] for image in padded)
                mean_x, mean_y = (kernel * x).sum(), (kernel * y).sum()
                var_x, var_y = (kernel * x * x).sum() - mean_x**2, (kernel * y * y).sum() - mean_y**2
                covariance = (kernel * x * y).sum() - mean_x * mean_y
                result[j, i, k] = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
                result[j, i, k] /= (mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)
    return result


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 20), (13, 8)])
def test_ssim_equals_a_loop_over_windows(backend: str, height: int, width: int) -> None:
    first, second = images(height, width)
    truth = naive_ssim(first.double().numpy(), second.double().numpy()).mean()
    assert float(ssim(first, second, backend=backend)) == pytest.approx(truth, abs=1e-5)


def test_the_loss_mixes_both_parts(backend: str) -> None:
    rendered, target = images(20, 17)
    l1, dissimilarity = (rendered - target).abs().mean(), 1 - ssim(rendered, target, backend=backend)
    for weight in (0.0, 0.2, 1.0):
        found = l1_ssim(rendered, target, ssim_weight=weight, backend=backend)
        assert float(found) == pytest.approx(float((1 - weight) * l1 + weight * dissimilarity), abs=1e-6)
    assert float(l1_ssim(rendered, target, backend=backend)) == pytest.approx(float(0.8 * l1 + 0.2 * dissimilarity))


def test_equal_images_cost_nothing(backend: str) -> None:
    _, target = images(15, 15)
    assert float(l1_ssim(target, target, backend=backend)) == pytest.approx(0, abs=1e-6)
    assert float(ssim(target, target, backend=backend)) == pytest.approx(1, abs=1e-6)


def test_masked_pixels_do_not_count(backend: str) -> None:
    rendered, target = images(24, 19)
    mask = torch.rand(24, 19, generator=torch.Generator().manual_seed(1)) > 0.3
    results = []
    for fill in (0.0, 0.7):
        spoilt = torch.where(mask[..., None], rendered, torch.full_like(rendered, fill)).requires_grad_()
        loss = l1_ssim(spoilt, target, mask=mask, backend=backend)
        loss.backward()
        assert not spoilt.grad[~mask].any()
        assert bool(spoilt.grad[mask].any())
        results.append((loss.detach(), spoilt.grad))
    torch.testing.assert_close(results[0], results[1])


def test_the_means_run_over_the_pixels_inside_the_mask(backend: str) -> None:
    rendered, target = images(16, 16)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, :4] = True
    replaced = torch.where(mask[..., None], rendered, target)
    similarity = naive_ssim(replaced.double().numpy(), target.double().numpy())[mask.numpy()].mean()
    l1 = float((rendered - target)[mask].abs().mean())
    found = l1_ssim(rendered, target, ssim_weight=0.5, mask=mask, backend=backend)
    assert float(found) == pytest.approx(0.5 * l1 + 0.5 * (1 - similarity), abs=1e-5)


def test_a_full_mask_is_no_mask_and_an_empty_one_no_loss(backend: str) -> None:
    rendered, target = images(12, 14)
    full, empty = torch.ones(12, 14, dtype=torch.bool), torch.zeros(12, 14, dtype=torch.bool)
    torch.testing.assert_close(
        l1_ssim(rendered, target, mask=full, backend=backend), l1_ssim(rendered, target, backend=backend)
    )
    leaf = rendered.clone().requires_grad_()
    loss = l1_ssim(leaf, target, mask=empty, backend=backend)
    loss.backward()
    assert loss.item() == 0
    assert not leaf.grad.any()


@pytest.mark.parametrize("masked", [False, True])
def test_derivatives_equal_finite_differences(masked: bool) -> None:
    rendered, target = (image.double() for image in images(7, 6))
    mask = torch.rand(7, 6, generator=torch.Generator().manual_seed(2)) > 0.3 if masked else None

    def run(rendered: Tensor) -> Tensor:
        return l1_ssim(rendered, target, ssim_weight=0.4, mask=mask, backend="reference")

    with unchecked_shapes():
        assert torch.autograd.gradcheck(run, (rendered.requires_grad_(),))


@pytest.mark.parametrize("masked", [False, True])
def test_fast_derivatives_equal_the_reference_in_double_precision(masked: bool) -> None:
    fast = require_backend("cpu")
    mask = torch.rand(61, 83, generator=torch.Generator().manual_seed(3)) > 0.3 if masked else None
    results = []
    for name, precision in ((fast, torch.float32), ("reference", torch.float64)):
        rendered, target = (image.to(precision) for image in images(61, 83))
        rendered.requires_grad_()
        loss = l1_ssim(rendered, target, mask=mask, backend=name)
        loss.backward()
        results.append((loss.detach(), rendered.grad))
    assert float(results[0][0]) == pytest.approx(float(results[1][0]), abs=1e-6)
    assert relative_error(results[0][1], results[1][1]) <= 2e-5


def test_the_loss_scales_its_gradient(backend: str) -> None:
    rendered, target = images(9, 9)
    gradients = []
    for factor in (1.0, 3.0):
        leaf = rendered.clone().requires_grad_()
        (factor * l1_ssim(leaf, target, backend=backend)).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(3 * gradients[0], gradients[1])


def test_wrong_images_are_named() -> None:
    rendered, target = images(9, 9)
    cases = [
        ({"rendered": rendered[..., :2]}, "rendered has shape"),
        ({"rendered": rendered[:0], "target": target[:0]}, "at least one pixel"),
        ({"target": target[:5]}, "target has shape"),
        ({"target": target.double()}, "expected both float32 or float64"),
        ({"mask": torch.ones(9, 9)}, "mask is torch.float32"),
        ({"mask": torch.ones(9, 8, dtype=torch.bool)}, "mask is torch.bool of shape"),
        ({"ssim_weight": 1.5}, "ssim_weight is 1.5"),
        ({"ssim_weight": math.nan}, "ssim_weight is nan"),
    ]
    for changes, message in cases:
        with unchecked_shapes(), pytest.raises(RasterizerError, match=message):
            l1_ssim(**{"rendered": rendered, "target": target, "backend": "reference"} | changes)
