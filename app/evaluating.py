"""Owns measuring a finished run: the held-out photographs, the report, and the table a person reads."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import ExitCode
from app.report import write_report
from app.scenes import OpenedScene, open_capture, open_scene
from scene3d.config import load_settings
from scene3d.errors import InputError
from scene3d.events import EventLog, Reporter, Tee
from scene3d.training.settings import ReconstructSettings

if TYPE_CHECKING:
    from scene3d.training.evaluation import EvaluationSettings
    from scene3d.training.metrics_record import RunFacts

FIGURES = (("psnr_db", "PSNR dB", ".2f"), ("ssim", "SSIM", ".4f"), ("lpips", "LPIPS", ".4f"))


def evaluate_run(
    root: Path, settings: "EvaluationSettings", reporter: Reporter, *, capture_folder: Path | None = None
) -> tuple[dict[str, Any], ExitCode]:
    """Measure a run on its held-out views, and write `eval/` and `report.html`.

    Returns:
        The record of the metrics file, and `PARTIAL` when a held-out view is no longer in the capture.

    Raises:
        InputError: The run is not finished, or its capture cannot be read.
    """
    from scene3d.data.loader import ImageLoader
    from scene3d.training.evaluation import evaluate_views

    scene = open_scene(root, reporter)
    if scene.run is None:
        remedy = "give the --output folder of `scene3d reconstruct`"
        raise InputError("only a run can be measured: it knows which views were held out", where=root, remedy=remedy)
    capture = open_capture(scene, capture_folder)
    places = {view.name: index for index, view in enumerate(capture.views)}
    missing = [name for name in scene.held_out if name not in places]
    if missing:
        reporter.note(f"{len(missing)} held-out views are gone, such as {missing[0]}", level="warning")
    trained = load_settings(ReconstructSettings, scene.run.config)
    with ImageLoader(
        capture.views, image_scale=trained.image_scale, memory_bytes=int(trained.memory_gb * 2**30)
    ) as photos:
        result = evaluate_views(
            scene.gaussians,
            photos,
            [places[name] for name in scene.held_out if name in places],
            replace(settings, background="white" if trained.background == "white" else "black"),
            _collect_facts(scene, trained),
            output=scene.run.evaluation,
            reporter=Tee(EventLog(scene.run.events), reporter),
        )
    write_report(root)
    return result.record, ExitCode.PARTIAL if missing else ExitCode.DONE


def format_table(record: Mapping[str, Any]) -> str:
    """The figures of a metrics record, raw and colour-corrected; what is missing says why."""
    rows = [["", *(title for _, title, _ in FIGURES)]]
    for kind in ("raw", "corrected"):
        values = [record[kind][name] for name, _, _ in FIGURES]
        shown = [
            "-" if value is None else format(value, style) for value, (_, _, style) in zip(values, FIGURES, strict=True)
        ]
        rows.append([kind, *shown])
    lines = [f"{row[0]:<10}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
    protocol = record["protocol"]
    lines.append(
        f"over {protocol['num_views']} held-out views ({protocol['split']}), {record['num_gaussians']:,} Gaussians"
    )
    reasons = record.get("reasons", {})
    return "\n".join(lines + [f"{name}: not available ({reason})" for name, reason in reasons.items()])


def _collect_facts(scene: OpenedScene, trained: ReconstructSettings) -> "RunFacts":
    from scene3d.training.metrics_record import RunFacts

    manifest = scene.manifest
    return RunFacts(
        split=str(scene.record.get("split", {}).get("rule", "unknown")),
        image_scale=trained.image_scale,
        seed=trained.seed,
        iterations=manifest.get("iterations"),
        train_seconds=manifest.get("train_seconds"),
        peak_memory_bytes=manifest.get("peak_memory_bytes"),
        size_bytes=manifest.get("size_bytes"),
    )
