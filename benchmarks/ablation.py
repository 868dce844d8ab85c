"""Adds one part of training in blocks after another and measures what each brings, on small uneven cities."""

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
from uneven import UNEVEN, make_uneven_city

from app.evaluating import evaluate_run
from blocks.run import reconstruct_run
from blocks.settings import RunSettings
from scene3d.config import load_settings
from scene3d.events import Quiet
from scene3d.training.evaluation import EvaluationSettings

SEEDS = (0, 1, 2)
ITERATIONS = 500
NUM_BLOCKS = 4
WITHOUT_PSEUDO = {"every": 0}
STEPS: dict[str, dict[str, Any]] = {
    "grid": {"partition": {"method": "grid"}, "block": {"auxiliary": False}, "pseudo_view": WITHOUT_PSEUDO},
    "kd": {"partition": {"method": "load"}, "block": {"auxiliary": False}, "pseudo_view": WITHOUT_PSEUDO},
    "+ auxiliary": {"partition": {"method": "load"}, "pseudo_view": WITHOUT_PSEUDO},
    "+ pseudo view": {"partition": {"method": "load"}, "pseudo_view": {"every": 2}},
}
"""Each has what the one before has, and one thing more."""


def ablate(folder: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Every step for every seed; the change from step to step is taken within a seed."""
    rows = []
    for seed in SEEDS:
        capture = make_uneven_city(folder / f"city_{seed}", seed)
        for name, changes in STEPS.items():
            rows.append(_run(capture, folder / f"city_{seed}_{len(rows)}", name, seed, {**overrides, **changes}))
    return {"city": UNEVEN, "iterations": ITERATIONS, "blocks": NUM_BLOCKS, "rows": rows, "steps": summarise(rows)}


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over the seeds of each step, and of what it adds to the one before."""
    values = {name: np.array([row["psnr_db"] for row in rows if row["step"] == name]) for name in STEPS}
    steps = []
    before = None
    for name, found in values.items():
        step: dict[str, Any] = {"step": name, "psnr_db": fmean(found), "spread_db": pstdev(found)}
        if before is not None:
            gains = (found - before).tolist()
            step |= {"gain_db": fmean(gains), "gains_db": gains, "holds": fmean(gains) > 0}
        steps.append(step)
        before = found
    return steps


def _run(capture: Path, output: Path, name: str, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    fixed: dict[str, Any] = {
        "blocks": NUM_BLOCKS,
        "iterations": ITERATIONS,
        "image_scale": 1.0,
        "seed": seed,
        "eval_every": 0,
    }
    # Refining seams would mend after the fact what the steps differ by.
    fixed |= {"eval_every": 0, "merge": {"refine_iterations": 0}}
    result = reconstruct_run(capture, output, load_settings(RunSettings, None, {**changes, **fixed}))
    metrics, _ = evaluate_run(output, EvaluationSettings(), Quiet())
    print(f"seed {seed}, {name}: {metrics['raw']['psnr_db']:.2f} dB", file=sys.stderr, flush=True)
    return {
        "seed": seed,
        "step": name,
        **metrics["raw"],
        "seam_band_psnr_db": metrics["seam_band"]["psnr_db"],
        "interior_psnr_db": metrics["interior"]["psnr_db"],
        "num_gaussians": result.num_gaussians,
        "train_seconds": result.train_seconds,
    }
