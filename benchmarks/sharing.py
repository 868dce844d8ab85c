"""Adds one part of blocks in turns after another and measures what each brings on captures, as JSON.

    python benchmarks/sharing.py boruszyn caliterra --iterations 1000 --output benchmarks/results/sharing.json
    python benchmarks/sharing.py boruszyn --iterations 100 --image-scale 0.25 --steps explicit anchors

Every step has the same number of blocks and iterations. Sizes are those of the finished model on disk: the .ply of
explicit Gaussians, anchors and decoder otherwise. A capture is a folder, or a name below SCENE3D_SHARED/data or
../shared/data.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import describe_machine
from quality import find_capture, read_overrides

from app.evaluating import evaluate_run
from blocks.run import reconstruct_run
from blocks.settings import RunSettings
from scene3d.config import load_settings
from scene3d.events import Quiet
from scene3d.training.evaluation import EvaluationSettings

PLAIN_TURNS = {"weighting": False, "frozen_last_round": False}
STEPS: dict[str, dict[str, Any]] = {
    "explicit": {"field": "explicit"},
    "anchors": {"field": "anchors", "anchors": {"teacher": "off"}, "turns": PLAIN_TURNS},
    "+ teacher": {"field": "anchors", "anchors": {"teacher": "step"}, "turns": PLAIN_TURNS},
    "+ weighting": {"field": "anchors", "anchors": {"teacher": "step"}, "turns": {"frozen_last_round": False}},
    "+ frozen last round": {"field": "anchors", "anchors": {"teacher": "step"}, "turns": {}},
}
"""Each has what the one before has, and one thing more."""

EXTRA_STEPS: dict[str, dict[str, Any]] = {
    "teacher per round": {"field": "anchors", "anchors": {"teacher": "round", "teacher_momentum": 0.5}},
}
"""Alternatives that stand beside the ladder: each differs from its last step."""


def main() -> None:
    """Every step for every capture and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="+")
    parser.add_argument("--iterations", type=int, default=1000, help="per block")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--lanes", type=int, default=1, help="blocks that each step of the decoder hears")
    parser.add_argument("--image-scale", type=float, default=0.5)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", nargs="+", choices=[*STEPS, *EXTRA_STEPS], default=[*STEPS])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, JSON value")
    parser.add_argument("--keep", type=Path, help="keep the run folders below this folder")
    parser.add_argument("--output", type=Path, help="written anew after every run")
    arguments = parser.parse_args()
    record: dict[str, Any] = {
        "schema_version": 1,
        "machine": describe_machine(),
        "iterations": arguments.iterations,
        "blocks": arguments.blocks,
        "lanes": arguments.lanes,
        "image_scale": arguments.image_scale,
        "overrides": read_overrides(arguments),
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.captures:
            for seed in arguments.seed:
                for step in arguments.steps:
                    folder = (arguments.keep or Path(scratch)) / f"{Path(name).name}_{seed}_{step.replace(' ', '_')}"
                    record["rows"].append(run_step(find_capture(name), folder, step, seed, arguments))
                    print(describe(record["rows"][-1]), file=sys.stderr, flush=True)
                    if arguments.output:
                        arguments.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


def run_step(capture: Path, folder: Path, step: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One reconstruction from nothing to metrics."""
    changes = {**STEPS, **EXTRA_STEPS}[step]
    turns = {"accumulate": arguments.lanes, **changes.get("turns", {})}
    fixed = {"blocks": arguments.blocks, "iterations": arguments.iterations, "seed": seed, "eval_every": 0}
    settings = load_settings(RunSettings, None, {**read_overrides(arguments), **changes, **fixed, "turns": turns})
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    result = reconstruct_run(capture, folder, settings)
    seconds, cpu_seconds = time.monotonic() - started_s, time.process_time() - started_cpu_s
    metrics, _ = evaluate_run(folder, EvaluationSettings(), Quiet())
    ply = result.run.merged_scene
    anchors = ply.with_name("anchors.safetensors")
    return {
        "capture": capture.name,
        "seed": seed,
        "step": step,
        "raw": metrics["raw"],
        "corrected": metrics["corrected"],
        "seam_band": metrics.get("seam_band"),
        "interior": metrics.get("interior"),
        "num_blocks": result.num_blocks,
        "holes": len(result.holes),
        "num_gaussians": result.num_gaussians,
        "ply_bytes": ply.stat().st_size,
        "model_bytes": (anchors if anchors.is_file() else ply).stat().st_size,
        "train_seconds": round(result.train_seconds, 1),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_memory_bytes": result.peak_memory_bytes,
    }


def describe(row: dict[str, Any]) -> str:
    """One line for a person who watches."""
    raw, corrected = row["raw"], row["corrected"]
    seam = "" if row["seam_band"] is None else f", seams {row['seam_band']['psnr_db']:.2f}"
    return (
        f"{row['capture']} seed {row['seed']} {row['step']}: {raw['psnr_db']:.2f} dB raw, {corrected['psnr_db']:.2f} "
        f"corrected{seam}, {row['model_bytes'] / 1e6:.1f} MB, {row['cpu_seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
