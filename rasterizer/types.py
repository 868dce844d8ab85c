"""Owns what backends and the pipeline exchange: the operations a backend offers and the records they return."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int32
from torch import Tensor

from rasterizer.request import RenderRequest

Meta = dict[str, Any]
"""What a rendering leaves besides images, under gsplat's names."""


@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """Gaussians seen by each camera. Every row that is culled holds zeros."""

    means2d: Float[Tensor, "c n 2"]
    """Centres, pixels; the top-left corner of the image is (0, 0) and pixel centres lie at half-integers."""

    depths: Float[Tensor, "c n"]
    """Depth along the camera's z axis, world units."""

    conics: Float[Tensor, "c n 3"]
    """Inverse of the blurred 2D covariance: xx, xy, yy, in 1/pixel^2."""

    compensations: Float[Tensor, "c n"]
    """sqrt(det / det blurred), the opacity factor of antialiased rendering (Yu et al. 2024, Mip-Splatting)."""

    radii: Int32[Tensor, "c n 2"]
    """Half sides of the bounding box, pixels; (0, 0) marks a culled Gaussian."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowAdamColumns:
    """What one row-wise Adam step needs besides the rows: constants, and step sizes per column."""

    beta1: float
    beta2: float
    epsilon: float
    rates: Float[Tensor, "m"]
    """Step size of each column of a flattened row."""

    decays: Float[Tensor, "m"]
    """Decoupled weight decay of each column, as a share of its step size."""

    corrections1: Float[Tensor, "t"]
    """1 / (1 - beta1^t) for t = 0, 1, ...; the last stands for all beyond; the first is never used."""

    corrections2: Float[Tensor, "t"]
    """1 / sqrt(1 - beta2^t), likewise."""


@dataclass(frozen=True, slots=True, eq=False)
class Blended:
    """Images, and what each Gaussian gave to them."""

    colors: Float[Tensor, "c h w d"]
    alphas: Float[Tensor, "c h w 1"]
    weight_sum: Float[Tensor, "c n"] | None = None
    """Sum over the pixels of alpha times transmittance; without gradient."""

    weight_max: Float[Tensor, "c n"] | None = None
    """Largest alpha times transmittance at any pixel; without gradient."""

    median_depth: Float[Tensor, "c h w 1"] | None = None
    """Depth of the first Gaussian that brings the transmittance to 0.5 or below, 0 where none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """One line of the list of backends."""

    name: str
    available: bool
    reason: str
    """Why it cannot run; where it can, what it runs on."""

    version: str | None = None


@runtime_checkable
class Backend(Protocol):
    """Something that renders a request and computes the photometric loss."""

    @property
    def name(self) -> str:
        """What it is asked for by."""

    def rasterize(
        self, request: RenderRequest
    ) -> tuple[Float[Tensor, "c h w channels"], Float[Tensor, "c h w 1"], Meta]:
        """Images, alphas and meta, as `rasterization` returns them."""

    def l1_ssim(
        self,
        rendered: Float[Tensor, "h w 3"],
        target: Float[Tensor, "h w 3"],
        ssim_weight: float,
        mask: Bool[Tensor, "h w"] | None,
    ) -> Float[Tensor, ""]:
        """See `Ops.l1_ssim`."""


@runtime_checkable
class Ops(Protocol):
    """Three differentiable steps and one loss; the pipeline makes a rasterizer of them.

    Common rules:
        - A Gaussian is culled, with radii (0, 0), by the first of: an input that is not finite; a quaternion whose
          squared norm is zero or not finite; depth < near or > far; a blurred determinant <= 0; any projected value
          that is not finite; opacity < ALPHA_MIN; both radii <= `radius_clip`; a box wholly outside the image.
        - A culled Gaussian adds nothing and all its gradients are exactly zero, whatever its other values hold.
        - radii = ceil(min(EXTENT_SIGMA_MAX, sqrt(2 ln(opacity / ALPHA_MIN))) * sqrt(blurred variance)), per axis.
    """

    @property
    def name(self) -> str:
        """What the backend is asked for by."""

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
        """Projects by the local affine approximation (Zwicker et al. 2001, EWA splatting).

        Differentiable in means, quats, scales and viewmats. `opacities` only bound the extents.
        """

    def shade(
        self,
        sh_degree: int,
        means: Float[Tensor, "n 3"],
        sh: Float[Tensor, "n k 3"],
        viewmats: Float[Tensor, "c 4 4"],
        radii: Int32[Tensor, "c n 2"],
    ) -> Float[Tensor, "c n 3"]:
        """Colours max(0, SH(direction) + 0.5) seen from each camera; zeros for the culled.

        Differentiable in means, sh and viewmats; the camera centre is -inverse(R) t, also for the derivative.
        A row whose coefficients are not finite gives a colour that is not finite and gets gradients of zero.
        """

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
        """Blends front to back by depth, equal depths in the order given (Kerbl et al. 2023, eq. 3).

        alpha = min(ALPHA_MAX, opacity * exp(-sigma)), skipped where sigma < 0 or alpha < ALPHA_MIN. A Gaussian that
        would bring the transmittance to T_MIN or below is not added and ends the pixel.

        Differentiable in means2d, conics, colors, opacities and backgrounds; `depths` only order. With `absgrad`,
        backward sets `means2d.absgrad` to the sum over pixels of |dL/dmean2d| (Ye et al. 2024, AbsGS).
        """

    def l1_ssim(
        self,
        rendered: Float[Tensor, "h w 3"],
        target: Float[Tensor, "h w 3"],
        ssim_weight: float,
        mask: Bool[Tensor, "h w"] | None,
    ) -> Float[Tensor, ""]:
        """(1 - ssim_weight) * mean |rendered - target| + ssim_weight * (1 - SSIM), differentiable in `rendered`."""
