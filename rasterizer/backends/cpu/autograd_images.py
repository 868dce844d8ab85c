"""Owns the autograd functions that make images of splats, and a loss of images, by the C++ kernels.

Inputs are float32 CPU tensors, checked by the caller.
"""

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rasterizer.backends.cpu.library import BlendArguments, L1SsimArguments, address, contiguous, load_library


@dataclass(frozen=True, slots=True)
class Wishes:
    """Numbers and wishes of a blend that are no tensors."""

    width: int
    height: int
    absgrad: bool
    weights: bool
    median_depth: bool
    differentiable: bool
    """Whether backward may come; `needs_input_grad` does not know about `torch.no_grad`."""


class _BlendState:
    """Holds what the forward pass leaves for the backward pass, for as long as the graph lives."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        free = weakref.finalize(self, load_library().blend_free, handle)
        free.atexit = False  # the process is about to give everything back


def _blend_arguments(wishes: Wishes, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, Tensor]) -> Any:
    means2d, conics, colors, opacities, backgrounds, depths, radii = inputs
    assert colors is not None
    return BlendArguments(
        num_gaussians=colors.shape[1],
        num_cameras=colors.shape[0],
        width=wishes.width,
        height=wishes.height,
        num_channels=colors.shape[2],
        num_threads=torch.get_num_threads(),
        means2d=address(means2d),
        conics=address(conics),
        colors=address(colors),
        opacities=address(opacities),
        depths=address(depths),
        radii=address(radii),
        backgrounds=address(backgrounds),
        image=address(outputs[0]),
        alphas=address(outputs[1]),
    )


class Blend(torch.autograd.Function):
    """Projected Gaussians blended into images; see `Ops.blend`."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor | None, ...]:
        *tensors, wishes = arguments
        inputs = tuple(contiguous(tensor) for tensor in tensors)
        num_cameras, num_gaussians, num_channels = tensors[2].shape
        image = torch.empty(num_cameras, wishes.height, wishes.width, num_channels)
        alphas = torch.empty(num_cameras, wishes.height, wishes.width, 1)
        sums = [torch.empty(num_cameras, num_gaussians) if wishes.weights else None for _ in range(2)]
        median = torch.empty_like(alphas) if wishes.median_depth else None
        kernel = _blend_arguments(wishes, inputs, (image, alphas))
        kernel.weight_sum, kernel.weight_max = address(sums[0]), address(sums[1])
        kernel.median_depth = address(median)
        handle = load_library().blend_forward(kernel, keep_state=wishes.differentiable)
        ctx.state = None if handle is None else _BlendState(handle)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(extra for extra in (*sums, median) if extra is not None))
        # The caller's own means2d, not a contiguous copy: absgrad is hung on it.
        ctx.save_for_backward(tensors[0], *inputs[1:], image, alphas)
        ctx.wishes = wishes
        return image, alphas, *sums, median

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        means2d, *rest, image, alphas = ctx.saved_tensors
        inputs = (means2d.contiguous(), *rest)
        v_image, v_alphas = contiguous(gradients[0]), contiguous(gradients[1])
        kernel = _blend_arguments(ctx.wishes, inputs, (image, alphas))
        kernel.v_image, kernel.v_alphas = address(v_image), address(v_alphas)
        v_means2d, v_conics, v_colors, v_opacities, v_backgrounds = [
            torch.empty_like(tensor) if wanted else None
            for tensor, wanted in zip(inputs[:5], ctx.needs_input_grad[:5], strict=True)
        ]
        kernel.v_means2d, kernel.v_conics = address(v_means2d), address(v_conics)
        kernel.v_colors, kernel.v_opacities = address(v_colors), address(v_opacities)
        kernel.v_backgrounds = address(v_backgrounds)
        absolute = torch.empty_like(inputs[0]) if ctx.wishes.absgrad else None
        kernel.v_means2d_abs = address(absolute)
        load_library().blend_backward(kernel, ctx.state.handle)
        if absolute is not None:
            means2d.absgrad = absolute
        return v_means2d, v_conics, v_colors, v_opacities, v_backgrounds, None, None, None


class L1Ssim(torch.autograd.Function):
    """Computes the gradient together with the value; backward only scales it."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        rendered, target, ssim_weight, mask, differentiable = arguments
        rendered, target, mask = rendered.contiguous(), target.contiguous(), contiguous(mask)
        v_rendered = torch.empty_like(rendered) if differentiable else None
        loss = ctypes.c_double()
        height, width, num_channels = rendered.shape
        kernel = L1SsimArguments(
            width=width,
            height=height,
            num_channels=num_channels,
            num_threads=torch.get_num_threads(),
            ssim_weight=ssim_weight,
            rendered=address(rendered),
            target=address(target),
            mask=address(mask),
            loss=ctypes.pointer(loss),
            v_rendered=address(v_rendered),
        )
        load_library().call("s3d_l1_ssim", kernel)
        ctx.save_for_backward(v_rendered)
        return torch.tensor(loss.value, dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (v_rendered,) = ctx.saved_tensors
        return v_rendered * gradients[0], None, None, None, None
