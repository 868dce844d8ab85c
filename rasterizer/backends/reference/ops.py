"""Owns the reference backend: the operations in plain torch, in single or double precision, on any device."""

from jaxtyping import Bool, Float, Int32
from torch import Tensor

from rasterizer.backends.reference.blend import BlendTask, Path, blend
from rasterizer.backends.reference.harmonics import shade
from rasterizer.backends.reference.projection import Lens, project
from rasterizer.backends.reference.ssim import l1_ssim
from rasterizer.constants import ALPHA_MAX
from rasterizer.types import Blended, Projected


class ReferenceOps:
    """The slow twin of every fast backend. All derivatives are autograd's.

    Args:
        alpha_max: Upper clamp of alpha; 0.999 compares with gsplat 1.5.3.
        path: "dense" computes every splat at every pixel, "tiled" works tile by tile in bounded memory; "auto"
            takes the first for tiny scenes.
    """

    name = "reference"

    def __init__(self, *, alpha_max: float = ALPHA_MAX, path: Path = "auto") -> None:
        self._alpha_max = alpha_max
        self._path: Path = path

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
        lens = Lens(
            width=width,
            height=height,
            near_plane=near_plane,
            far_plane=far_plane,
            eps2d=eps2d,
            radius_clip=radius_clip,
        )
        return project(means, quats, scales, opacities, viewmats, Ks, lens)

    def shade(
        self,
        sh_degree: int,
        means: Float[Tensor, "n 3"],
        sh: Float[Tensor, "n k 3"],
        viewmats: Float[Tensor, "c 4 4"],
        radii: Int32[Tensor, "c n 2"],
    ) -> Float[Tensor, "c n 3"]:
        """See `Ops.shade`."""
        return shade(sh_degree, means, sh, viewmats, radii)

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
        """See `Ops.blend`."""
        task = BlendTask(
            width=width,
            height=height,
            tile_size=tile_size,
            absgrad=absgrad,
            weights=weights,
            median_depth=median_depth,
            alpha_max=self._alpha_max,
            path=self._path,
        )
        return blend(means2d, conics, colors, opacities, depths, radii, backgrounds, task)

    def l1_ssim(
        self,
        rendered: Float[Tensor, "h w 3"],
        target: Float[Tensor, "h w 3"],
        ssim_weight: float,
        mask: Bool[Tensor, "h w"] | None,
    ) -> Float[Tensor, ""]:
        """See `Ops.l1_ssim`."""
        return l1_ssim(rendered, target, ssim_weight, mask)
