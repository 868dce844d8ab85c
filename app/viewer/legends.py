"""Owns what the colours of an overlay mean: the tables they are painted with, and the legends that the page shows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.video import colorize

GROWN_TINT = (255, 140, 66)
PHOTOGRAPHED_TINT = (88, 148, 214)
NO_PHOTOGRAPH = (255, 45, 85)
"""Of what no photograph shows."""

FAINTEST_WEIGHT = 1e-3
"""The smallest contribution that is told apart; no 8-bit photograph shows one so small."""

SEAM_START = 0.25
"""Share of the colour table that scales of seams leave out at the dark end."""

NUM_STOPS = 9


def contribution_colors(weights: Float[Tensor, "n"]) -> Float[Tensor, "n 3"]:
    """Colours of largest blending weights on a logarithmic scale: dark is used well, bright hardly at all.

    What hardly contributes must catch the eye before black, so that the scale runs the other way round than depth's.
    """
    scale = weights.clamp_min(FAINTEST_WEIGHT).log10()
    colors = colorize(-scale[:, None], low=0.0, high=-math.log10(FAINTEST_WEIGHT))[:, 0]
    return torch.where((weights < FAINTEST_WEIGHT)[:, None], _color(NO_PHOTOGRAPH), colors)


def make_legends(shown: Sequence[str], ticks: Mapping[str, list[str]]) -> dict[str, Any]:
    """The legend of each way to show a scene that has one.

    Args:
        shown: What the scene can show.
        ticks: Of scales that depend on the scene.
    """
    legends = {
        "depth": _scale("Depth", ["far", "near"]),
        "alpha": _scale("Opacity", ["0", "1"]),
        "seam_step": _scale("Step of the surface at the seam", ticks.get("seam_step", []), start=SEAM_START),
        "seam_color": _scale("Step of colours at the seam", ticks.get("seam_color", []), start=SEAM_START),
        "origin": _swatches("Where it comes from", [(PHOTOGRAPHED_TINT, "photographed"), (GROWN_TINT, "grown")]),
        "contribution": {
            **_scale("Largest weight in a photograph", ["1", "0.1", "0.01", "0.001"]),
            "swatches": [{"color": _css(NO_PHOTOGRAPH), "text": "less, or in none"}],
        },
    }
    return {name: legend for name, legend in legends.items() if name in shown}


def seam_scale(values: Float[Tensor, "n"], largest: float) -> Float[Tensor, "n 3"]:
    """Colours of what is measured along a seam, so light that the seam shows on dark grey where nothing is wrong."""
    low = -largest * SEAM_START / (1 - SEAM_START)
    return colorize(values[:, None], low=low, high=largest)[:, 0]


def _scale(title: str, ticks: Sequence[str], *, start: float = 0.0) -> dict[str, Any]:
    """A bar from one place of the colour table to its bright end, with texts spread evenly below it."""
    table = colorize(torch.linspace(start, 1, NUM_STOPS)[:, None], low=0.0, high=1.0)[:, 0]
    colors = [_css((color * 255).round().int().tolist()) for color in table]
    return {"title": title, "colors": colors, "ticks": list(ticks), "swatches": []}


def _swatches(title: str, entries: Sequence[tuple[tuple[int, int, int], str]]) -> dict[str, Any]:
    swatches = [{"color": _css(color), "text": text} for color, text in entries]
    return {"title": title, "colors": [], "ticks": [], "swatches": swatches}


def _color(rgb: Sequence[int]) -> Float[Tensor, "3"]:
    return torch.tensor(rgb, dtype=torch.float32) / 255


def _css(rgb: Sequence[int]) -> str:
    return f"rgb({', '.join(str(part) for part in rgb)})"
