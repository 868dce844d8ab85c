"""Random Gaussians for the tests of the splat files."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scene3d.events import EventLog, read_events
from scene3d.gaussians.gaussians import Gaussians

FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def random_gaussians(num: int, *, degree: int = 3, seed: int = 0) -> Gaussians:
    """Gaussians as training leaves them: unnormalised rotations, scales around a hundredth, mixed opacities."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(
        means=3 * normal(num, 3),
        quats=normal(num, 4),
        log_scales=normal(num, 3) - 4,
        opacity_logits=2 * normal(num),
        sh=0.3 * normal(num, (degree + 1) ** 2, 3),
    )


def ordinary_gaussians(num: int = 400, degree: int = 3) -> Gaussians:
    """Gaussians inside the ranges that `.splat` and `.spz` can hold."""
    gaussians = random_gaussians(num, degree=degree)
    return replace(gaussians, sh=gaussians.sh.clamp(-0.9, 0.9), opacity_logits=gaussians.opacity_logits.clamp(-4, 4))


def angle_deg(left: torch.Tensor, right: torch.Tensor) -> np.ndarray:
    """Angle between the rotations of two lists of quaternions."""
    a, b = (torch.nn.functional.normalize(each.double(), dim=1) for each in (left, right))
    return np.degrees(2 * np.arccos(np.clip((a * b).sum(dim=1).abs().numpy(), 0, 1)))


def import_gsply() -> Any:
    """gsply with its loops as plain Python, because compiling them takes half a minute; skips where it is missing."""
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    return pytest.importorskip("gsply", reason="gsply is not installed")


def notes_of(folder: Path, read: Callable[..., Any], path: Path) -> tuple[Any, list[str]]:
    """What a reader returns, and what it told its reporter."""
    result = read(path, reporter=EventLog(folder / "events.jsonl"))
    return result, [str(event["message"]) for event in read_events(folder / "events.jsonl")]
