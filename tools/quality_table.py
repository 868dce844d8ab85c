"""Writes the tables of measured quality from the benchmark results, so that no figure is copied by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- quality table: written from benchmarks/results/quality_*.json -->"
END = "<!-- end of quality table -->"
HEAD = "| capture | iterations | | PSNR dB | SSIM | LPIPS | Gaussians | MB | training |\n" + "|---" * 9 + "|"


def make_table() -> str:
    """Two rows per run: raw and corrected."""
    lines = [HEAD]
    for path in sorted((ROOT / "benchmarks" / "results").glob("quality_*.json")):
        for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
            for kind in ("raw", "corrected"):
                first = f"{run['capture']} | {run['iterations']:,}" if kind == "raw" else " | "
                last = f"{run['num_gaussians']:,} | {run['size_bytes'] / 1e6:.1f} | {run['train_seconds']:.0f} s"
                quality = " | ".join(_cells(run[kind]))
                lines.append(f"| {first} | {kind} | {quality} | {last if kind == 'raw' else ' | | '} |")
    return "\n".join(lines)


BLOCKS_BEGIN = "<!-- comparison: written from benchmarks/results/blocks_*.json -->"
BLOCKS_END = "<!-- end of comparison -->"
BLOCKS_HEAD = (
    "| capture | run | iterations | raw PSNR | SSIM | LPIPS | corrected PSNR | seam band | interior | Gaussians "
    "| processor time | memory |\n" + "|---" * 12 + "|"
)


def make_comparison() -> str:
    """A row per run of each capture: as a whole, raw and corrected apart, and by region."""
    lines = [BLOCKS_HEAD]
    for record in _records("blocks_*.json", "comparisons"):
        for comparison in record["comparisons"]:
            several = len(record["comparisons"]) > 1
            name = comparison["capture"] + (f", seed {comparison['seed']}" if several else "")
            lines += [_comparison_row(name, row) for row in comparison["variants"]]
    return "\n".join(lines)


def _comparison_row(capture: str, row: dict[str, Any]) -> str:
    raw, corrected, seam, interior = (row[name] for name in ("raw", "corrected", "seam_band", "interior"))
    cells = [capture, row["name"], f"{row['iterations']:,}", *_cells(raw)]
    cells += [f"{figures['psnr_db']:.2f}" for figures in (corrected, seam, interior)]
    cells += [f"{row['num_gaussians']:,}", f"{row['cpu_seconds']:.0f} s"]
    return "| " + " | ".join([*cells, f"{row['peak_bytes_above_imports'] / 1e6:.0f} MB"]) + " |"


ABLATION_BEGIN = "<!-- ablation: written from benchmarks/results/blocks_ablation.json -->"
ABLATION_END = "<!-- end of ablation -->"


def make_ablation() -> str:
    """What each step adds to the one before: mean over the seeds, and each seed."""
    lines = ["| step | PSNR dB | gain dB | by seed | |", "|---|---|---|---|---|"]
    for record in _records("blocks_ablation.json", "steps"):
        for step in record["steps"]:
            gain = f"{step['gain_db']:+.2f}" if "gain_db" in step else ""
            gains = ", ".join(f"{each:+.2f}" for each in step.get("gains_db", ()))
            verdict = "" if "holds" not in step else "holds" if step["holds"] else "does not hold"
            lines.append(f"| {step['step']} | {step['psnr_db']:.2f} | {gain} | {gains} | {verdict} |")
    return "\n".join(lines)


SHARING_BEGIN = "<!-- sharing: written from benchmarks/results/sharing_*.json -->"
SHARING_END = "<!-- end of sharing -->"
SHARING_HEAD = (
    "| capture | iterations a block | step | raw PSNR | SSIM | LPIPS | corrected PSNR | SSIM | LPIPS | seam band "
    "| interior | on disk | processor time |\n" + "|---" * 13 + "|"
)


def make_sharing() -> str:
    """A row per step of each capture's ladder."""
    lines = [SHARING_HEAD]
    for record in _records("sharing_*.json", "rows"):
        for row in record["rows"]:
            cells = [row["capture"], f"{record['iterations']:,}", row["step"]]
            cells += [*_cells(row["raw"]), *_cells(row["corrected"])]
            cells += [f"{row[name]['psnr_db']:.2f}" for name in ("seam_band", "interior")]
            cells += [f"{row['model_bytes'] / 1e6:.1f} MB", f"{row['cpu_seconds']:.0f} s"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cells(figures: dict[str, Any]) -> list[str]:
    """PSNR, SSIM and LPIPS; the last is missing where its weights were."""
    lpips = "-" if figures["lpips"] is None else f"{figures['lpips']:.3f}"
    return [f"{figures['psnr_db']:.2f}", f"{figures['ssim']:.3f}", lpips]


def _records(pattern: str, key: str) -> list[dict[str, Any]]:
    paths = sorted((ROOT / "benchmarks" / "results").glob(pattern))
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return [record for record in records if key in record]


TABLES: dict[str, list[tuple[str, str, Callable[[], str]]]] = {
    "README.md": [(BEGIN, END, make_table)],
    "docs/blocks.md": [
        (BLOCKS_BEGIN, BLOCKS_END, make_comparison),
        (ABLATION_BEGIN, ABLATION_END, make_ablation),
    ],
    "docs/anchors.md": [(SHARING_BEGIN, SHARING_END, make_sharing)],
}
"""Between which marks of which page each table stands."""


def replace_tables(page: str, text: str) -> str:
    """A page with the tables of the results that are there."""
    for begin, end, make in TABLES[page]:
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{make()}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    for page in TABLES:
        path = ROOT / page
        path.write_text(replace_tables(page, path.read_text(encoding="utf-8")), encoding="utf-8")
