"""Owns the CPU backend's operations: C++ kernels behind autograd functions."""

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from rasterizer.backends.cpu.autograd_images import Blend, L1Ssim, Wishes
from rasterizer.backends.cpu.autograd_splats import Lens, Project, Shade
from rasterizer.backends.cpu.library import AdamArguments, address, load_library
from rasterizer.constants import MAX_SH_DEGREE
from rasterizer.errors import RasterizerError, Unsupported
from rasterizer.types import Blended, Projected, RowAdamColumns

MAX_CHANNELS = 64
"""Most colour channels one blend holds per tile (CHANNELS_MAX in src/tile.h)."""

MAX_GAUSSIANS = 2**31 - 1
"""Gaussians are numbered in 32 bits."""


class CpuOps:
    """The operations on CPU tensors in float32, on `torch.get_num_threads()` threads.

    Results and gradients are bit for bit the same for any number of threads on one instruction set.
    """

    name = "cpu"

    def project(  # noqa: PLR0913
        self,
        means: Float[Tensor, "n 3"],
        quats: Float[Tensor, "n 4"],
        scales: Float[Tensor, "n 3"],
        opacities: Float[Tensor, "n"],
        viewmats: Float[Tensor, "c 4 4"],
        Ks: Float[Tensor, "c 3 3"],
        width: int,
        height: int,
        *,
        near_plane: float,
        far_plane: float,
        eps2d: float,
        radius_clip: float,
    ) -> Projected:
        """See `Ops.project`."""
        check_float32(means=means, quats=quats, scales=scales, opacities=opacities, viewmats=viewmats, Ks=Ks)
        lens = Lens(width, height, near_plane, far_plane, eps2d, radius_clip)
        means2d, depths, conics, compensations, radii = Project.apply(  # type: ignore[no-untyped-call]
            means, quats, scales, viewmats, opacities.detach(), Ks.detach(), lens
        )
        return Projected(means2d=means2d, depths=depths, conics=conics, compensations=compensations, radii=radii)

    def shade(
        self,
        sh_degree: int,
        means: Float[Tensor, "n 3"],
        sh: Float[Tensor, "n k 3"],
        viewmats: Float[Tensor, "c 4 4"],
        radii: Int32[Tensor, "c n 2"],
    ) -> Float[Tensor, "c n 3"]:
        """See `Ops.shade`."""
        check_float32(means=means, sh=sh, viewmats=viewmats)
        if not 0 <= sh_degree <= MAX_SH_DEGREE:
            raise Unsupported(f"sh_degree={sh_degree}", backend=self.name, remedy=f"at most {MAX_SH_DEGREE}")
        if sh.shape[1] < (sh_degree + 1) ** 2:
            raise RasterizerError(f"degree {sh_degree} needs {(sh_degree + 1) ** 2} coefficients, not {sh.shape[1]}")
        # A few numbers per camera, in double: every direction inherits the centre's error.
        rotations, translations = viewmats[:, :3, :3].double(), viewmats[:, :3, 3:].double()
        centers = -torch.linalg.solve(rotations, translations)[..., 0].float()
        colors: Tensor = Shade.apply(  # type: ignore[no-untyped-call]
            means, sh, centers, radii, sh_degree
        )
        return colors

    def blend(  # noqa: PLR0913
        self,
        means2d: Float[Tensor, "c n 2"],
        conics: Float[Tensor, "c n 3"],
        colors: Float[Tensor, "c n d"],
        opacities: Float[Tensor, "c n"],
        depths: Float[Tensor, "c n"],
        radii: Int32[Tensor, "c n 2"],
        width: int,
        height: int,
        *,
        backgrounds: Float[Tensor, "c d"] | None,
        absgrad: bool,
        weights: bool,
        median_depth: bool,
        tile_size: int,
    ) -> Blended:
        """See `Ops.blend`. The tiles of the CPU kernels have a fixed size; `tile_size` changes nothing visible."""
        check_float32(means2d=means2d, conics=conics, colors=colors, opacities=opacities, depths=depths)
        if backgrounds is not None:
            check_float32(backgrounds=backgrounds)
        if not 1 <= colors.shape[-1] <= MAX_CHANNELS:
            raise Unsupported(
                f"{colors.shape[-1]} channels at once", backend=self.name, remedy=f"between 1 and {MAX_CHANNELS}"
            )
        differentiable = _records(means2d, conics, colors, opacities, backgrounds)
        wishes = Wishes(width, height, absgrad, weights, median_depth, differentiable)
        image, alphas, weight_sum, weight_max, median = Blend.apply(  # type: ignore[no-untyped-call]
            means2d, conics, colors, opacities, backgrounds, depths.detach(), radii, wishes
        )
        return Blended(colors=image, alphas=alphas, weight_sum=weight_sum, weight_max=weight_max, median_depth=median)

    def l1_ssim(
        self,
        rendered: Float[Tensor, "h w 3"],
        target: Float[Tensor, "h w 3"],
        ssim_weight: float,
        mask: Bool[Tensor, "h w"] | None,
    ) -> Float[Tensor, ""]:
        """See `Ops.l1_ssim`. The gradient is computed along with the value, in one pass over the images."""
        check_float32(rendered=rendered, target=target)
        if target.shape != rendered.shape or rendered.shape[2] != 3:
            raise RasterizerError(
                f"images are {list(rendered.shape)} and {list(target.shape)}; expected [h, w, 3] twice"
            )
        if mask is not None and (mask.dtype != torch.bool or mask.shape != rendered.shape[:2]):
            raise RasterizerError(f"mask is {mask.dtype} {list(mask.shape)}; expected bool {list(rendered.shape[:2])}")
        loss: Tensor = L1Ssim.apply(  # type: ignore[no-untyped-call]
            rendered, target.detach(), ssim_weight, mask, _records(rendered)
        )
        return loss


def row_adam_step(
    params: Float[Tensor, "n *rest"],
    grads: Float[Tensor, "n *rest"],
    exp_avg: Float[Tensor, "n *rest"],
    exp_avg_sq: Float[Tensor, "n *rest"],
    *,
    columns: RowAdamColumns,
    row_steps: Float[Tensor, "n"],
    rows: Bool[Tensor, "n"],
) -> None:
    """See `rasterizer.optimizer.row_adam_step`; on all threads, bit-equal for any number of them."""
    tensors = {"params": params, "grads": grads, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    check_float32(**tensors, row_steps=row_steps)
    for name, tensor in tensors.items():
        if tensor.shape != params.shape or not tensor.is_contiguous():
            raise RasterizerError(f"'{name}' must be contiguous and of shape {list(params.shape)}")
    rows, row_steps = rows.contiguous(), row_steps.contiguous()
    kernel = AdamArguments(
        num_rows=params.shape[0],
        row_size=len(columns.rates),
        num_corrections=len(columns.corrections1),
        num_threads=torch.get_num_threads(),
        beta1=columns.beta1,
        beta2=columns.beta2,
        eps=columns.epsilon,
        rates=address(columns.rates),
        decays=address(columns.decays),
        row_steps=address(row_steps),
        corrections1=address(columns.corrections1),
        corrections2=address(columns.corrections2),
        params=address(params),
        exp_avg=address(exp_avg),
        exp_avg_sq=address(exp_avg_sq),
        grads=address(grads),
        mask=address(rows),
    )
    load_library().call("s3d_adam_step", kernel)
    torch.autograd.graph.increment_version((params, exp_avg, exp_avg_sq))


def _records(*tensors: Tensor | None) -> bool:
    """Whether autograd will remember an operation on these."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def check_float32(**tensors: Tensor) -> None:
    """Raise unless every tensor is float32 on the CPU."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise RasterizerError(
                f"'{name}' is {str(tensor.dtype).removeprefix('torch.')}; the cpu backend computes in float32. "
                "Convert it, or use backend='reference' for other precisions"
            )
        if tensor.device.type != "cpu":
            raise RasterizerError(f"'{name}' is on {tensor.device}; the cpu backend wants CPU tensors")
        if tensor.ndim > 1 and max(tensor.shape[:2]) > MAX_GAUSSIANS:
            raise RasterizerError(f"'{name}' has more than {MAX_GAUSSIANS:,} rows")
