"""A differentiable Gaussian rasterizer with gsplat's interface, for CPU and GPU."""

from rasterizer.api import rasterization
from rasterizer.errors import BackendUnavailable, RasterizerError, Unsupported
from rasterizer.losses import l1_ssim
from rasterizer.optimizer import make_row_adam_columns, row_adam_step
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
    "make_row_adam_columns",
    "rasterization",
    "row_adam_step",
]
