"""Owns a benchmark run: by which methods captures are reconstructed, and one row of figures for each."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.bench_targets import Target
from app.errors import ExitCode, explain
from scene3d.errors import InputError
from scene3d.events import Reporter

if TYPE_CHECKING:
    from scene3d.training.run import ReconstructResult
    from scene3d.training.settings import ReconstructSettings

logger = logging.getLogger(__name__)

FIGURES = ("psnr_db", "ssim", "lpips")
_ABSOLUTE = re.compile(r"(?<![\w~./:])(?:[A-Za-z]:)?[\\/](?:[^\s\\/;:,()]+[\\/])+")
Row = dict[str, Any]
"""One method on one capture, as it stands in bench.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to reconstruct."""

    make_settings: Callable[..., "ReconstructSettings"]
    reconstruct: Callable[..., "ReconstructResult"]
    """Called as `scene3d.training.run.reconstruct` is."""


def _single() -> Method:
    from scene3d.training.run import reconstruct
    from scene3d.training.settings import ReconstructSettings

    return Method(make_settings=ReconstructSettings, reconstruct=reconstruct)


def _blocks() -> Method:
    from blocks.run import reconstruct_run
    from blocks.settings import RunSettings

    return Method(make_settings=RunSettings, reconstruct=reconstruct_run)


METHODS: dict[str, Callable[[], Method]] = {"blocks": _blocks, "single": _single}
"""Made on use: none is imported before it is asked for."""


def run_method(
    name: str, target: Target, folder: Path, reporter: Reporter, *, iterations: int | None
) -> tuple[Row, ExitCode]:
    """Reconstruct and measure, unless both were done before; what goes wrong becomes a row with the reason.

    Args:
        folder: The run folder of this method on this capture.
        iterations: Training iterations; the method's own number if not given.
    """
    row: Row = {"method": name, "iterations": iterations, "failure": None}
    try:
        method = METHODS[name]()
        chosen = {} if iterations is None else {"iterations": iterations}
        settings = method.make_settings(image_scale=target.reading_scale, test_every=8, **chosen)
        row |= _reconstruct(method, settings, target, folder, reporter)
        row |= _measure(target, folder, reporter)
    except Exception as error:
        logger.debug("method %s failed on %s", name, target.name, exc_info=True)
        reporter.note(f"{name} on {target.name}: {explain(error).line}", level="warning")
        return {**row, "failure": _without_paths(explain(error).line, target, folder)}, ExitCode.PARTIAL
    return row, ExitCode.PARTIAL if row["num_views_missing"] or row["missing_blocks"] else ExitCode.DONE


def _reconstruct(method: Method, settings: Any, target: Target, folder: Path, reporter: Reporter) -> Row:
    """Bring the run to its end; how many blocks it has, and which of them are missing, is kept beside it."""
    from scene3d.config import load_settings
    from scene3d.io.atomic import write_json
    from scene3d.io.bounded_json import read_json_object
    from scene3d.training.run_folder import RunFolder

    run, kept = RunFolder(folder), folder / "bench.json"
    if run.config.is_file() and load_settings(type(settings), run.config) != settings:
        remedy = "choose another --output, or delete this folder to run it anew"
        raise InputError("holds a run with other settings", where=folder, remedy=remedy)
    outcome = read_json_object(kept) if kept.is_file() else {"num_blocks": None, "missing_blocks": []}
    if run.manifest.is_file() and not outcome["missing_blocks"]:
        reporter.note(f"{folder} is finished already")
        return outcome
    resume = run.config.is_file()
    result = method.reconstruct(target.capture, folder, settings, resume=resume, reporter=reporter)
    run.metrics.unlink(missing_ok=True)  # figures of a scene that is no longer there
    holes = [hole.block_id for hole in getattr(result, "holes", ())]
    outcome = {"num_blocks": getattr(result, "num_blocks", 1), "missing_blocks": holes}
    write_json(kept, outcome)
    return outcome


def _measure(target: Target, folder: Path, reporter: Reporter) -> Row:
    """Figures of the held-out views; those of an earlier call with the same network still stand."""
    from app.evaluating import evaluate_run
    from scene3d.io.bounded_json import read_json_object
    from scene3d.training.evaluation import EvaluationSettings
    from scene3d.training.run_folder import read_run

    run, about = read_run(folder)
    record = read_json_object(run.metrics) if run.metrics.is_file() else None
    if record is None or record["protocol"]["lpips_net"] != target.lpips_net:
        settings = EvaluationSettings(lpips_net=target.lpips_net)
        record, _ = evaluate_run(folder, settings, reporter, capture_folder=target.capture)
    protocol = record["protocol"]
    reasons = {name: _without_paths(text, target, folder) for name, text in record["reasons"].items()}
    return {
        "iterations": record["iterations"],
        "image_scale": protocol["image_scale"] * target.photo_scale,
        "split": protocol["split"],
        "num_views": protocol["num_views"],
        "view_list_sha256": protocol["view_list_sha256"],
        "lpips_net": protocol["lpips_net"],
        "lpips_input": protocol["lpips_input"],
        "seed": protocol["seed"],
        "num_gaussians": record["num_gaussians"],
        **{kind: {name: record[kind][name] for name in FIGURES} for kind in ("raw", "corrected")},
        "reasons": {name: text for name, text in reasons.items() if name in (*FIGURES, "per_view")},
        "num_views_missing": len(about["split"]["test"]) - protocol["num_views"],
    }


def _without_paths(text: str, target: Target, folder: Path) -> str:
    """The text without what only this machine knows: of other absolute paths the last part is kept."""
    for path, word in ((folder, "RUN"), (target.capture, "CAPTURE")):
        for form in {str(path.absolute()), str(path.resolve())} - {path.anchor}:
            text = text.replace(form, word)
    return _ABSOLUTE.sub("", text)
