"""Owns line charts as inline SVG."""

import html
import math
from collections.abc import Sequence
from itertools import pairwise

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 28, 34
MAX_POINTS = 300

Point = tuple[float, float]


def line_chart(title: str, points: Sequence[Point], *, kind: str = "first", unit: str = "") -> str:
    """One curve with axes; empty if fewer than two points are finite.

    Args:
        title: Shown above the curve.
        points: x and y, x ascending; thinned to `MAX_POINTS` by medians, which keep noise from hiding the course.
        kind: Style class of the curve.
        unit: Follows the numbers of the y axis.
    """
    points = thin([point for point in points if all(map(math.isfinite, point))])
    if len(points) < 2:
        return ""
    x_ticks, y_ticks = ticks([x for x, _ in points]), ticks([y for _, y in points])
    lines = [f'<text x="{LEFT}" y="16">{html.escape(title)}</text>']
    for value in y_ticks:
        y = _place(value, y_ticks, HEIGHT - BOTTOM, TOP)
        lines.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>')
        label = html.escape(f"{value:g}{unit}")
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{label}</text>')
    for value in x_ticks:
        x = _place(value, x_ticks, LEFT, WIDTH - RIGHT)
        lines.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{value:g}</text>')
    places = [(_place(x, x_ticks, LEFT, WIDTH - RIGHT), _place(y, y_ticks, HEIGHT - BOTTOM, TOP)) for x, y in points]
    course = " ".join(f"{x},{y}" for x, y in places)
    lines.append(f'<polyline class="{html.escape(kind)}" points="{course}"/>')
    label = html.escape(title, quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(lines)}</svg>'


def thin(points: Sequence[Point]) -> list[Point]:
    """At most `MAX_POINTS` points: medians of equally long stretches."""
    if len(points) <= MAX_POINTS:
        return list(points)
    bounds = [round(i * len(points) / MAX_POINTS) for i in range(MAX_POINTS + 1)]
    stretches = [points[start:end] for start, end in pairwise(bounds)]
    return [(part[len(part) // 2][0], sorted(y for _, y in part)[len(part) // 2]) for part in stretches]


def ticks(values: Sequence[float], *, count: int = 5) -> list[float]:
    """Round numbers that enclose the values, about `count` of them."""
    low, high = min(values), max(values)
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _place(value: float, axis: Sequence[float], start: float, end: float) -> float:
    return round(start + (value - axis[0]) / (axis[-1] - axis[0]) * (end - start), 1)
