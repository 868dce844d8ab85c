"""Owns the autograd functions that make splats of Gaussians: projection and shading by the C++ kernels.

Inputs are float32 CPU tensors, checked by the caller.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rasterizer.backends.cpu.library import ProjectArguments, ShadeArguments, address, contiguous, load_library


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
    """Gaussians projected into cameras; see `Ops.project`."""

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
        v_means2d, v_depths, v_conics, v_compensations = [contiguous(gradient) for gradient in gradients[:4]]
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
    """Colours from spherical harmonics; see `Ops.shade`."""

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
