"""Owns the report of a run: one HTML page that needs no other file, no script and no network."""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from PIL import Image

from app.charts import Point
from app.report_page import Picture, Report, describe_figures, render_report, shown_name, view_records
from scene3d.events import read_events
from scene3d.io.atomic import write_text
from scene3d.limits import MAX_IMAGE_PIXELS, MAX_JSON_BYTES

MAX_PICTURES = 12
PICTURE_WIDTH_PX = 1650
JPEG_QUALITY = 85


def write_report(run: Path) -> Path:
    """Write `report.html` of a run folder from what lies in it; missing parts are named as missing."""
    path = run / "report.html"
    write_text(path, render_report(collect_report(run)))
    return path


def collect_report(run: Path) -> Report:
    """Read figures, pictures, curves, findings and settings of a run folder."""
    metrics = _read_record(run / "eval" / "metrics.json")
    capture = _read_record(run / "capture.json")
    events = [event for event in read_events(run / "events.jsonl") if isinstance(event, dict)]
    advances = [event for event in events if event.get("event") == "advance" and event.get("stage") == "train"]
    config = run / "config.yaml"
    return Report(
        title=run.resolve().name,
        metrics=metrics,
        pictures=_read_pictures(run / "eval", metrics),
        plan_map=_read_map(run / "plan.png"),
        quality_curve=_points(read_events(run / "curve.jsonl"), "iteration", "psnr_db"),
        loss_curve=_points(advances, "step", "loss"),
        count_curve=_points(advances, "step", "gaussians"),
        findings=_findings(capture, events),
        settings=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
    )


def _findings(capture: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Severity and sentence of what the scene doctor found, then warnings of the run that are not among them."""
    listed = capture.get("findings")
    records = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    findings = [(str(each.get("severity", "info")), _sentence(each)) for each in records]
    known = {text for _, text in findings}
    warnings = [event for event in events if event.get("event") == "note" and event.get("level") == "warning"]
    messages = dict.fromkeys(str(event.get("message")) for event in warnings)
    return findings + [("warning", message) for message in messages if message not in known]


def _sentence(finding: Mapping[str, Any]) -> str:
    where, remedy = finding.get("where"), finding.get("remedy")
    return f"{where}: " * bool(where) + str(finding.get("what", "")) + f"; {remedy}" * bool(remedy)


def _points(records: Iterable[Any], x: str, y: str) -> list[Point]:
    """Pairs of two figures, ascending; after a resume the later of two measurements counts."""
    pairs = [(record.get(x), record.get(y)) for record in records if isinstance(record, dict)]
    return sorted({float(a): float(b) for a, b in pairs if _is_number(a) and _is_number(b)}.items())


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_record(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _read_pictures(folder: Path, metrics: Mapping[str, Any]) -> list[Picture]:
    """The saved pictures in the order of the metrics file, the worst first; paths may not leave the folder."""
    pictures: list[Picture] = []
    for view in view_records(metrics):
        path = folder / str(view.get("picture") or "")
        inside = path.is_file() and folder.resolve() in path.resolve().parents
        jpeg = _read_jpeg(path) if inside and len(pictures) < MAX_PICTURES else None
        if jpeg is not None:
            caption = f"{shown_name(str(view.get('name')))}: {describe_figures(view)}"
            pictures.append(Picture(caption=caption, jpeg=jpeg))
    return pictures


def _read_map(path: Path) -> Picture | None:
    """The map of a run in blocks."""
    jpeg = _read_jpeg(path) if path.is_file() else None
    if jpeg is None:
        return None
    caption = (
        "The blocks from above: cells, dashed what each looks past its edges, cameras with a tick to where they look."
    )
    return Picture(caption=caption, jpeg=jpeg, alt="map of the blocks")


def _read_jpeg(path: Path) -> bytes | None:
    """A saved picture, small enough for a page; None if it cannot be read."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > 3 * MAX_IMAGE_PIXELS:
                return None
            picture = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    picture.thumbnail((PICTURE_WIDTH_PX, PICTURE_WIDTH_PX))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
