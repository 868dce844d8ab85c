"""Owns the one function that renders Gaussians."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from rasterizer.constants import CHANNEL_CHUNK, EPS2D, FAR_PLANE, NEAR_PLANE, TILE_SIZE
from rasterizer.errors import Unsupported
from rasterizer.request import RasterizeMode, RenderMode, RenderRequest, Weights
from rasterizer.selection import choose_backend
from rasterizer.types import Meta

_GSPLAT_ONLY: dict[str, object] = {
    "sparse_grad": False,
    "distributed": False,
    "camera_model": "pinhole",
    "covars": None,
    "with_ut": False,
    "with_eval3d": False,
    "radial_coeffs": None,
    "tangential_coeffs": None,
    "thin_prism_coeffs": None,
    "ftheta_coeffs": None,
    "viewmats_rs": None,
}
"""Arguments of gsplat's function that no backend here honours, with the value that asks for nothing."""


def rasterization(  # noqa: PLR0913  (the arguments are gsplat's)
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    colors: Float[Tensor, "..."],
    viewmats: Float[Tensor, "c 4 4"],
    Ks: Float[Tensor, "c 3 3"],
    width: int,
    height: int,
    *,
    near_plane: float = NEAR_PLANE,
    far_plane: float = FAR_PLANE,
    radius_clip: float = 0.0,
    eps2d: float = EPS2D,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = TILE_SIZE,
    backgrounds: Float[Tensor, "c d"] | None = None,
    render_mode: RenderMode = "RGB",
    absgrad: bool = False,
    rasterize_mode: RasterizeMode = "classic",
    channel_chunk: int = CHANNEL_CHUNK,
    backend: str | None = None,
    weights: Weights = False,
    median_depth: bool = False,
    **gsplat_only: Any,
) -> tuple[Float[Tensor, "c h w channels"], Float[Tensor, "c h w 1"], Meta]:
    """Render 3D Gaussians into a batch of pinhole images (Kerbl et al. 2023; arguments and meta follow gsplat 1.5.3).

    Each Gaussian is projected to a 2D one by the local affine approximation (Zwicker et al. 2001, EWA splatting),
    widened by `eps2d`, and blended front to back by depth: C = sum c_i a_i prod_{j<i} (1 - a_j). The first four
    tensors hold activated values. All tensors share one device and one dtype, float32 (any backend) or float64
    (reference only).

    A Gaussian is culled, and gets gradients of exactly zero, where it cannot be seen, and also where any of its
    values is not finite or its quaternion has no direction; others are not touched by it.

    Args:
        means: Centres, world units.
        quats: Rotations wxyz; need not be unit.
        scales: Standard deviations along the axes, world units.
        opacities: 0..1.
        colors: [n, d] or [c, n, d], or with `sh_degree` harmonics [n, k, 3] or [c, n, k, 3], k >= (degree + 1)^2;
            those become max(0, SH + 0.5).
        viewmats: World to camera; OpenCV axes (+x right, +y down, +z forward).
        Ks: Intrinsics, pixels; pixel centres lie at half-integers. The principal point may lie anywhere.
        width: Pixels.
        height: Pixels.
        near_plane: Nearest depth shown, world units.
        far_plane: Farthest depth shown, world units.
        radius_clip: Gaussians whose radii are both no larger are culled, pixels.
        eps2d: Added to the variances of the projected Gaussian, pixels squared.
        sh_degree: Degree to use, 0..3, which may be less than `colors` holds; None takes `colors` as they are.
        packed: Layout of meta: one row per visible (camera, Gaussian) instead of [c, n]. Images are the same.
        tile_size: Side of a tile, pixels; no effect on the image.
        backgrounds: Colours behind everything; behind depth lies zero. None is black.
        render_mode: "RGB", "D" (sum of weight times depth), "ED" (that divided by alpha, the expected depth), or
            both, depth as the last channel.
        absgrad: Backward also sets `meta["means2d"].absgrad`, the sum over pixels of |dL/dmean2d| (Ye et al. 2024,
            AbsGS).
        rasterize_mode: "antialiased" scales opacities by sqrt(det / det widened) (Yu et al. 2024, Mip-Splatting).
        channel_chunk: Most channels blended in one pass.
        backend: "gsplat", "cpu", "reference"; None and "auto" take SCENE3D_BACKEND or else the fastest.
        weights: Adds `weight_sum` and `weight_max` [c, n] to meta: the sum and the largest over the pixels of each
            Gaussian's alpha times transmittance, without gradient; "sum" adds the first alone.
        median_depth: Adds `median_depth` [c, h, w, 1] to meta: the depth of the Gaussian that brings the
            transmittance to 0.5 or below, 0 where none does; without gradient.
        **gsplat_only: gsplat's further arguments; each is refused unless it holds gsplat's default. `segmented`
            only tunes gsplat's sort and is ignored.

    Returns:
        Images [c, h, w, d'], alphas [c, h, w, 1] and meta: means2d (the tensor the images were made of, so that
        `retain_grad` works), radii (int32 half sides of the boxes, pixels; 0 = culled), depths, conics, opacities,
        camera_ids, gaussian_ids and batch_ids (None unless packed), width, height, tile_size, tile_width,
        tile_height, n_cameras, n_batches, backend, and what was asked for on top. gsplat's lists of intersections
        are only there with gsplat. Images and alphas are differentiable in all tensors but `Ks`.

    Raises:
        RasterizerError: A shape, dtype, device or value is wrong.
        Unsupported: The backend cannot do what was asked.
        BackendUnavailable: The backend asked for cannot run here.
    """
    request = RenderRequest(
        means=means,
        quats=quats,
        scales=scales,
        opacities=opacities,
        colors=colors,
        viewmats=viewmats,
        Ks=Ks,
        width=width,
        height=height,
        near_plane=near_plane,
        far_plane=far_plane,
        radius_clip=radius_clip,
        eps2d=eps2d,
        sh_degree=sh_degree,
        packed=packed,
        tile_size=tile_size,
        backgrounds=backgrounds,
        render_mode=render_mode,
        absgrad=absgrad,
        rasterize_mode=rasterize_mode,
        channel_chunk=channel_chunk,
        weights=weights,
        median_depth=median_depth,
    )
    chosen = choose_backend(backend, device=means.device, dtype=means.dtype)
    _refuse_unsupported(gsplat_only, chosen.name)
    return chosen.rasterize(request)


def _refuse_unsupported(arguments: dict[str, Any], backend: str) -> None:
    for name, value in arguments.items():
        if name == "segmented":
            continue
        if name == "rolling_shutter":
            is_default = getattr(value, "name", None) == "GLOBAL"
        elif name in _GSPLAT_ONLY:
            is_default = value is _GSPLAT_ONLY[name] or (isinstance(value, str) and value == _GSPLAT_ONLY[name])
        else:
            raise TypeError(f"rasterization() got an unexpected keyword argument {name!r}")
        if not is_default:
            shown = name if isinstance(value, Tensor) else f"{name}={value!r}"
            raise Unsupported(shown, backend=backend)
