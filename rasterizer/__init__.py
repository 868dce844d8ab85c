"""A differentiable Gaussian rasterizer with gsplat's interface, for CPU and GPU."""

from rasterizer.api import rasterization
from rasterizer.errors import BackendUnavailable, RasterizerError, Unsupported
from rasterizer.losses import l1_ssim
from rasterizer.selection import find_backend, list_backends
from rasterizer.types import BackendStatus

__all__ = [
    "BackendStatus",
    "BackendUnavailable",
    "RasterizerError",
    "Unsupported",
    "find_backend",
    "l1_ssim",
    "list_backends",
    "rasterization",
]
