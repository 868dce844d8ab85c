"""The fused loss of the CPU kernels against plain convolution in double precision, per instruction set."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from rasterizer.backends.cpu.library import Library, load_library
from rasterizer.backends.cpu.ops import CpuOps
from rasterizer.backends.reference.ops import ReferenceOps
from rasterizer.errors import BackendUnavailable, RasterizerError
from rasterizer.types import Ops
from tests.rasterizer.scenes import relative_error, unchecked_shapes

# One pixel; less than a vector; less than a window; more than one strip across (384 numbers) and down (64 rows).
SIZES = [(1, 1), (2, 3), (9, 40), (64, 128), (70, 131)]


@pytest.fixture(scope="module")
def library() -> Library:
    try:
        return load_library()
    except BackendUnavailable as error:
        pytest.skip(f"no CPU library here: {error}")


@pytest.fixture(params=["baseline", "v3", "v4"])
def ops(request: pytest.FixtureRequest, library: Library) -> Iterator[CpuOps]:
    if not library.has_isa(request.param):
        pytest.skip(f"this machine has no instruction set '{request.param}'")
    before = library.isa
    library.set_isa(request.param)
    yield CpuOps()
    library.set_isa(before)


def make_images(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A smooth photograph and a noisy rendering of it."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, 3, height + 6, width + 6, generator=generator)
    target = torch.nn.functional.avg_pool2d(noise, 7, stride=1)[0].permute(1, 2, 0).contiguous()
    rendered = target + 0.1 * torch.randn(height, width, 3, generator=generator)
    return rendered.clamp(0, 1), target


def value_and_gradient(
    ops: Ops, rendered: Tensor, target: Tensor, weight: float, mask: Tensor | None
) -> tuple[float, Tensor]:
    rendered = rendered.clone().requires_grad_()
    loss = ops.l1_ssim(rendered, target, weight, mask)
    (2 * loss).backward()
    return float(loss.detach()), rendered.grad


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_value_and_derivative_equal_those_in_double_precision(
    ops: CpuOps, height: int, width: int, masked: bool
) -> None:
    rendered, target = make_images(height, width)
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(1)) > 0.4 if masked else None
    found, gradient = value_and_gradient(ops, rendered, target, 0.2, mask)
    truth, true_gradient = value_and_gradient(ReferenceOps(), rendered.double(), target.double(), 0.2, mask)
    assert found == pytest.approx(truth, abs=3e-6)
    assert relative_error(gradient, true_gradient) <= 2e-5
    assert mask is None or not gradient[~mask].any()


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_either_part_can_be_had_alone(ops: CpuOps, weight: float) -> None:
    rendered, target = make_images(40, 50)
    found, gradient = value_and_gradient(ops, rendered, target, weight, None)
    truth, true_gradient = value_and_gradient(ReferenceOps(), rendered.double(), target.double(), weight, None)
    assert found == pytest.approx(truth, abs=1e-6)
    assert relative_error(gradient, true_gradient) <= 2e-5


def test_what_is_masked_out_may_be_anything(ops: CpuOps) -> None:
    rendered, target = make_images(30, 41)
    mask = torch.ones(30, 41, dtype=torch.bool)
    mask[10:15, 5:30] = False
    clean = value_and_gradient(ops, rendered, target, 0.2, mask)
    rendered[~mask] = torch.nan
    spoilt = value_and_gradient(ops, rendered, target, 0.2, mask)
    assert clean[0] == spoilt[0]
    assert torch.equal(clean[1], spoilt[1])


def test_a_broken_rendering_shows_in_the_loss(ops: CpuOps) -> None:
    rendered, target = make_images(30, 41)
    rendered[3, 4, 1] = torch.nan
    assert ops.l1_ssim(rendered, target, 0.2, None).isnan()


def test_the_value_is_the_same_without_gradient_and_on_any_threads(ops: CpuOps) -> None:
    rendered, target = make_images(200, 180)
    value, gradient = value_and_gradient(ops, rendered, target, 0.2, None)
    assert float(ops.l1_ssim(rendered, target, 0.2, None)) == value
    for num_threads in (2, 5):
        torch.set_num_threads(num_threads)
        again, gradient_again = value_and_gradient(ops, rendered, target, 0.2, None)
        assert again == value
        assert torch.equal(gradient_again, gradient)


def test_memory_layout_changes_nothing(ops: CpuOps) -> None:
    rendered, target = make_images(33, 29)
    planar = rendered.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not planar.is_contiguous()
    assert torch.equal(ops.l1_ssim(planar, target, 0.2, None), ops.l1_ssim(rendered, target, 0.2, None))


def test_equal_images_cost_nothing_wherever_they_are_bright(ops: CpuOps) -> None:
    for level in (0.0, 0.5, 1.0):
        flat = torch.full((20, 30, 3), level)
        value, gradient = value_and_gradient(ops, flat, flat, 1.0, None)
        assert value == pytest.approx(0, abs=1e-6)
        assert float(gradient.abs().max()) < 1e-6


def test_images_that_do_not_fit_are_named(library: Library) -> None:
    rendered, target = make_images(8, 8)
    with unchecked_shapes(), pytest.raises(RasterizerError, match=r"\[8, 8, 3\] and \[8, 7, 3\]"):
        CpuOps().l1_ssim(rendered, target[:, :7], 0.2, None)
    with pytest.raises(RasterizerError, match="'rendered' is float64"):
        CpuOps().l1_ssim(rendered.double(), target.double(), 0.2, None)
