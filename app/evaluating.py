"""Owns measuring a finished run: the held-out photographs, the report, and the table a person reads."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.block_figures import collect_blocks, collect_holes, explain_missing, read_run_plan
from app.errors import ExitCode
from app.report import write_report
from app.scenes import OpenedScene, open_capture, open_scene
from blocks.settings import RunSettings
from scene3d.config import load_settings
from scene3d.errors import InputError
from scene3d.events import EventLog, Reporter, Tee

if TYPE_CHECKING:
    from blocks.plan import BlockPlan
    from scene3d.training.evaluation import EvaluationSettings
    from scene3d.training.metrics_record import RunFacts

KINDS = {"raw": "raw", "corrected": "corrected", "seam_band": "seam band", "interior": "interior"}
"""Rows of the table by their key in the metrics file; the last two are there for runs in blocks."""

FIGURES = (("psnr_db", "PSNR dB", ".2f"), ("ssim", "SSIM", ".4f"), ("lpips", "LPIPS", ".4f"))


def evaluate_run(
    root: Path, settings: "EvaluationSettings", reporter: Reporter, *, capture_folder: Path | None = None
) -> tuple[dict[str, Any], ExitCode]:
    """Measure a run on its held-out views, and write `eval/` and `report.html`.

    Of a run in blocks, the seams between them are measured by themselves too.

    Returns:
        The record of the metrics file, and `PARTIAL` when a held-out view is no longer in the capture.

    Raises:
        InputError: The run is not finished, its plan is not its own, or its capture cannot be read.
    """
    from blocks.seam_regions import make_regions
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
    plan = read_run_plan(scene.run.plan, scene.world_from_capture)
    trained = load_settings(RunSettings, scene.run.config)
    with ImageLoader(
        capture.views, image_scale=trained.image_scale, memory_bytes=int(trained.memory_gb * 2**30)
    ) as photos:
        result = evaluate_views(
            scene.gaussians,
            photos,
            [places[name] for name in scene.held_out if name in places],
            replace(settings, background="white" if trained.background == "white" else "black"),
            _collect_facts(scene, trained, plan),
            regions=None if plan is None else make_regions(plan),
            output=scene.run.evaluation,
            reporter=Tee(EventLog(scene.run.events), reporter),
        )
    write_report(root)
    return result.record, ExitCode.PARTIAL if missing else ExitCode.DONE


def format_table(record: Mapping[str, Any]) -> str:
    """The figures of a metrics record, raw, colour-corrected and by region; what is missing says why."""
    rows = [["", *(title for _, title, _ in FIGURES)]]
    for kind in (kind for kind in KINDS if kind in record):
        values = [record[kind][name] for name, _, _ in FIGURES]
        shown = [
            "-" if value is None else format(value, style) for value, (_, _, style) in zip(values, FIGURES, strict=True)
        ]
        rows.append([KINDS[kind], *shown])
    lines = [f"{row[0]:<10}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]
    protocol = record["protocol"]
    lines.append(
        f"over {protocol['num_views']} held-out views ({protocol['split']}), {record['num_gaussians']:,} Gaussians"
    )
    lines += [
        f"hole: block {hole.get('block_id')} is missing ({hole.get('reason')})" for hole in record.get("holes", ())
    ]
    for name, reason in record.get("reasons", {}).items():
        lines.append(f"{name}: {'incomplete' if isinstance(record.get(name), list) else 'not available'} ({reason})")
    return "\n".join(lines)


def _collect_facts(scene: OpenedScene, trained: RunSettings, plan: "BlockPlan | None") -> "RunFacts":
    from scene3d.training.metrics_record import RunFacts

    manifest, holes = scene.manifest, collect_holes(scene.manifest)
    blocks = [] if plan is None else collect_blocks(plan, manifest)
    missing = explain_missing(blocks, holes)
    return RunFacts(
        split=str(scene.record.get("split", {}).get("rule", "unknown")),
        image_scale=trained.image_scale,
        seed=trained.seed,
        iterations=manifest.get("iterations"),
        train_seconds=manifest.get("train_seconds"),
        peak_memory_bytes=manifest.get("peak_memory_bytes"),
        size_bytes=manifest.get("size_bytes"),
        further={**({"blocks": blocks} if blocks else {}), **({"holes": holes} if holes else {})},
        further_reasons={"blocks": missing} if missing else {},
    )
