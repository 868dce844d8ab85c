"""Owns the metrics file: what was measured under which protocol, and why something is missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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

MIN_REGION_SHARE = 0.01
"""A view counts for a region that covers at least this share of its usable pixels."""


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

    further: Mapping[str, Any] = field(default_factory=dict)
    """More of the kind, under names of the run's choice: plain values for JSON."""

    further_reasons: Mapping[str, str] = field(default_factory=dict)
    """Why some of these are missing or incomplete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Three figures; None where one could not be measured."""

    psnr_db: float | None = None
    ssim: float | None = None
    lpips: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionQuality(Quality):
    """Raw figures of one view's pixels in a region; all None where these are too few to count."""

    used_share: float
    """Share of the view's pixels that are in the region and that the mask lets count."""


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
    regions: Mapping[str, RegionQuality] = field(default_factory=dict)
    """By name, where the views are told apart in regions."""

    picture: str | None = None
    """Photograph, rendering and error map side by side; relative to the metrics file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """The metrics file as a record, and the views in it, worst first."""

    record: dict[str, Any]
    raw: Quality
    corrected: Quality
    per_view: tuple[ViewQuality, ...]
    regions: Mapping[str, Quality] = field(default_factory=dict)
    """Means over the views that count for each region."""


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
    regions = {name: _mean(qualities) for name, qualities in _by_region(per_view).items()}
    measured_net = None if raw.lpips is None else lpips_net
    values = {
        "num_gaussians": num_gaussians,
        "size_bytes": facts.size_bytes,
        "train_seconds": facts.train_seconds,
        "iterations": facts.iterations,
        "peak_memory_bytes": facts.peak_memory_bytes,
        **facts.further,
    }
    record = {
        "schema_version": METRICS_SCHEMA_VERSION,
        "protocol": _protocol(per_view, facts, lpips_net=measured_net, background=background),
        "raw": asdict(raw),
        "corrected": asdict(corrected),
        **{name: asdict(quality) for name, quality in regions.items()},
        "per_view": [_view_record(view) for view in per_view],
        **values,
        "reasons": {
            **_reasons(raw, per_view, values, lpips_reason),
            **_region_reasons(regions),
            **facts.further_reasons,
        },
    }
    return EvaluationResult(record=record, raw=raw, corrected=corrected, per_view=tuple(per_view), regions=regions)


def _protocol(
    per_view: Sequence[ViewQuality], facts: RunFacts, *, lpips_net: str | None, background: str
) -> dict[str, Any]:
    num_counted = {
        f"num_views_{name}": sum(quality.psnr_db is not None for quality in qualities)
        for name, qualities in _by_region(per_view).items()
    }
    return {
        "split": facts.split,
        "num_views": len(per_view),
        "view_list_sha256": view_list_sha256([view.name for view in per_view]),
        "image_scale": facts.image_scale,
        **PROTOCOL,
        "lpips_net": lpips_net,
        "lpips_input": None if lpips_net is None else "[-1, 1]",
        "background": background,
        "seed": facts.seed,
        **({"min_region_share": MIN_REGION_SHARE, **num_counted} if num_counted else {}),
    }


def _view_record(view: ViewQuality) -> dict[str, Any]:
    record = asdict(view)
    if not view.regions:
        del record["regions"]
    return record


def _by_region(per_view: Sequence[ViewQuality]) -> dict[str, list[RegionQuality]]:
    names = dict.fromkeys(name for view in per_view for name in view.regions)
    return {name: [view.regions[name] for view in per_view if name in view.regions] for name in names}


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
    raw: Quality, per_view: Sequence[ViewQuality], values: Mapping[str, Any], lpips_reason: str
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


def _region_reasons(regions: Mapping[str, Quality]) -> dict[str, str]:
    why = f"it covers {MIN_REGION_SHARE:.0%} of the usable pixels of no held-out view"
    return {name: why for name, quality in regions.items() if quality.psnr_db is None}
