"""Owns the page of a report: plain values in, one HTML text out, everything escaped."""

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from app.charts import Point, line_chart

TEMPLATE = Path(__file__).parent / "templates" / "report.html"
FIGURES = (("psnr_db", "PSNR", "{:.2f} dB"), ("ssim", "SSIM", "{:.4f}"), ("lpips", "LPIPS", "{:.4f}"))
KINDS = {"raw": "raw", "corrected": "corrected", "seam_band": "seam band, raw", "interior": "interior, raw"}
"""Rows of figures by their key in the metrics; runs in one piece lack the last two."""

BLOCK_COLUMNS: Sequence[tuple[str, str, str, float | None]] = (
    ("num_views", "views", "{:,}", None),
    ("num_points", "points", "{:,}", None),
    ("load", "load", "{:,}", None),
    ("num_kept", "Gaussians kept", "{:,}", None),
    ("num_dropped", "dropped", "{:,}", None),
    ("train_seconds", "training", "{:,.0f} s", None),
    ("peak_memory_bytes", "peak memory", "{:.2f} GB", 1e9),
)
FEW_VIEWS = 5
HIDDEN_GAP_DB = 1.0
"""If colour correction gains more than this, the raw figure is dominated by exposure."""

_UNSAFE = re.compile(r"[^\w ./-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One embedded picture."""

    caption: str
    jpeg: bytes
    alt: str = "photograph, rendering, error map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything the page shows, as plain values; nothing here needs to be safe for HTML."""

    title: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    plan_map: Picture | None = None
    """Of a scene in several blocks."""

    quality_curve: Sequence[Point] = ()
    """Iteration and mean held-out PSNR."""

    loss_curve: Sequence[Point] = ()
    count_curve: Sequence[Point] = ()
    findings: Sequence[tuple[str, str]] = ()
    """Severity and text."""

    settings: str = ""


def render_report(report: Report) -> str:
    """The page. Every value is escaped on its way in."""
    metrics = report.metrics
    parts = {
        "title": _text(shown_name(report.title)),
        "subtitle": _subtitle(metrics),
        "cards": _cards(metrics),
        "quality": _quality_table(metrics),
        "notes": _list([("", note) for note in honest_notes(metrics)], kind="notes"),
        "pictures": "".join(map(_figure, report.pictures)) or _absent("No pictures were saved."),
        "views": _view_table(metrics),
        "blocks": _blocks(report),
        "curves": _curves(report),
        "findings": _list(report.findings) if report.findings else _absent("The scene doctor found nothing."),
        "protocol": _protocol_table(metrics),
        "settings": _text(report.settings or "not recorded"),
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(parts)


def shown_name(name: str) -> str:
    """A name with letters and digits of any script, spaces and . _ - / only."""
    return _UNSAFE.sub("_", name)


def honest_notes(metrics: Mapping[str, Any]) -> list[str]:
    """What a reader of the figures could get wrong, as far as it applies to these."""
    if not metrics:
        return ["This run has not been evaluated; run `scene3d evaluate` on it."]
    views, protocol = view_records(metrics), _part(metrics, "protocol")
    notes = [
        f"All figures come from {len(views)} photographs that training never saw, at "
        f"{_number(protocol.get('image_scale'), '{:g}')} of their size; figures at other sizes cannot be compared."
    ]
    if 0 < len(views) < FEW_VIEWS:
        notes.append(f"{len(views)} held-out views are few: one odd photograph moves the means a lot.")
    raw, corrected = (_figure_of(metrics, kind, "psnr_db") for kind in ("raw", "corrected"))
    if raw is not None and corrected is not None:
        notes.append(
            "The corrected row fits the colours of each rendering to its photograph first. It hides exposure "
            "differences and is not comparable with raw figures."
        )
        if corrected - raw > HIDDEN_GAP_DB:
            notes.append(
                f"Correction gains {corrected - raw:.1f} dB here: much of the raw error is exposure or white balance."
            )
    if "seam_band" in metrics:
        notes.append(
            "The seam band holds the pixels that show ground within a block's margin of a seam between blocks, the "
            "interior those that show the rest of the region. SSIM and LPIPS look at neighbourhoods, whose outside is "
            "taken from the photograph: they flatter a narrow region. Between regions compare PSNR only."
        )
    notes += [f"Block {hole.get('block_id')} is missing: {hole.get('reason')}." for hole in _records(metrics, "holes")]
    notes += [f"{_shown_figure(str(name))}: {reason}." for name, reason in _part(metrics, "reasons").items()]
    return notes


def _subtitle(metrics: Mapping[str, Any]) -> str:
    count, iterations = metrics.get("num_gaussians"), metrics.get("iterations")
    words = [f"{count:,} Gaussians" if isinstance(count, int) else "", "reconstructed by scene3d"]
    words.append(f"in {iterations:,} iterations" if isinstance(iterations, int) else "")
    return _text(" ".join(word for word in words if word))


def _cards(metrics: Mapping[str, Any]) -> str:
    cards = [(name, _number(_figure_of(metrics, "raw", key), shape)) for key, name, shape in FIGURES]
    cards += [
        ("held-out views", str(len(view_records(metrics)))),
        ("Gaussians", _number(metrics.get("num_gaussians"), "{:,}")),
        ("size of the scene", _number(metrics.get("size_bytes"), "{:.1f} MB", 1e6)),
        ("training time", _number(metrics.get("train_seconds"), "{:,.0f} s")),
        ("peak memory", _number(metrics.get("peak_memory_bytes"), "{:.2f} GB", 1e9)),
    ]
    return "".join(f'<div class="card"><b>{_text(value)}</b><span>{_text(name)}</span></div>' for name, value in cards)


def _quality_table(metrics: Mapping[str, Any]) -> str:
    rows = [
        [shown, *(_number(_figure_of(metrics, kind, key), shape) for key, _, shape in FIGURES)]
        for kind, shown in KINDS.items()
        if kind in ("raw", "corrected") or kind in metrics
    ]
    return _table(["", *(name for _, name, _ in FIGURES)], rows)


def _view_table(metrics: Mapping[str, Any]) -> str:
    rows = []
    for view in view_records(metrics):
        figures = [_number(_figure_of(view, "raw", key), shape) for key, _, shape in FIGURES]
        corrected = _number(_figure_of(view, "corrected", "psnr_db"), "{:.2f} dB")
        used = _number(view.get("used_share"), "{:.0%}")
        rows.append([shown_name(str(view.get("name"))), *figures, corrected, used])
    header = ["view", *(name for _, name, _ in FIGURES), "PSNR corrected", "pixels used"]
    return _table(header, rows) if rows else _absent("No view was measured.")


def _blocks(report: Report) -> str:
    """The section of a scene in blocks; nothing for one in one piece."""
    rows = [
        [
            shown_name(str(block.get("block_id"))),
            *(_number(block.get(key), shape, unit) for key, _, shape, unit in BLOCK_COLUMNS),
        ]
        for block in _records(report.metrics, "blocks")
    ]
    table = _table(["block", *(name for _, name, _, _ in BLOCK_COLUMNS)], rows) if rows else ""
    picture = _figure(report.plan_map, kind="map") if report.plan_map else ""
    return f"<h2>Blocks</h2>{picture}{table}" if picture or table else ""


def _protocol_table(metrics: Mapping[str, Any]) -> str:
    protocol = _part(metrics, "protocol")
    rows = [[key.replace("_", " "), "-" if value is None else str(value)] for key, value in protocol.items()]
    return _table(["", ""], rows) if rows else _absent("No protocol was recorded.")


def _curves(report: Report) -> str:
    charts = line_chart("mean PSNR of held-out views over iterations", report.quality_curve, unit=" dB")
    charts += line_chart("training loss over iterations", report.loss_curve, kind="second")
    charts += line_chart("Gaussians over iterations", report.count_curve)
    return charts or _absent("No curve was recorded.")


def _figure(picture: Picture, *, kind: str = "comparison") -> str:
    encoded = base64.b64encode(picture.jpeg).decode("ascii")
    image = f'<img alt="{_text(picture.alt)}" src="data:image/jpeg;base64,{encoded}">'
    return f'<figure class="{kind}">{image}<figcaption>{_text(picture.caption)}</figcaption></figure>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _list(entries: Sequence[tuple[str, str]], *, kind: str = "findings") -> str:
    lines = []
    for severity, text in entries:
        known = severity if severity in ("info", "warning", "error") else "info"
        lines.append(f'<li class="{known}">{_text(text)}</li>')
    return f'<ul class="{kind}">{"".join(lines)}</ul>'


def _absent(sentence: str) -> str:
    return f'<p class="soft">{_text(sentence)}</p>'


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def view_records(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The records of the views, the worst first, as the metrics file has them."""
    return _records(metrics, "per_view")


def _records(metrics: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    listed = metrics.get(name)
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def describe_figures(record: Mapping[str, Any]) -> str:
    """The raw figures of a view in one line."""
    return ", ".join(f"{name} {_number(_figure_of(record, 'raw', key), shape)}" for key, name, shape in FIGURES)


def _shown_figure(name: str) -> str:
    return {key: shown for key, shown, _ in FIGURES}.get(name, shown_name(name).replace("_", " "))


def _number(value: object, shape: str, unit: float | None = None) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "n/a"
    return shape.format(value if unit is None else value / unit)


def _figure_of(record: Mapping[str, Any], kind: str, figure: str) -> float | None:
    figures = record.get(kind)
    value = figures.get(figure) if isinstance(figures, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _part(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = metrics.get(name)
    return part if isinstance(part, dict) else {}
