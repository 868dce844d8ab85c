"""Owns how benchmark rows are shown: ours beside the published ones, raw and corrected figures in separate tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from app.bench_targets import Target
from app.benching import FIGURES, Row
from scene3d.data.registry import PROTOCOLS, Collection, Dataset, PublishedRow

STYLES = {"psnr_db": ".2f", "ssim": ".3f", "lpips": ".3f"}
HEADS = ("method", "iterations", "scale", "net", "views", "PSNR dB", "SSIM", "LPIPS", "source")
MEANING = {
    "raw": "raw: renderings as they are",
    "corrected": "corrected: colours of each held-out view fitted to its photograph first",
}
SCALE_TOLERANCE = 1e-3
Cells = tuple[str, ...]


def format_target(target: Target, rows: Sequence[Row], sources: Mapping[str, str]) -> str:
    """Two tables, one per protocol, what the sources are, and where our protocol is not the published one."""
    published = target.dataset.published if target.dataset else ()
    scale = target.dataset.image_scale if target.dataset else target.image_scale
    net = target.dataset.lpips_net if target.dataset else target.lpips_net
    lines = [target.title]
    for kind in PROTOCOLS:
        theirs = [_cells_of_published(row, scale, net) for row in published if row.protocol == kind]
        lines += ["", MEANING[kind], *_align([HEADS, *(_cells_of_row(row, kind) for row in rows), *theirs])]
    named = dict.fromkeys(source for row in published for source in row.source.split(", "))
    lines += [""] * bool(named) + [f"[{name}] {sources[name]}" for name in named]
    lines += [f"{row['method']} failed: {row['failure']}" for row in rows if row["failure"]]
    return "\n".join([*lines, *(f"note: {note}" for note in find_notes(target, rows))])


def format_means(collection: Collection, rows: Mapping[str, Sequence[Row]], sources: Mapping[str, str]) -> str:
    """Means over all scenes of a collection beside the published means; empty where a scene or such means are missing.

    Args:
        rows: The rows of each data set by its name.
    """
    if not collection.published or any(name not in rows for name in collection.datasets):
        return ""
    lines = [f"{collection.title}: mean of {len(collection.datasets)} scenes"]
    for kind in PROTOCOLS:
        ours = [cells for row in rows[collection.datasets[0]] if (cells := _mean(row, rows, collection, kind))]
        theirs = [_cells_of_published(row, None, "") for row in collection.published if row.protocol == kind]
        if ours:
            lines += ["", MEANING[kind], *_align([HEADS, *ours, *theirs])]
    return "\n".join(lines) if len(lines) > 1 else ""


def find_notes(target: Target, rows: Sequence[Row]) -> list[str]:
    """Where figures of ours and published ones are not measured alike, and why a figure is missing."""
    finished = [row for row in rows if not row["failure"]]
    notes = [f"{row['method']}: no {name} ({why})" for row in finished for name, why in row["reasons"].items()]
    notes += [
        f"{row['method']}: blocks {', '.join(row['missing_blocks'])} could not be trained"
        for row in finished
        if row["missing_blocks"]
    ]
    notes += [
        f"{row['method']}: {row['num_views_missing']} held-out photographs are gone"
        for row in finished
        if row["num_views_missing"]
    ]
    if any(row["method"] == "blocks" and row["num_blocks"] == 1 for row in finished):
        notes.append("blocks: the memory given allows one piece, so this is what single does")
    if target.dataset is None:
        return notes
    for row in finished[:1]:  # all methods are measured alike
        notes += _differences(row, target.dataset)
    return notes + ([target.dataset.note] if target.dataset.note else [])


def _differences(row: Row, dataset: Dataset) -> list[str]:
    notes = []
    if abs(row["image_scale"] - dataset.image_scale) > SCALE_TOLERANCE:
        notes.append(f"our images are at {row['image_scale']:.4g} of their size, published {dataset.image_scale:.4g}")
    if row["lpips_net"] not in (None, dataset.lpips_net):
        what = f"our LPIPS is that of {row['lpips_net']}, the published one that of {dataset.lpips_net}"
        notes.append(f"{what}: the two cannot be compared")
    elif row["lpips_net"] and row["lpips_input"] != dataset.lpips_input:
        what = f"our LPIPS is of images in {row['lpips_input']}, as the network was made for"
        notes.append(f"{what}; published ones were given {dataset.lpips_input}")
    if dataset.num_test is None:
        notes.append(f"our held-out views are {row['num_views']} ({row['split']}); the published number is not known")
    elif row["num_views"] != dataset.num_test:
        notes.append(f"our held-out views are {row['num_views']} ({row['split']}), the published {dataset.num_test}")
    if dataset.split == "parts" and row["split"].startswith("every"):
        notes.append("the capture does not say which views the data set holds out: every 8th was taken instead")
    others = {
        f"{each.method} ({each.image_scale:.4g})"
        for each in dataset.published
        if each.image_scale is not None and abs(each.image_scale - row["image_scale"]) > SCALE_TOLERANCE
    }
    if others:
        notes.append(f"published at another image scale: {', '.join(sorted(others))}")
    return notes


def _cells_of_row(row: Row, kind: str) -> Cells:
    if row["failure"]:
        iterations = "-" if row["iterations"] is None else f"{row['iterations']:,}"
        return (f"* {row['method']}", iterations, "-", "-", "-", "-", "-", "-", "failed")
    source = "this run" if (row["num_blocks"] or 1) == 1 else f"this run, {row['num_blocks']} blocks"
    return (
        f"* {row['method']}",
        f"{row['iterations']:,}",
        f"{row['image_scale']:.4g}",
        row["lpips_net"] or "-",
        str(row["num_views"]),
        *(_figure(row[kind][name], name) for name in FIGURES),
        source,
    )


def _cells_of_published(row: PublishedRow, image_scale: float | None, lpips_net: str) -> Cells:
    scale = row.image_scale or image_scale
    return (
        row.method,
        "-",
        "-" if scale is None else f"{scale:.4g}",
        lpips_net if row.lpips is not None and lpips_net else "-",
        "-",
        *(_figure(getattr(row, name), name) for name in FIGURES),
        f"[{row.source}]" + (f" {row.note}" if row.note else ""),
    )


def _mean(row: Row, rows: Mapping[str, Sequence[Row]], collection: Collection, kind: str) -> Cells | None:
    """Our mean by the method of one row; None where the method failed on a scene."""
    same = [each for name in collection.datasets for each in rows[name] if each["method"] == row["method"]]
    if len(same) != len(collection.datasets) or any(each["failure"] for each in same):
        return None
    figures = []
    for name in FIGURES:
        values: list[Any] = [each[kind][name] for each in same]
        whole = all(value is not None for value in values)
        figures.append(_figure(math.fsum(values) / len(values) if whole else None, name))
    nets = {each["lpips_net"] or "-" for each in same}
    views = str(sum(each["num_views"] for each in same))
    return (f"* {row['method']}", f"{row['iterations']:,}", "-", "/".join(sorted(nets)), views, *figures, "this run")


def _figure(value: float | None, name: str) -> str:
    return "-" if value is None else format(value, STYLES[name])


def _align(table: Sequence[Cells]) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADS))]
    last = len(HEADS) - 1
    return [
        "  ".join(
            cell.ljust(widths[column]) if column in (0, last) else cell.rjust(widths[column])
            for column, cell in enumerate(row)
        ).rstrip()
        for row in table
    ]
