"""Owns the arguments of one rendering and the checks they must pass before any backend sees them."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from rasterizer.constants import CHANNEL_CHUNK, EPS2D, FAR_PLANE, MAX_SH_DEGREE, NEAR_PLANE, TILE_SIZE
from rasterizer.errors import RasterizerError

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RasterizeMode = Literal["classic", "antialiased"]
Weights = bool | Literal["sum"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderRequest:
    """The arguments of `rasterization`, checked at birth.

    Raises:
        RasterizerError: A shape, dtype, device or value is wrong.
    """

    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    scales: Float[Tensor, "n 3"]
    opacities: Float[Tensor, "n"]
    colors: Tensor
    viewmats: Float[Tensor, "c 4 4"]
    Ks: Float[Tensor, "c 3 3"]
    width: int
    height: int
    near_plane: float = NEAR_PLANE
    far_plane: float = FAR_PLANE
    radius_clip: float = 0.0
    eps2d: float = EPS2D
    sh_degree: int | None = None
    packed: bool = True
    tile_size: int = TILE_SIZE
    backgrounds: Float[Tensor, "c d"] | None = None
    render_mode: RenderMode = "RGB"
    absgrad: bool = False
    rasterize_mode: RasterizeMode = "classic"
    channel_chunk: int = CHANNEL_CHUNK
    weights: Weights = False
    median_depth: bool = False

    def __post_init__(self) -> None:
        _check_tensors(self)
        _check_colors(self)
        _check_numbers(self)

    @property
    def num_cameras(self) -> int:
        """c."""
        return self.viewmats.shape[0]

    @property
    def num_gaussians(self) -> int:
        """n."""
        return self.means.shape[0]

    @property
    def has_color(self) -> bool:
        """Whether the image holds colours."""
        return self.render_mode.startswith("RGB")

    @property
    def has_depth(self) -> bool:
        """Whether the image's last channel is depth."""
        return self.render_mode.endswith("D")


def _check_tensors(request: RenderRequest) -> None:
    if request.means.ndim > 2:
        raise RasterizerError(
            f"means has shape {list(request.means.shape)}; batches of scenes are not supported, render them in turn"
        )
    num = request.means.shape[0] if request.means.ndim else 0
    cameras = request.viewmats.shape[0] if request.viewmats.ndim else 0
    _check_shape("means", request.means, (num, 3), "[n, 3]")
    _check_shape("quats", request.quats, (num, 4), f"[n, 4] with n = {num}")
    _check_shape("scales", request.scales, (num, 3), f"[n, 3] with n = {num}")
    _check_shape("opacities", request.opacities, (num,), f"[n] with n = {num}")
    _check_shape("viewmats", request.viewmats, (cameras, 4, 4), "[c, 4, 4]")
    _check_shape("Ks", request.Ks, (cameras, 3, 3), f"[c, 3, 3] with c = {cameras}")
    if cameras == 0:
        raise RasterizerError("viewmats holds no camera; at least one is needed")
    for name in ("quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds"):
        _check_kind(name, getattr(request, name), request.means)
    for name in ("viewmats", "Ks"):
        if not bool(getattr(request, name).isfinite().all()):
            raise RasterizerError(f"{name} holds numbers that are not finite; nothing could be seen from there")
    if bool((torch.linalg.det(request.viewmats[:, :3, :3].detach()) == 0).any()):
        raise RasterizerError("viewmats holds a camera whose axes are not independent; expected rotations")


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], expected: str) -> None:
    if tuple(tensor.shape) != shape:
        raise RasterizerError(f"{name} has shape {list(tensor.shape)}; expected {expected}")


def _check_kind(name: str, tensor: Tensor | None, means: Tensor) -> None:
    if means.dtype not in (torch.float32, torch.float64):
        raise RasterizerError(f"means is {means.dtype}; expected torch.float32 or torch.float64")
    if tensor is None:
        return
    if tensor.dtype != means.dtype:
        raise RasterizerError(f"{name} is {tensor.dtype} but means is {means.dtype}; give all in one dtype")
    if tensor.device != means.device:
        raise RasterizerError(f"{name} is on {tensor.device} but means is on {means.device}")


def _check_colors(request: RenderRequest) -> None:
    num, cameras, shape = request.num_gaussians, request.num_cameras, tuple(request.colors.shape)
    if request.sh_degree is None:
        if len(shape) not in (2, 3) or shape[:-1] not in ((num,), (cameras, num)) or shape[-1] < 1:
            raise RasterizerError(
                f"colors has shape {list(shape)}; expected [n, d] or [c, n, d] with n = {num}, c = {cameras}"
                " (for spherical harmonics give sh_degree)"
            )
        channels = shape[-1]
    else:
        _check_sh(request.sh_degree, shape, num, cameras)
        channels = 3
    if request.backgrounds is not None:
        expected = f"[c, d] with c = {cameras}, d = {channels}"
        _check_shape("backgrounds", request.backgrounds, (cameras, channels), expected)


def _check_sh(sh_degree: int, shape: tuple[int, ...], num: int, cameras: int) -> None:
    if not 0 <= sh_degree <= MAX_SH_DEGREE:
        raise RasterizerError(f"sh_degree is {sh_degree}; expected 0 to {MAX_SH_DEGREE}")
    if len(shape) not in (3, 4) or shape[:-2] not in ((num,), (cameras, num)) or shape[-1] != 3:
        raise RasterizerError(
            f"colors has shape {list(shape)}; with sh_degree expected [n, k, 3] or [c, n, k, 3]"
            f" with n = {num}, c = {cameras}"
        )
    if shape[-2] < (sh_degree + 1) ** 2:
        raise RasterizerError(
            f"colors holds {shape[-2]} coefficients; sh_degree {sh_degree} needs {(sh_degree + 1) ** 2}"
        )


def _check_numbers(request: RenderRequest) -> None:
    for name in ("width", "height", "tile_size", "channel_chunk"):
        if getattr(request, name) < 1:
            raise RasterizerError(f"{name} is {getattr(request, name)}; it must be at least 1")
    for name in ("near_plane", "radius_clip", "eps2d"):
        # Written so that NaN fails too.
        if not getattr(request, name) >= 0:
            raise RasterizerError(f"{name} is {getattr(request, name)}; it must be zero or more")
    if not request.far_plane > request.near_plane:
        raise RasterizerError(f"far_plane {request.far_plane} is not beyond near_plane {request.near_plane}")
    for name, choices in (("render_mode", get_args(RenderMode)), ("rasterize_mode", get_args(RasterizeMode))):
        if getattr(request, name) not in choices:
            raise RasterizerError(f"{name} is {getattr(request, name)!r}; expected one of {', '.join(choices)}")
    if request.weights not in (True, False, "sum"):
        raise RasterizerError(f"weights is {request.weights!r}; expected True, False or 'sum'")
