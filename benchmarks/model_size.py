"""Searches how coarse anchors may be to be as good as explicit Gaussians, and compares the files, as JSON.

    python benchmarks/model_size.py boruszyn caliterra --output benchmarks/results/model_size.json

Scenes in one piece, equal iterations. The voxels of the anchors are widened or narrowed, halving the interval in
logarithms, until the held-out raw PSNR is within TOLERANCE_DB of the explicit scene's or the probes are used up. Runs
are noisy, so all of them are kept in the record. A capture is a folder, or a name below SCENE3D_SHARED/data or
../shared/data.
"""

import argparse
import json
import sys
import tempfile
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

TOLERANCE_DB = 0.1
FINEST, COARSEST = 0.5, 16.0
"""Voxel sides that the search stays between, as `--anchors.voxel-ratio`."""


def main() -> None:
    """Every capture in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="+")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--image-scale", type=float, default=0.25)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="the first is used")
    parser.add_argument("--probes", type=int, default=5, help="runs of anchors at most")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, JSON value")
    parser.add_argument("--output", type=Path, help="written anew after every capture")
    arguments = parser.parse_args()
    record: dict[str, Any] = {
        "schema_version": 1,
        "machine": describe_machine(),
        "iterations": arguments.iterations,
        "overrides": read_overrides(arguments),
        "tolerance_db": TOLERANCE_DB,
        "captures": [],
    }
    for name in arguments.captures:
        with tempfile.TemporaryDirectory() as scratch:
            record["captures"].append(search(find_capture(name), Path(scratch), arguments))
        if arguments.output:
            arguments.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


def search(capture: Path, scratch: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The explicit scene, and anchors that come closer and closer to its PSNR."""
    explicit = run(capture, scratch / "explicit", arguments, {"field": "explicit"})
    say(capture.name, "explicit", explicit)
    finest, coarsest = FINEST, COARSEST
    probes: list[dict[str, Any]] = []
    for step in range(arguments.probes):
        ratio = (finest * coarsest) ** 0.5
        changes = {"field": "anchors", "anchors": {"voxel_ratio": ratio}}
        probes.append({"voxel_ratio": ratio, **run(capture, scratch / f"anchors_{step}", arguments, changes)})
        say(capture.name, f"anchors {ratio:.2f}", probes[-1])
        difference_db = probes[-1]["raw"]["psnr_db"] - explicit["raw"]["psnr_db"]
        if abs(difference_db) <= TOLERANCE_DB:
            break
        finest, coarsest = (ratio, coarsest) if difference_db > 0 else (finest, ratio)
    closest = min(probes, key=lambda probe: abs(probe["raw"]["psnr_db"] - explicit["raw"]["psnr_db"]))
    difference_db = closest["raw"]["psnr_db"] - explicit["raw"]["psnr_db"]
    return {
        "capture": capture.name,
        "explicit": explicit,
        "probes": probes,
        "closest_voxel_ratio": closest["voxel_ratio"],
        "difference_db": difference_db,
        "equal": abs(difference_db) <= TOLERANCE_DB,
        "size_ratio": closest["model_bytes"] / explicit["model_bytes"],
    }


def run(capture: Path, folder: Path, arguments: argparse.Namespace, changes: dict[str, Any]) -> dict[str, Any]:
    """One reconstruction from nothing to metrics; the model is the .ply, or anchors with their decoder."""
    fixed = {"blocks": 1, "iterations": arguments.iterations, "eval_every": 0}
    settings = load_settings(RunSettings, None, {**read_overrides(arguments), **changes, **fixed})
    result = reconstruct_run(capture, folder, settings)
    metrics, _ = evaluate_run(folder, EvaluationSettings(), Quiet())
    ply = result.run.merged_scene
    anchors = ply.with_name("anchors.safetensors")
    return {
        "raw": metrics["raw"],
        "corrected": metrics["corrected"],
        "num_gaussians": result.num_gaussians,
        "ply_bytes": ply.stat().st_size,
        "model_bytes": (anchors if anchors.is_file() else ply).stat().st_size,
    }


def say(capture: str, name: str, row: dict[str, Any]) -> None:
    """One line for a person who watches."""
    figures = f"{row['raw']['psnr_db']:.2f} dB raw, {row['corrected']['psnr_db']:.2f} corrected"
    size = f"{row['num_gaussians']:,} Gaussians, {row['model_bytes'] / 1e6:.2f} MB"
    print(f"{capture} {name}: {figures}, {size}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
