"""Owns the picture of a training's losses."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from app.charts import HEIGHT, WIDTH, line_chart
from scene3d.io.atomic import write_text

_STYLE = (
    "<style>text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}polyline{fill:none;stroke:#1f6fb2;stroke-width:1.5}"
    "</style>"
)
_LOSS = 1
"""Column of the loss in a row: step, loss, then the parts it is made of."""


def write_curves(path: Path, losses: Mapping[str, Sequence[Sequence[float]]]) -> Path:
    """One chart for each stage, below each other, as an SVG file; returns its path."""
    charts: list[str] = []
    for stage, rows in losses.items():
        chart = line_chart(f"{stage}: loss by step", [(row[0], row[_LOSS]) for row in rows])
        if chart:
            charts.append(chart.replace("<svg ", f'<svg y="{len(charts) * HEIGHT}" height="{HEIGHT}" ', 1))
    size = f'width="{WIDTH}" height="{HEIGHT * max(1, len(charts))}"'
    body = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{_STYLE}<rect width="100%" height="100%" fill="white"/>'
    write_text(path, body + "".join(charts) + "</svg>\n")
    return path
