"""Owns what makes Gaussians from a file usable: finite numbers, scales that stay so, rotations with a length."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from scene3d.errors import InputError
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.limits import MAX_COORDINATE, MAX_NONFINITE_SHARE

_LARGEST_LOG_SCALE = 40.0
"""A larger scale, squared in a covariance, comes close to overflowing float32."""

_SMALLEST_QUAT_NORM = 1e-12
_FEW = 100
"""Of fewer Gaussians nobody can tell whether their opacities are activated."""


def usable_gaussians(gaussians: Gaussians, path: Path, reporter: Reporter) -> Gaussians:
    """The finite Gaussians of a file; what is left out, and what looks wrong, is told to the reporter.

    Raises:
        InputError: More than 1 % are not finite, or a rotation has length zero.
    """
    finite = finite_mask(gaussians)
    num_bad = len(gaussians) - int(finite.sum())
    if num_bad > MAX_NONFINITE_SHARE * len(gaussians):
        what = f"{num_bad:,} of {len(gaussians):,} Gaussians are not finite"
        raise InputError(what, where=path, remedy="train or export the scene again")
    if num_bad:
        note = f"{path}: {num_bad:,} of {len(gaussians):,} Gaussians are not finite; left out"
        reporter.note(note, level="warning")
        gaussians = gaussians.select(finite)
    num_turnless = int((gaussians.quats.double().norm(dim=1) < _SMALLEST_QUAT_NORM).sum())
    if num_turnless:
        what = f"{num_turnless:,} of {len(gaussians):,} rotations have length zero"
        raise InputError(what, where=path, remedy="export the scene again")
    logits = gaussians.opacity_logits
    if len(logits) >= _FEW and bool(((logits >= 0) & (logits <= 1)).all()):
        note = f"{path}: all opacities lie in 0..1, as if activated; 3DGS files store logits"
        reporter.note(note, level="warning")
    return gaussians


def check_finite(gaussians: Gaussians, path: Path) -> None:
    """Refuse to write Gaussians that are not finite.

    Raises:
        InputError: Some are not.
    """
    num_bad = len(gaussians) - int(finite_mask(gaussians.detach()).sum())
    if num_bad:
        what = f"{num_bad:,} of {len(gaussians):,} Gaussians are not finite and cannot be written"
        raise InputError(what, where=path, remedy="clean the scene first")


def finite_mask(gaussians: Gaussians) -> Bool[Tensor, "n"]:
    """Which Gaussians have finite parameters, and scales whose squares are finite too."""
    finite = (gaussians.means.abs() <= MAX_COORDINATE).all(dim=1) & torch.isfinite(gaussians.quats).all(dim=1)
    finite &= torch.isfinite(gaussians.log_scales).all(dim=1) & torch.isfinite(gaussians.opacity_logits)
    finite &= torch.isfinite(gaussians.sh).all(dim=2).all(dim=1)
    return finite & (gaussians.log_scales <= _LARGEST_LOG_SCALE).all(dim=1)


def opacity_logits_of_bytes(opacities: UInt8[np.ndarray, "n"]) -> Float[Tensor, "n"]:
    """Logits of opacities rounded to bytes; the ends stand for a quarter step inside, because they have no logit."""
    opacity = np.clip(opacities.astype(np.float32), 0.25, 254.75) / 255
    return torch.from_numpy(np.log(opacity / (1 - opacity)).astype(np.float32))
