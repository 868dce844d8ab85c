"""The region of interest: found from points, or read from a file."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.region import find_region, make_region
from blocks.region_file import place_corners, read_region_file
from scene3d.errors import InputError, LimitExceeded
from scene3d.geometry.similarity import Similarity
from scene3d.limits import MAX_SETTINGS_BYTES
from scene3d.seeding import make_numpy_generator
from tests.blocks.flights import uneven_ground

ANGLE_RAD = 0.6
TURN = np.array([[np.cos(ANGLE_RAD), np.sin(ANGLE_RAD)], [-np.sin(ANGLE_RAD), np.cos(ANGLE_RAD)]])


def oblong(count: int = 3000, length: float = 8.0, width: float = 3.0) -> np.ndarray:
    """Evenly covered, u from -length / 2."""
    return make_numpy_generator(0, "oblong").uniform(-0.5, 0.5, (count, 2)) * [length, width]


def corners_of(region) -> np.ndarray:
    (u0, v0), (u1, v1) = region.rectangle.low, region.rectangle.high
    return region.frame.to_world(np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]]))


def test_a_turned_oblong_gets_a_turned_rectangle():
    region = find_region(oblong() @ TURN + [5.0, -2.0])
    assert np.allclose(region.frame.center, [5.0, -2.0], atol=0.1)
    assert np.remainder(region.frame.angle_rad, np.pi) == pytest.approx(ANGLE_RAD, abs=0.02)
    assert region.rectangle.sides == pytest.approx((8.0 * 1.05, 3.0 * 1.05), rel=0.03)


def test_the_rectangle_holds_the_polygon_and_the_polygon_the_points():
    ground = oblong() @ TURN
    region = find_region(ground)
    assert region.rectangle.covers(region.frame.from_world(region.corners), 1e-9).all()
    edges = np.roll(region.corners, -1, axis=0) - region.corners
    offsets = ground[:, None] - region.corners  # [points, corners, 2]
    inside = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0] >= 0
    assert inside.all(axis=1).mean() > 0.985


def test_loners_do_not_widen_the_region():
    rng = make_numpy_generator(0, "loners")
    ground = np.concatenate([oblong(), rng.uniform(-200, 200, (20, 2))])
    region = find_region(ground)
    assert region.rectangle.sides == pytest.approx((8.4, 3.15), rel=0.05)
    assert region.num_left_out >= 20


def test_far_patches_do_not_widen_the_region():
    rng = make_numpy_generator(0, "patches")
    patches = [rng.normal(0, 0.2, (60, 2)) + place for place in ([40.0, 0.0], [-10.0, 55.0], [20.0, -70.0])]
    region = find_region(np.concatenate([oblong(), *patches]))
    assert region.rectangle.sides == pytest.approx((8.4, 3.15), rel=0.05)


def test_two_towns_are_both_in_the_region():
    region = find_region(np.concatenate([oblong(), np.add(oblong(2000), [30.0, 0.0])]))
    assert region.rectangle.sides[0] > 38


@settings(max_examples=25, deadline=None)
@given(
    angle_rad=st.floats(-10, 10),
    scale=st.floats(1e-3, 1e3),
    x=st.floats(-50, 50),
    y=st.floats(-50, 50),
)
def test_the_region_goes_where_the_points_go(angle_rad, scale, x, y):
    ground = uneven_ground(1500)[:, :2]
    turn = np.array([[np.cos(angle_rad), np.sin(angle_rad)], [-np.sin(angle_rad), np.cos(angle_rad)]])
    region, moved = find_region(ground), find_region(scale * (ground @ turn + [x, y]))
    assert moved.num_left_out == region.num_left_out
    assert np.allclose(corners_of(moved), scale * (corners_of(region) @ turn + [x, y]), atol=1e-9 * scale * 100)
    uv, moved_uv = region.frame.from_world(ground), moved.frame.from_world(scale * (ground @ turn + [x, y]))
    assert np.allclose(moved_uv, scale * uv, atol=1e-9 * scale * 100)


@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_points_on_a_line_make_a_narrow_region(count):
    along = np.linspace(-2.0, 3.0, count)
    region = find_region(np.stack([along, 2 * along], axis=1))
    length, width = region.rectangle.sides
    assert 0 < width < length or count == 1
    assert length == pytest.approx(5 * np.sqrt(5) * 1.05 if count > 1 else length, rel=0.1)
    assert np.isfinite(region.corners).all()


def test_points_in_one_place_make_a_small_region():
    region = find_region(np.full((200, 2), 3.0))
    assert min(region.rectangle.sides) > 0
    assert np.allclose(region.frame.center, 3.0)


def test_a_region_that_is_given_is_not_enlarged():
    square = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]])
    region = make_region(square @ TURN, oblong())
    assert region.rectangle.sides == pytest.approx((2.0, 1.0))
    assert len(region.corners) == 4


def test_u_leads_to_the_heavier_end():
    square = np.array([[-4.0, -1.0], [4.0, -1.0], [4.0, 1.0], [-4.0, 1.0]])
    for end in (-1.0, 1.0):
        region = make_region(square, np.array([[end, 0.5]]))
        assert region.frame.from_world(np.array([[end, 0.5]]))[0, 0] > 0


CORNERS = [[0, 0, 0], [4.5, 0, 0], [4.5, 3, 1e-3]]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(CORNERS),
        "\ufeff " + json.dumps(CORNERS),
        "0 0 0\n4.5, 0, 0\n\n# the third\n4.5\t3 1e-3  # here\n",
    ],
)
def test_corners_are_read_from_json_or_lines(tmp_path, text):
    path = tmp_path / "region.txt"
    path.write_text(text, encoding="utf-8")
    assert read_region_file(path).tolist() == CORNERS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least three corners"),
        ("0 0\n1 1\n", "at least three corners"),
        ('{"region": []}', "at least three corners"),
        ("[[0, 0], [1, 0], [1]]", "corner 3 is no list"),
        ("[[0, 0], [1, 0], [1, true]]", "corner 3 is no list"),
        ("[[0, 0], [1, 0], [1, 1, 1]]", "corner 3 has 3 numbers, the first 2"),
        ("[[0, 0], [1, 0], [1, NaN]]", "not usable JSON"),
        ("[[0, 0], [1, 0], [1, 1]", "not usable JSON"),
        ("[" * 100, "nested deeper"),
        ("0 0\n1 0\n1 nan\n", "corner 3 is no list"),
        ("0 0\n1 0\n1 up\n", "line 3 is no corner: '1 up'"),
        ("0 0\n1 1\n2 2\n", "enclose nothing"),
        ("0 0\n0 0\n0 0\n", "enclose nothing"),
        ("0 0\n1 0\n1e300 1\n", "coordinates beyond"),
    ],
)
def test_garbage_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "region.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_region_file(path)
    assert "region.json" in str(caught.value)


def test_binary_missing_and_huge_files_are_refused(tmp_path):
    path = tmp_path / "region.json"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="is no corner"):
        read_region_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_region_file(tmp_path / "nowhere.json")
    path.write_bytes(b" " * (MAX_SETTINGS_BYTES + 1))
    with pytest.raises(LimitExceeded):
        read_region_file(path)


def test_corners_of_two_numbers_lie_at_the_height_of_the_scene(tmp_path):
    tilt = 0.2
    rotation = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    world_from_capture = Similarity(0.1, rotation, np.array([1.0, 2.0, 3.0]))
    middle_in_capture = np.array([5.0, 6.0, 7.0])
    middle = world_from_capture.apply(middle_in_capture)
    placed = place_corners(middle_in_capture[None, :2], world_from_capture, middle, tmp_path)
    assert np.allclose(placed, middle[None, :2])
    assert np.allclose(place_corners(middle_in_capture[None], world_from_capture, middle, tmp_path), middle[None, :2])


def test_corners_of_two_numbers_need_a_capture_that_stands_upright(tmp_path):
    upside_down = Similarity(1.0, np.diag([1.0, -1.0, -1.0]), np.zeros(3))
    with pytest.raises(InputError, match="two numbers per corner need a capture whose z axis is up"):
        place_corners(np.zeros((3, 2)), upside_down, np.zeros(3), tmp_path / "region.json")
    assert place_corners(np.ones((3, 3)), upside_down, np.zeros(3), tmp_path).tolist() == [[1.0, -1.0]] * 3
