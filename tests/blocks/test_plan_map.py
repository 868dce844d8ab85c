"""The map of a plan shows what it says, in the colours and at the places it should."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blocks.cells import Cell, Cut, GroundFrame
from blocks.map_canvas import BORDER_PX, FOOTER_PX, HEADER_PX, INK, MAP_WIDTH_PX, PAPER, MapCanvas, density_image
from blocks.plan import BlockPlan, PlannedBlock
from blocks.plan_map import (
    ALARM,
    CELL_OPACITY,
    choose_colors,
    draw_plan,
    find_heading,
    find_holes,
    find_window,
    load_variation,
    round_length,
)
from scene3d.cameras.camera import Camera
from scene3d.data.capture import Capture, SparsePoints, View
from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity

MARGIN = 0.2
TURN_RAD = 0.4
RED, GREEN = (250, 20, 20), (20, 250, 20)


def make_camera(place: tuple[float, float, float], forward: tuple[float, float, float]) -> Camera:
    """A level camera at a place; one that looks straight down has the world's y at the top of its picture."""
    axis = np.array(forward) / np.linalg.norm(forward)
    up = np.array([0.0, 1.0, 0.0]) if abs(axis[2]) > 0.99 else np.array([0.0, 0.0, 1.0])
    right = np.cross(axis, up) / np.linalg.norm(np.cross(axis, up))
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(axis, right), axis])
    pose[:3, 3] = -pose[:3, :3] @ np.array(place)
    return Camera(width=60, height=40, K=np.array([[50.0, 0, 30], [0, 50, 20], [0, 0, 1]]), cam_from_world=pose)


def make_map_plan(*, views: tuple[int, ...] = (0,)) -> BlockPlan:
    """Two cells of 2 x 2 side by side along a turned u axis around the origin."""
    frame = GroundFrame(center=(0.0, 0.0), angle_rad=TURN_RAD)
    shape = {"bottom": 0.0, "top": 1.0, "margin": (MARGIN, MARGIN)}
    left = Cell(low=(-2.0, -1.0), high=(0.0, 1.0), shared=(False, False, True, False), **shape)
    right = Cell(low=(0.0, -1.0), high=(2.0, 1.0), shared=(True, False, False, False), **shape)
    blocks = (
        PlannedBlock(block_id="000", cell=left, views=(0,), load=100, num_points=50, num_pixels=9),
        PlannedBlock(block_id="001", cell=right, views=views, load=300, num_points=50, num_pixels=9),
    )
    return BlockPlan(
        method="load",
        frame=frame,
        region=frame.to_world(np.array([[-2.0, -1.0], [2.0, -1.0], [2.0, 1.0], [-2.0, 1.0]])),
        tree=Cut(0, 0.0, 0, 1),
        middle=(0.0, 0.0, 0.5),
        radius=2.3,
        views=("trained",),
        blocks=blocks,
        num_uncovered_points=0,
        world_from_capture=Similarity(0.01, np.eye(3), np.zeros(3)),
    )


def make_map_capture(*, far: bool = False) -> Capture:
    """A red cluster in the left cell, a green one in the right cell, a trained and a held-out camera."""
    frame = make_map_plan().frame
    spread = np.stack(np.meshgrid(np.linspace(-0.1, 0.1, 60), np.linspace(-0.1, 0.1, 60)), axis=-1).reshape(-1, 2)
    middles = np.array([[-1.5, 0.5], [1.5, -0.5]])
    ground = np.concatenate([frame.to_world(spread + middle) for middle in middles])
    positions = np.concatenate([ground, np.full((len(ground), 1), 0.5)], axis=1)
    colors = np.array([RED] * len(spread) + [GREEN] * len(spread), np.uint8)
    if far:
        positions = np.concatenate([positions, [[5e4, -3e4, 10.0], [np.nan, 0.0, 0.0]]])
        colors = np.concatenate([colors, np.array([RED, RED], np.uint8)])
    places = {"trained": (-1.5, -0.5), "held out": (1.5, 0.5)}
    views = tuple(
        View(
            name=name,
            image_path=Path(name),
            camera=make_camera((*frame.to_world(np.array([uv]))[0].tolist(), 3.0), (1.0, 0.0, 0.0)),
        )
        for name, uv in places.items()
    )
    points = SparsePoints(
        positions=positions,
        colors=colors,
        errors_px=np.zeros(len(positions)),
        track_offsets=np.zeros(len(positions) + 1, np.int64),
        track_views=np.zeros(0, np.int64),
    )
    return Capture(root=Path(), views=views, points=points)


def draw(tmp_path: Path, plan: BlockPlan, capture: Capture) -> np.ndarray:
    draw_plan(plan, capture, tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def pixel_at(u: float, v: float) -> tuple[int, int]:
    """Row and column of a ground point of the plan, worked out by hand: 4.4 units fill the width between borders."""
    scale = (MAP_WIDTH_PX - 2 * BORDER_PX) / (4 + 2 * MARGIN)
    return round(HEADER_PX + BORDER_PX + (1 + MARGIN - v) * scale), round(MAP_WIDTH_PX / 2 + u * scale)


INNER_PX = MAP_WIDTH_PX - 2 * BORDER_PX


def blend(over: tuple[int, ...], under: tuple[int, ...], opacity: float) -> np.ndarray:
    return opacity * np.array(over[:3]) + (1 - opacity) * np.array(under)


def test_cells_have_their_hues_at_their_places_and_nothing_has_the_papers(tmp_path):
    plan = make_map_plan()
    picture = draw(tmp_path, plan, make_map_capture())
    assert picture.shape[0] == HEADER_PX + FOOTER_PX + 2 * BORDER_PX + round(2.4 * INNER_PX / 4.4)
    assert picture.shape[1] == MAP_WIDTH_PX
    left, right = choose_colors(plan)
    for color, place in ((left, (-0.3, 0.8)), (right, (0.3, -0.8))):
        np.testing.assert_allclose(picture[pixel_at(*place)], blend(color, PAPER, CELL_OPACITY / 255), atol=2)
    np.testing.assert_allclose(picture[pixel_at(-1.0, 1.1)], PAPER, atol=1)


def test_the_face_between_two_cells_shows_the_outlines_of_both(tmp_path):
    plan = make_map_plan()
    row, column = pixel_at(0.0, 0.8)
    line = draw(tmp_path, plan, make_map_capture())[row, column - 4 : column + 4]
    for color in choose_colors(plan):
        assert np.abs(line - color).max(axis=1).min() < 40


def test_points_show_their_colours_where_they_lie(tmp_path):
    plan = make_map_plan()
    picture = draw(tmp_path, plan, make_map_capture())
    red, green, _ = picture[pixel_at(-1.5, 0.5)]
    assert red > 2 * green
    red, green, _ = picture[pixel_at(1.5, -0.5)]
    assert green > 2 * red


def test_a_trained_camera_is_a_dot_and_a_held_out_one_a_ring(tmp_path):
    picture = draw(tmp_path, make_map_plan(), make_map_capture())
    np.testing.assert_allclose(picture[pixel_at(-1.5, -0.5)], INK, atol=6)
    row, column = pixel_at(1.5, 0.5)
    np.testing.assert_allclose(picture[row, column], PAPER, atol=6)
    assert picture[row, column - 6 : column + 7].sum(axis=1).max() > 600


def test_the_tick_of_a_camera_points_to_where_it_looks(tmp_path):
    picture = draw(tmp_path, make_map_plan(), make_map_capture())
    row, column = pixel_at(-1.5, -0.5)
    # It looks along the world's x, which in the turned frame runs to the right and down.
    ahead = 9 * np.array([math.cos(TURN_RAD), math.sin(TURN_RAD)])
    assert picture[row + round(ahead[1]), column + round(ahead[0])].sum() > 500
    assert picture[row - round(ahead[1]), column - round(ahead[0])].sum() < 300


def test_the_middle_of_a_cell_holds_a_label(tmp_path):
    picture = draw(tmp_path, make_map_plan(), make_map_capture())
    row, column = pixel_at(-1.0, 0.0)
    label = picture[row - 30 : row + 30, column - 30 : column + 30]
    assert (np.abs(label - INK).max(axis=2) < 20).sum() > 50
    assert (np.abs(label - PAPER).max(axis=2) < 20).mean() > 0.4


def test_a_block_without_views_is_a_hole_and_drawn_as_an_alarm(tmp_path):
    plan = make_map_plan(views=())
    assert find_holes(plan) == ("001",)
    row, column = pixel_at(1.0, 0.0)
    for hole, shown in ((plan, True), (make_map_plan(), False)):
        picture = draw(tmp_path, hole, make_map_capture())
        for part in (picture[:HEADER_PX], picture[row - 30 : row + 30, column - 30 : column + 30]):
            assert (np.abs(part - ALARM).max(axis=2) < 20).any() == shown


def test_points_far_away_and_points_at_nowhere_change_nothing(tmp_path):
    plan = make_map_plan()
    near, far = draw(tmp_path, plan, make_map_capture()), draw(tmp_path, plan, make_map_capture(far=True))
    assert np.array_equal(near, far)


def test_a_camera_far_away_is_cut_off_and_the_cells_stay_large(tmp_path):
    capture = make_map_capture()
    lost = replace(capture.views[0], name="lost", camera=make_camera((900.0, 0.0, 3.0), (0.0, 0.0, -1.0)))
    capture = replace(capture, views=(*capture.views, lost))
    window = find_window(make_map_plan(), capture)
    assert window.px_per_unit > 0.5 * find_window(make_map_plan(), make_map_capture()).px_per_unit
    draw(tmp_path, make_map_plan(), capture)


@pytest.mark.parametrize("angle_rad", [0.4, 0.4 + math.pi / 2, 3.5, -2.0])
@pytest.mark.parametrize("tall", [False, True])
def test_the_longer_side_of_the_cells_lies_across(angle_rad, tall):
    plan = make_map_plan()
    cell = plan.blocks[0].cell
    cell = (
        replace(cell, low=(-1.0, -3.0), high=(1.0, 3.0)) if tall else replace(cell, low=(-3.0, -1.0), high=(3.0, 1.0))
    )
    frame = GroundFrame(center=(0.2, 0.1), angle_rad=angle_rad)
    block = replace(plan.blocks[0], cell=cell)
    plan = replace(plan, frame=frame, region=frame.to_world(np.zeros((1, 2))), blocks=(block,), tree=0)
    window = find_window(plan, replace(make_map_capture(), views=()))
    corners = window.to_px(frame.to_world(np.array([cell.low, cell.high])))
    across, down = np.abs(corners[1] - corners[0])
    assert across == pytest.approx(3 * down)
    # Not mirrored, and the world's y points rather up than down.
    east, north = window.to_px(np.array([[1.0, 0.0], [0.0, 1.0]])) - window.to_px(np.zeros((2, 2)))
    assert east[0] * north[1] - east[1] * north[0] < 0
    assert north[1] < 1e-9


def test_the_scale_bar_is_as_long_as_it_says(tmp_path):
    picture = draw(tmp_path, make_map_plan(), make_map_capture())
    # The inner width is 440 units of the capture, so a sixth of it holds a bar of 50.
    row = picture[picture.shape[0] - FOOTER_PX // 2]
    bright = np.flatnonzero(np.abs(row[:400] - INK).max(axis=1) < 30)
    bar = bright[: np.argmax(np.diff(bright) > 5) + 1] if (np.diff(bright) > 5).any() else bright
    assert bar[0] == pytest.approx(BORDER_PX, abs=2)
    assert np.ptp(bar) == pytest.approx(50 * 0.01 * INNER_PX / 4.4, abs=3)


@pytest.mark.parametrize(("length", "expected"), [(1.0, 1), (0.99, 0.5), (73.0, 50), (20.0, 20), (0.0031, 0.002)])
def test_round_lengths_are_one_two_or_five(length, expected):
    assert round_length(length) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("forward", "expected"),
    [((1.0, 0.0, 0.0), (1, 0)), ((0.0, 0.0, -1.0), (0, 1)), ((0.0, -1.0, -1.0), (0, -1)), ((-1.0, 0.0, 1.0), (-1, 0))],
)
def test_headings_follow_the_view_or_the_top_of_a_view_from_above(forward, expected):
    heading = find_heading(make_camera((0.0, 0.0, 0.0), forward))
    np.testing.assert_allclose(heading[:2] / np.linalg.norm(heading), expected, atol=1e-9)


def test_the_variation_of_loads_is_their_deviation_over_their_mean():
    assert load_variation(make_map_plan()) == pytest.approx(100 / 200)


def test_blocks_that_touch_have_unlike_colours():
    plan = make_map_plan()
    first, second = (np.array(color) for color in choose_colors(plan))
    assert np.abs(first - second).max() > 80


def test_a_density_image_has_the_mean_colour_and_grows_brighter_with_points():
    places = np.array([[5.0, 5.0]] * 50 + [[50.0, 5.0]])
    colors = np.tile(np.array([[200, 100, 0]], np.uint8), (51, 1))
    image, side = density_image(places, colors, (20, 100))
    dense, sparse, empty = image[5 // side, 5 // side], image[5 // side, 50 // side], image[-1, -1]
    assert dense[0] > sparse[0] > empty[0]
    assert np.array_equal(empty, PAPER)
    assert dense[0] - PAPER[0] > dense[1] - PAPER[1] > 0 > int(dense[2]) - PAPER[2]


def test_a_label_takes_the_first_choice_that_fits_and_none_where_nothing_does():
    def ink_on_canvas(side_px):
        canvas = MapCanvas(300)
        corners = np.array([[100.0, 100.0], [100.0 + side_px, 100.0 + side_px]])
        canvas.label(corners, [["a long name", "figures"], ["a"]], INK, avoid=np.zeros((0, 2)))
        drawn = np.asarray(canvas.finished()).astype(int)
        rows, columns = np.nonzero(np.abs(drawn - INK).max(axis=2) < 60)
        return (np.ptp(rows), np.ptp(columns)) if len(rows) else None

    (whole_height, whole_width), (short_height, short_width) = ink_on_canvas(200.0), ink_on_canvas(50.0)
    assert whole_width > 50 > short_width
    assert whole_height > 2 * short_height
    assert ink_on_canvas(24.0) is None


def test_a_label_gives_way_to_what_it_should_not_cover():
    canvas = MapCanvas(400)
    corners, middle = np.array([[100.0, 100.0], [300.0, 400.0]]), np.array([[200.0, 250.0]])
    canvas.label(corners, [["a"]], INK, avoid=middle)
    assert np.array_equal(np.asarray(canvas.finished())[250, 200], PAPER)
    rows = np.nonzero((np.abs(np.asarray(canvas.finished()).astype(int) - INK).max(axis=2) < 60).any(axis=1))[0]
    assert 100 < rows.min() < rows.max() < 400


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        draw_plan(make_map_plan(), make_map_capture(), tmp_path / "missing" / "map.png")
