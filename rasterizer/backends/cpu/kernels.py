"""Owns the autograd functions over the C++ kernels: what is saved, what is asked for, where results go.

Inputs are float32 CPU tensors, checked by the caller.
"""

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rasterizer.backends.cpu.library import (
    BlendArguments,
    L1SsimArguments,
    ProjectArguments,
    ShadeArguments,
    address,
    load_library,
)


@dataclass(frozen=True, slots=True)
class Lens:
    """Numbers of a projection that are no tensors."""

    width: int
    height: int
    near_plane: float
    far_plane: float
    eps2d: float
    radius_clip: float


def _project_arguments(lens: Lens, inputs: tuple[Tensor, ...], radii: Tensor) -> ProjectArguments:
    means, quats, scales, viewmats, opacities, Ks = inputs
    return ProjectArguments(
        num_gaussians=means.shape[0],
        num_cameras=viewmats.shape[0],
        width=lens.width,
        height=lens.height,
        num_threads=torch.get_num_threads(),
        near_plane=lens.near_plane,
        far_plane=lens.far_plane,
        eps2d=lens.eps2d,
        radius_clip=lens.radius_clip,
        means=address(means),
        quats=address(quats),
        scales=address(scales),
        opacities=address(opacities),
        viewmats=address(viewmats),
        Ks=address(Ks),
        radii=address(radii),
    )


class Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        *tensors, lens = arguments
        inputs = tuple(tensor.contiguous() for tensor in tensors)
        num_gaussians, num_cameras = inputs[0].shape[0], inputs[3].shape[0]
        means2d = torch.empty(num_cameras, num_gaussians, 2)
        depths = torch.empty(num_cameras, num_gaussians)
        conics = torch.empty(num_cameras, num_gaussians, 3)
        compensations = torch.empty(num_cameras, num_gaussians)
        radii = torch.empty(num_cameras, num_gaussians, 2, dtype=torch.int32)
        kernel = _project_arguments(lens, inputs, radii)
        kernel.means2d, kernel.depths = address(means2d), address(depths)
        kernel.conics, kernel.compensations = address(conics), address(compensations)
        load_library().call("s3d_project_forward", kernel)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(radii)
        ctx.save_for_backward(*inputs, radii)
        ctx.lens = lens
        return means2d, depths, conics, compensations, radii

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, radii = ctx.saved_tensors
        v_means2d, v_depths, v_conics, v_compensations = [_contiguous(gradient) for gradient in gradients[:4]]
        kernel = _project_arguments(ctx.lens, tuple(inputs), radii)
        kernel.v_means2d, kernel.v_depths = address(v_means2d), address(v_depths)
        kernel.v_conics, kernel.v_compensations = address(v_conics), address(v_compensations)
        v_means, v_quats, v_scales, v_viewmats = [
            torch.empty_like(tensor) if wanted else None
            for tensor, wanted in zip(inputs[:4], ctx.needs_input_grad[:4], strict=True)
        ]
        kernel.v_means, kernel.v_quats = address(v_means), address(v_quats)
        kernel.v_scales, kernel.v_viewmats = address(v_scales), address(v_viewmats)
        load_library().call("s3d_project_backward", kernel)
        return v_means, v_quats, v_scales, v_viewmats, None, None, None


def _shade_arguments(degree: int, inputs: tuple[Tensor, ...], colors: Tensor) -> ShadeArguments:
    means, sh, centers, radii = inputs
    return ShadeArguments(
        num_gaussians=means.shape[0],
        num_cameras=centers.shape[0],
        sh_degree=degree,
        num_bases=sh.shape[1],
        num_threads=torch.get_num_threads(),
        means=address(means),
        sh=address(sh),
        camera_centers=address(centers),
        radii=address(radii),
        colors=address(colors),
    )


class Shade(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *tensors, degree = arguments
        inputs = tuple(tensor.contiguous() for tensor in tensors)
        colors = torch.empty(inputs[2].shape[0], inputs[0].shape[0], 3)
        load_library().call("s3d_shade_forward", _shade_arguments(degree, inputs, colors))
        ctx.save_for_backward(*inputs, colors)
        ctx.degree = degree
        return colors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, colors = ctx.saved_tensors
        v_colors = gradients[0].contiguous()
        kernel = _shade_arguments(ctx.degree, tuple(inputs), colors)
        v_means, v_sh, v_centers = [
            torch.empty_like(tensor) if wanted else None
            for tensor, wanted in zip(inputs[:3], ctx.needs_input_grad[:3], strict=True)
        ]
        kernel.v_colors, kernel.v_means = address(v_colors), address(v_means)
        kernel.v_sh, kernel.v_camera_centers = address(v_sh), address(v_centers)
        load_library().call("s3d_shade_backward", kernel)
        return v_means, v_sh, v_centers, None, None


@dataclass(frozen=True, slots=True)
class Wishes:
    """Numbers and wishes of a blend that are no tensors."""

    width: int
    height: int
    absgrad: bool
    weights: bool
    median_depth: bool


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
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor | None, ...]:
        *tensors, wishes = arguments
        inputs = tuple(_contiguous(tensor) for tensor in tensors)
        num_cameras, num_gaussians, num_channels = tensors[2].shape
        image = torch.empty(num_cameras, wishes.height, wishes.width, num_channels)
        alphas = torch.empty(num_cameras, wishes.height, wishes.width, 1)
        sums = [torch.empty(num_cameras, num_gaussians) if wishes.weights else None for _ in range(2)]
        median = torch.empty_like(alphas) if wishes.median_depth else None
        kernel = _blend_arguments(wishes, inputs, (image, alphas))
        kernel.weight_sum, kernel.weight_max = address(sums[0]), address(sums[1])
        kernel.median_depth = address(median)
        handle = load_library().blend_forward(kernel, keep_state=any(ctx.needs_input_grad))
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
        v_image, v_alphas = _contiguous(gradients[0]), _contiguous(gradients[1])
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
        rendered, target, ssim_weight, mask = arguments
        rendered, target, mask = rendered.contiguous(), target.contiguous(), _contiguous(mask)
        v_rendered = torch.empty_like(rendered) if ctx.needs_input_grad[0] else None
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
        return v_rendered * gradients[0], None, None, None


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()
