"""Writes README's table of measured quality from the benchmark results, so that no figure is copied by hand."""

import json
from pathlib import Path

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
                figures = run[kind]
                lpips = "-" if figures["lpips"] is None else f"{figures['lpips']:.3f}"
                first = f"{run['capture']} | {run['iterations']:,}" if kind == "raw" else " | "
                last = f"{run['num_gaussians']:,} | {run['size_bytes'] / 1e6:.1f} | {run['train_seconds']:.0f} s"
                quality = f"{figures['psnr_db']:.2f} | {figures['ssim']:.3f} | {lpips}"
                lines.append(f"| {first} | {kind} | {quality} | {last if kind == 'raw' else ' | | '} |")
    return "\n".join(lines)


def replace_table(text: str) -> str:
    """README with the table of the results that are there."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{make_table()}\n{END}{after}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(replace_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
