"""Reconstructs captures and prints their held-out quality as JSON: one row per run, with the curve over iterations.

    python benchmarks/quality.py fox --iterations 2000 --image-scale 0.5 --output benchmarks/results/quality_fox.json
    python benchmarks/quality.py ../shared/data/brighton --iterations 1000 2000 4000
    python benchmarks/quality.py caliterra --blocks 4 --iterations 3000 --pictures docs/pictures
    python benchmarks/quality.py --ablation

With --blocks each capture is reconstructed in blocks and in one piece, and measured at the seams. The ablation adds one
part of the method after another on small uneven synthetic cities.

A capture is a folder, or a name below SCENE3D_SHARED/data or ../shared/data.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ablation import ablate
from comparison import compare, make_variants
from machine import describe_machine

from app.evaluating import evaluate_run
from scene3d.config import load_settings
from scene3d.events import Quiet
from scene3d.training.evaluation import EvaluationSettings
from scene3d.training.run import reconstruct
from scene3d.training.settings import ReconstructSettings

SHARED = Path(os.environ.get("SCENE3D_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def find_capture(name: str) -> Path:
    """A folder as given, or one of the shared captures."""
    return Path(name) if Path(name).is_dir() else SHARED / "data" / name


def run_one(capture: Path, settings: ReconstructSettings, keep: Path) -> dict[str, Any]:
    """One reconstruction from nothing to metrics."""
    output = keep / f"{capture.name}_{settings.iterations}"
    started_s = time.monotonic()
    result = reconstruct(capture, output, settings)
    reconstructed_s = time.monotonic() - started_s
    metrics, _ = evaluate_run(output, EvaluationSettings(), Quiet())
    curve = [json.loads(line) for line in result.run.curve.read_text().splitlines()]
    return {
        "capture": capture.name,
        "iterations": settings.iterations,
        "image_scale": settings.image_scale,
        "raw": metrics["raw"],
        "corrected": metrics["corrected"],
        "num_gaussians": result.num_gaussians,
        "size_bytes": metrics["size_bytes"],
        "train_seconds": round(result.train_seconds, 1),
        "reconstruct_seconds": round(reconstructed_s, 1),
        "peak_memory_bytes": result.peak_memory_bytes,
        "curve": curve,
        "protocol": metrics["protocol"],
    }


def main() -> None:
    """Runs every capture at every length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="*")
    parser.add_argument("--iterations", type=int, nargs="+", default=[2000])
    parser.add_argument("--image-scale", type=float, default=0.5)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="with --blocks, one comparison for each")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, JSON value")
    parser.add_argument("--keep", type=Path, help="keep the run folders below this folder")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--blocks", type=int, help="compare this many blocks with one piece")
    parser.add_argument("--pictures", type=Path, help="with --blocks: map and crops of a seam go into this folder")
    parser.add_argument("--ablation", action="store_true", help="the parts of the method on synthetic cities")
    arguments = parser.parse_args()
    overrides = read_overrides(arguments)
    machine = describe_machine()  # before its own work counts as load
    with tempfile.TemporaryDirectory() as scratch:
        keep = arguments.keep or Path(scratch)
        if arguments.ablation:
            record: dict[str, Any] = ablate(keep, overrides)
        elif arguments.blocks:
            record = {"comparisons": compare_all(arguments, overrides, keep)}
        else:
            record = {"runs": run_all(arguments, overrides, keep)}
    text = json.dumps({"machine": machine, "overrides": overrides, **record}, indent=1)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def read_overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings that differ from the defaults."""
    overrides: dict[str, Any] = {"image_scale": arguments.image_scale, "seed": arguments.seed[0]}
    for assignment in arguments.set:
        key, value = assignment.split("=", 1)
        target = overrides
        *parents, last = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = json.loads(value)
    return overrides


def run_all(arguments: argparse.Namespace, overrides: dict[str, Any], keep: Path) -> list[dict[str, Any]]:
    """Every capture at every length, in one piece."""
    rows = []
    for name in arguments.captures:
        for iterations in arguments.iterations:
            settings = load_settings(ReconstructSettings, None, {**overrides, "iterations": iterations})
            rows.append(run_one(find_capture(name), settings, keep))
            raw = rows[-1]["raw"]
            print(
                f"{name} {iterations}: {raw['psnr_db']:.2f} dB, SSIM {raw['ssim']:.3f}, {rows[-1]['num_gaussians']:,} "
                f"Gaussians, {rows[-1]['train_seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return rows


def compare_all(arguments: argparse.Namespace, overrides: dict[str, Any], keep: Path) -> list[dict[str, Any]]:
    """Every capture in blocks and in one piece, at the first length."""
    variants = make_variants(arguments.iterations[0], arguments.blocks)
    comparisons = []
    for name in arguments.captures:
        capture = find_capture(name)
        for seed in arguments.seed:
            folder = keep / f"{capture.name}_{arguments.iterations[0]}_{arguments.blocks}_blocks_{seed}"
            pictures = arguments.pictures if seed == arguments.seed[0] else None
            comparisons.append(compare(capture, variants, {**overrides, "seed": seed}, folder, pictures))
    return comparisons


if __name__ == "__main__":
    main()
