"""Owns the map of a plan: points, cells, cameras and labels, seen from above, in one picture."""

import colorsys
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from blocks.cells import Cell
from blocks.map_canvas import (
    BORDER_PX,
    FOOTER_PX,
    HEADER_PX,
    INK,
    MAP_WIDTH_PX,
    PAPER,
    SOFT_INK,
    MapCanvas,
    MapWindow,
    Place,
    Places,
)
from blocks.plan import BlockPlan
from scene3d.cameras.camera import Camera
from scene3d.data.capture import Capture
from scene3d.io.atomic import replace_file

CELL_OPACITY = 44
"""Of 255: the points below a cell stay visible."""

ALARM, REGION = (255, 120, 105), (*INK, 140)
CAMERA_RADIUS_PX = 4.5
NUM_HUES, CLEAR_HUE_STEPS = 12, 3
LEGEND_WIDTH_PX = 625
MAX_NAMES = 8
TITLES = {"load": "cut by load", "midpoint": "cut in the middle", "grid": "even grid"}


def draw_plan(plan: BlockPlan, capture: Capture, path: Path) -> None:
    """Write the map of a plan as PNG.

    Points in their own colours, dimmed, brighter where they are dense; cells in hues of their own, their expanded
    rectangles dashed; the region of interest as a pale outline; cameras as dots with a tick to where they look, hollow
    where they are held out. Cells stand upright, the longer side across; what lies far outside is cut off.

    Args:
        capture: In the plan's world frame; views that the plan does not train are drawn as held out.

    Raises:
        InputError: The path cannot be written.
    """
    window = find_window(plan, capture)
    canvas = MapCanvas(window.height_px)
    canvas.points(window.to_px(capture.points.positions), capture.points.colors)
    _draw_cells(canvas, window, plan)
    canvas.outline(window.to_px(plan.region), REGION, width_px=1.5)
    _draw_cameras(canvas, window, plan, capture)
    _draw_labels(canvas, window, plan, capture)
    _draw_header(canvas, plan)
    _draw_scale_bar(canvas, window.px_per_unit * plan.world_from_capture.scale)
    _draw_legend(canvas)
    with replace_file(path) as temporary:
        canvas.finished().save(temporary, "PNG")


def find_window(plan: BlockPlan, capture: Capture) -> MapWindow:
    """The ground that the map of a plan shows: region, cells with their margins, and cameras."""
    corners = [cell_corners(plan, block.cell, block.cell.margin) for block in plan.blocks]
    return MapWindow.around(np.concatenate([plan.region, *corners]), _camera_centers(capture), plan.frame)


def cell_corners(plan: BlockPlan, cell: Cell, grown: tuple[float, float] = (0.0, 0.0)) -> Places:
    """World x and y of the corners of a cell, grown along u and along v, counter-clockwise."""
    (left, bottom), (right, top) = np.subtract(cell.low, grown), np.add(cell.high, grown)
    return plan.frame.to_world(np.array([[left, bottom], [right, bottom], [right, top], [left, top]]))


def choose_colors(plan: BlockPlan) -> list[tuple[int, int, int]]:
    """A colour for each block, unlike those of the blocks it touches."""
    low = np.array([np.subtract(block.cell.low, block.cell.margin) for block in plan.blocks])
    high = np.array([np.add(block.cell.high, block.cell.margin) for block in plan.blocks])
    touching = np.asarray(((low[:, None] <= high[None]) & (high[:, None] >= low[None])).all(axis=2))
    hues: list[int] = []
    for index in range(len(plan.blocks)):
        near = [hues[other] for other in range(index) if touching[index, other]]
        hues.append(
            max(range(NUM_HUES), key=lambda hue: (_hue_distance(hue, near), -hues.count(hue), hue * 5 % NUM_HUES))
        )
    colors = [colorsys.hls_to_rgb(hue / NUM_HUES, 0.66, 0.75) for hue in hues]
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in colors]


def find_heading(camera: Camera) -> Float[np.ndarray, "3"]:
    """Where a camera looks, along the ground; of one that looks straight down, where the top of its picture lies."""
    _, down, forward = camera.cam_from_world[:3, :3]
    # Looking down, the top of the picture leans forward; looking up, backward.
    direction = forward + np.sign(forward[2]) * down
    return direction * (1, 1, 0)


def load_variation(plan: BlockPlan) -> float:
    """Coefficient of variation of the blocks' loads; 0 is a perfect balance."""
    loads = np.array([block.load for block in plan.blocks], np.float64)
    return float(loads.std() / loads.mean()) if loads.any() else 0.0


def find_holes(plan: BlockPlan) -> tuple[str, ...]:
    """Blocks that no view trains: their ground would stay empty."""
    return tuple(block.block_id for block in plan.blocks if not block.views)


def _hue_distance(hue: int, others: Sequence[int]) -> int:
    """Steps to the nearest of other hues around their circle, as far as more of them would matter."""
    steps = [abs(hue - other) for other in others]
    return min([CLEAR_HUE_STEPS, *(min(step, NUM_HUES - step) for step in steps)])


def _camera_centers(capture: Capture) -> Float[np.ndarray, "c 3"]:
    return np.array([view.camera.center for view in capture.views], np.float64).reshape(-1, 3)


def _draw_cells(canvas: MapCanvas, window: MapWindow, plan: BlockPlan) -> None:
    # Outlines lie inside their cells, so that of two neighbours both can be seen.
    inset = -1.0 / window.px_per_unit
    for block, color in zip(plan.blocks, choose_colors(plan), strict=True):
        canvas.polygon(window.to_px(cell_corners(plan, block.cell)), (*color, CELL_OPACITY))
        margin = window.to_px(cell_corners(plan, block.cell, block.cell.margin))
        canvas.outline(margin, (*color, 190), width_px=1.0, dash_px=6.0)
        canvas.outline(window.to_px(cell_corners(plan, block.cell, (inset, inset))), color, width_px=2.0)


def _draw_cameras(canvas: MapCanvas, window: MapWindow, plan: BlockPlan, capture: Capture) -> None:
    trained = set(plan.views)
    # A survey of thousands gets smaller dots than a walk around a house.
    room_px = math.sqrt(MAP_WIDTH_PX * window.height_px / max(1, len(capture.views)))
    radius = float(np.clip(room_px / 16, 1.8, CAMERA_RADIUS_PX))
    for view in sorted(capture.views, key=lambda view: view.name in trained):
        center = view.camera.center
        place, ahead = window.to_px(np.stack([center, center + find_heading(view.camera)]))
        if canvas.shows(place[None])[0]:
            canvas.dot(place, ahead - place, radius, INK if view.name in trained else PAPER)


def _draw_labels(canvas: MapCanvas, window: MapWindow, plan: BlockPlan, capture: Capture) -> None:
    cameras = window.to_px(_camera_centers(capture))
    for block in plan.blocks:
        figures = [f"{len(block.views):,} views", f"{block.num_points:,} points", f"load {block.load:,}"]
        choices = [[f"block {block.block_id}", *figures], [block.block_id, figures[-1]], [block.block_id]]
        corners = window.to_px(cell_corners(plan, block.cell))
        canvas.label(corners, choices, INK if block.views else ALARM, avoid=cameras)


def _draw_header(canvas: MapCanvas, plan: BlockPlan) -> None:
    count, holes = len(plan.blocks), find_holes(plan)
    title = f"{count} block{'s' * (count != 1)}, {TITLES.get(plan.method, plan.method)}"
    end = canvas.text(np.array([BORDER_PX, HEADER_PX / 2]), title, INK, size_px=20)
    facts = [
        (f"CV of load {load_variation(plan):.2f}", SOFT_INK),
        (f"{plan.num_uncovered_points:,} uncovered points", SOFT_INK),
        (f"holes: {', '.join(holes[:MAX_NAMES])}{', ...' * (len(holes) > MAX_NAMES)}", ALARM)
        if holes
        else ("no holes", SOFT_INK),
    ]
    for fact, ink in facts:
        end = canvas.text(np.array([end + 26, HEADER_PX / 2 + 2]), fact, ink, size_px=15)


def _draw_scale_bar(canvas: MapCanvas, px_per_capture_unit: float) -> None:
    middle = HEADER_PX + canvas.map_height_px + FOOTER_PX / 2
    length = round_length(MAP_WIDTH_PX / 6 / px_per_capture_unit)
    left, right = float(BORDER_PX), BORDER_PX + length * px_per_capture_unit
    canvas.line(np.array([[left, middle], [right, middle]]), INK, 2.0)
    for end in (left, right):
        canvas.line(np.array([[end, middle - 5], [end, middle + 5]]), INK, 2.0)
    units = "unit" if length == 1 else "units"
    canvas.text(np.array([right + 10, middle]), f"{length:g} {units} of the capture", SOFT_INK, size_px=15)


def _draw_legend(canvas: MapCanvas) -> None:
    """Symbols with their names, at the right end of the footer."""
    box = np.array([[0.0, -7.0], [22.0, -7.0], [22.0, 7.0], [0.0, 7.0]])
    line, dot, tick = np.array([[0.0, 0.0], [22.0, 0.0]]), np.array([16.0, 0.0]), np.array([-1.0, 0.0])

    def draw_block(place: Place) -> None:
        canvas.polygon(place + box, (*SOFT_INK, CELL_OPACITY))
        canvas.outline(place + box, SOFT_INK, width_px=2.0)

    symbols: dict[str, Callable[[Place], None]] = {
        "trained view": lambda place: canvas.dot(place + dot, tick, CAMERA_RADIUS_PX, INK),
        "held-out view": lambda place: canvas.dot(place + dot, tick, CAMERA_RADIUS_PX, PAPER),
        "region": lambda place: canvas.line(place + line, REGION, 1.5),
        "block": draw_block,
        "block's margin": lambda place: canvas.outline(place + box, (*SOFT_INK, 190), width_px=1.0, dash_px=4.0),
    }
    left, middle = float(MAP_WIDTH_PX - LEGEND_WIDTH_PX), HEADER_PX + canvas.map_height_px + FOOTER_PX / 2
    for name, draw_symbol in symbols.items():
        draw_symbol(np.array([left, middle]))
        left = canvas.text(np.array([left + 30, middle]), name, SOFT_INK, size_px=15) + 22


def round_length(length: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(length) + 1e-9)
    return next(factor * power for factor in (5, 2, 1) if factor * power <= length * (1 + 1e-6))
