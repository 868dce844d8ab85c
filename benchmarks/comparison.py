"""Compares a scene in blocks with the same scene in one piece: each block given the whole's iterations, and a share."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from memory import IMPORTS, Watched, run_watched

from app.evaluating import evaluate_run
from blocks.plan import read_plan
from blocks.seam_regions import make_regions
from blocks.settings import RunSettings
from scene3d.config import load_settings, settings_to_record
from scene3d.data.loader import ImageLoader
from scene3d.data.reading import read_capture
from scene3d.events import Quiet
from scene3d.exporting import read_scene
from scene3d.io.atomic import write_text
from scene3d.io.images import write_image
from scene3d.render import render_view
from scene3d.training.evaluation import EvaluationSettings
from scene3d.training.run_folder import RunFolder

FIGURES = ("raw", "corrected", "seam_band", "interior")
CROP_PX = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to reconstruct the capture."""

    name: str
    changes: Mapping[str, Any]


def make_variants(iterations: int, num_blocks: int) -> list[Variant]:
    """Blocks first: the others are measured at their seams."""
    share = max(1, iterations // num_blocks)
    return [
        Variant(name="blocks", changes={"blocks": num_blocks, "iterations": iterations}),
        Variant(name="blocks, equal total", changes={"blocks": num_blocks, "iterations": share}),
        Variant(name="single", changes={"blocks": 1, "iterations": iterations}),
    ]


def compare(
    capture: Path, variants: list[Variant], overrides: Mapping[str, Any], scratch: Path, pictures: Path | None
) -> dict[str, Any]:
    """Reconstructs every variant in a process of its own, then measures all at the seams of the first."""
    scratch.mkdir(parents=True, exist_ok=True)
    floor_bytes = run_watched([sys.executable, "-c", IMPORTS], scratch / "imports.log").peak_bytes
    rows = []
    for variant in variants:
        folder = scratch / variant.name.replace(", ", "_").replace(" ", "_")
        settings = load_settings(RunSettings, None, {**overrides, **variant.changes, "eval_every": 0})
        watched = reconstruct_in_child(capture, folder, settings)
        shared_plan = scratch / variants[0].name / "plan.json"
        if not (folder / "plan.json").exists():
            shutil.copyfile(shared_plan, folder / "plan.json")
        rows.append(measure(variant, folder, watched, floor_bytes))
        say(capture.name, rows[-1])
    if pictures is not None:
        draw_seam(capture, [scratch / "single", scratch / "blocks"], overrides, pictures / f"seam_{capture.name}.jpg")
        shutil.copyfile(scratch / "blocks" / "plan.png", pictures / f"plan_{capture.name}.png")
    seed = overrides.get("seed", 0)
    return {"capture": capture.name, "seed": seed, "imports_only_bytes": floor_bytes, "variants": rows}


def reconstruct_in_child(capture: Path, folder: Path, settings: RunSettings) -> Watched:
    """Runs the command of the program; returns what it took. A finished run is not run again."""
    log, kept = folder.with_suffix(".log"), folder.with_suffix(".watched.json")
    if (folder / "merged" / "manifest.json").is_file() and kept.is_file():
        return Watched(samples=[], code=0, **json.loads(kept.read_text()))
    config = folder.with_suffix(".yaml")
    config.parent.mkdir(parents=True, exist_ok=True)
    write_text(config, json.dumps(settings_to_record(settings)))
    command = [sys.executable, "-m", "app.cli", "reconstruct", str(capture.resolve()), "--output", str(folder)]
    watched = run_watched([*command, "--config", str(config), "--no-evaluate"], log)
    if watched.code != 0:
        raise SystemExit(f"{folder}: reconstruct ended with {watched.code}\n{log.read_text()[-2000:]}")
    kept.write_text(json.dumps({"peak_bytes": watched.peak_bytes, "cpu_seconds": watched.cpu_seconds}))
    return watched


def measure(variant: Variant, folder: Path, watched: Watched, floor_bytes: int) -> dict[str, Any]:
    """One row: held-out figures as a whole and by region, size, time and memory."""
    metrics, _ = evaluate_run(folder, EvaluationSettings(), Quiet())
    manifest = json.loads((folder / "merged" / "manifest.json").read_text(encoding="utf-8"))
    # A scene in one piece was only lent the plan; it has no blocks.
    blocks = manifest.get("blocks")
    return {
        "name": variant.name,
        **dict(variant.changes),
        **{name: metrics.get(name) for name in FIGURES},
        "per_view": [{"name": view["name"], **view["raw"]} for view in metrics["per_view"]],
        "num_gaussians": metrics["num_gaussians"],
        "size_bytes": metrics["size_bytes"],
        "train_seconds": round(metrics["train_seconds"], 1),
        "cpu_seconds": round(watched.cpu_seconds, 1),
        # Each block counts its own peak anew, so the system's figure knows only of the last one and the merge.
        "peak_bytes_above_imports": max(watched.peak_bytes, manifest.get("peak_memory_bytes") or 0) - floor_bytes,
        "audit": manifest.get("audit"),
        "blocks": blocks,
        "protocol": metrics["protocol"],
    }


def draw_seam(capture_path: Path, runs: list[Path], overrides: Mapping[str, Any], path: Path) -> None:
    """Crops of the held-out photograph, the single scene and the merged one where a seam crosses most pixels."""
    plan = read_plan(runs[-1] / "plan.json")
    regions = make_regions(plan)
    capture = read_capture(capture_path).transformed(plan.world_from_capture)
    scenes = [load_merged(folder) for folder in runs]
    held_out = [index for index, view in enumerate(capture.views) if view.name not in set(plan.views)]
    with ImageLoader(capture.views, image_scale=float(overrides.get("image_scale", 1.0))) as photos:
        best: tuple[int, list[np.ndarray]] = (-1, [])
        for index in held_out:
            photo = photos.load(index)
            renderings = [render_view(scene, photo.camera) for scene in scenes]
            band = regions(photo.camera, renderings[-1].depth, renderings[-1].alpha)["seam_band"].numpy()
            row, column, count = busiest_window(band)
            if count > best[0]:
                images = [photo.image, *(rendering.image.clamp(0, 1) for rendering in renderings)]
                window = slice(row, row + CROP_PX), slice(column, column + CROP_PX)
                shown = [image.numpy()[window] for image in images]
                shown.append(np.where(band[window][..., None], shown[-1], 0.35 * shown[-1]))
                best = count, shown
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.concatenate(best[1], axis=1).astype(np.float32))


def busiest_window(band: np.ndarray) -> tuple[int, int, int]:
    """Top left corner of the crop that holds most pixels of a mask, and how many."""
    sums = np.pad(band.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    side = min(CROP_PX, *band.shape)
    counts = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    return int(row), int(column), int(counts[row, column])


def load_merged(folder: Path) -> Any:
    """The finished scene of a run, in the world frame."""
    run = RunFolder(folder)
    return read_scene(run.merged_scene, json.loads(run.manifest.read_text(encoding="utf-8")))


def say(capture: str, row: Mapping[str, Any]) -> None:
    """One line while the benchmark runs."""
    parts = [f"{name} {row[name]['psnr_db']:.2f}" for name in FIGURES if row.get(name)]
    print(
        f"{capture} {row['name']}: {', '.join(parts)} dB, {row['num_gaussians']:,} Gaussians, "
        f"{row['cpu_seconds']:.0f} s, {row['peak_bytes_above_imports'] / 1e6:.0f} MB",
        file=sys.stderr,
        flush=True,
    )
