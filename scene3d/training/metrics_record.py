"""Owns the metrics file: what was measured under which protocol, and why something is missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scene3d.data.split import view_list_sha256

METRICS_SCHEMA_VERSION = 1
FIGURES = ("psnr_db", "ssim", "lpips")
PROTOCOL = {
    "exposure": "identity",
    "mean": "of the views' figures",
    "masked_pixels": "left out; lpips: taken from the photograph",
    "rendering": "float, clamped to 0..1",
    "ssim_window": "gaussian, 11 pixels, sigma 1.5",
    "ssim_padding": "zero",
    "correction": "quadratic, 5 rounds, unsaturated pixels",
}
"""What is the same in every evaluation of this program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What only the run knows and the metrics file repeats; None where it is not known."""

    split: str
    """The rule by which the views were held out."""

    image_scale: float = 1.0
    seed: int | None = None
    iterations: int | None = None
    train_seconds: float | None = None
    peak_memory_bytes: int | None = None
    size_bytes: int | None = None
    """Of the scene's file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Three figures; None where one could not be measured."""

    psnr_db: float | None = None
    ssim: float | None = None
    lpips: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewQuality:
    """One held-out view."""

    name: str
    width: int
    height: int
    used_share: float
    """Share of pixels that the mask lets count."""

    raw: Quality
    corrected: Quality
    picture: str | None = None
    """Photograph, rendering and error map side by side; relative to the metrics file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """The metrics file as a record, and the views in it, worst first."""

    record: dict[str, Any]
    raw: Quality
    corrected: Quality
    per_view: tuple[ViewQuality, ...]


def summarise(
    per_view: Sequence[ViewQuality],
    facts: RunFacts,
    *,
    num_gaussians: int,
    lpips_net: str,
    background: str,
    lpips_reason: str,
) -> EvaluationResult:
    """Means over the views, and the record of the metrics file.

    Args:
        lpips_reason: Why LPIPS could not be measured; empty if it could.
    """
    raw, corrected = _mean([view.raw for view in per_view]), _mean([view.corrected for view in per_view])
    measured = raw.lpips is not None
    protocol = {
        "split": facts.split,
        "num_views": len(per_view),
        "view_list_sha256": view_list_sha256([view.name for view in per_view]),
        "image_scale": facts.image_scale,
        **PROTOCOL,
        "lpips_net": lpips_net if measured else None,
        "lpips_input": "[-1, 1]" if measured else None,
        "background": background,
        "seed": facts.seed,
    }
    values = {
        "num_gaussians": num_gaussians,
        "size_bytes": facts.size_bytes,
        "train_seconds": facts.train_seconds,
        "iterations": facts.iterations,
        "peak_memory_bytes": facts.peak_memory_bytes,
    }
    record = {
        "schema_version": METRICS_SCHEMA_VERSION,
        "protocol": protocol,
        "raw": asdict(raw),
        "corrected": asdict(corrected),
        "per_view": [asdict(view) for view in per_view],
        **values,
        "reasons": _reasons(raw, per_view, values, lpips_reason),
    }
    return EvaluationResult(record=record, raw=raw, corrected=corrected, per_view=tuple(per_view))


def _mean(qualities: Sequence[Quality]) -> Quality:
    """Mean of each figure over the views that have any; None if one of those lacks it."""
    measured = [quality for quality in qualities if quality.psnr_db is not None]
    means: dict[str, float | None] = {}
    for figure in FIGURES:
        values = [getattr(quality, figure) for quality in measured]
        complete = bool(values) and all(value is not None for value in values)
        means[figure] = math.fsum(values) / len(values) if complete else None
    return Quality(**means)


def _reasons(
    raw: Quality, per_view: Sequence[ViewQuality], values: Mapping[str, int | float | None], lpips_reason: str
) -> dict[str, str]:
    reasons = {name: "the run did not record it" for name, value in values.items() if value is None}
    unmeasured = [view.name for view in per_view if view.raw.psnr_db is None]
    if raw.psnr_db is None:
        why = "no held-out view could be measured" if per_view else "there are no held-out views"
        reasons |= dict.fromkeys(FIGURES, why)
    elif unmeasured:
        reasons["per_view"] = f"{len(unmeasured)} views have no usable pixel or no finite rendering: {unmeasured[:8]}"
    if raw.lpips is None and raw.psnr_db is not None:
        reasons["lpips"] = lpips_reason or "some views are too small for the network"
    return reasons
