"""Layouts from pictures, arrays and boxes say the same, and unknown classes are refused with the known ones."""

import json

import numpy as np
import pytest

from scene3d.errors import InputError
from scene3d.generation.layout import fit_layout, layout_shares, paint_layout, read_layout
from scene3d.generation.palette import default_classes
from scene3d.io.images import write_image
from scene3d.world.classes import SurfaceClass

CLASSES = default_classes()
ROAD, ROOF = int(SurfaceClass.ROAD), int(SurfaceClass.ROOF)


def some_layout() -> np.ndarray:
    layout = np.full((8, 6), -1)
    layout[2:4] = ROAD
    layout[5:, 4:] = ROOF
    return layout


def test_classes_are_those_of_the_world_in_their_order():
    assert CLASSES[ROOF] == "roof"
    assert len(CLASSES) == len(SurfaceClass)


def test_a_picture_is_read_as_it_was_painted(tmp_path):
    path = tmp_path / "layout.png"
    write_image(path, paint_layout(some_layout(), CLASSES))
    assert np.array_equal(read_layout(path, CLASSES), some_layout())


def test_north_is_up_in_a_picture():
    layout = np.full((3, 2), ROAD)
    layout[0, 1] = ROOF  # the north-western column
    picture = paint_layout(layout, CLASSES)
    assert picture.shape == (2, 3, 3)
    assert not np.array_equal(picture[0, 0], picture[1, 0])


def test_an_array_is_read(tmp_path):
    path = tmp_path / "layout.npy"
    np.save(path, some_layout())
    assert np.array_equal(read_layout(path, CLASSES), some_layout())


def test_boxes_cover_each_other_in_their_order(tmp_path):
    path = tmp_path / "layout.json"
    boxes = [{"class": "Road", "box_m": [0, 1, 4, 2]}, {"class": "roof", "box_m": [1, 0, 2, 3]}]
    path.write_text(json.dumps({"size_m": [4, 3], "ground": "grass", "boxes": boxes}))
    layout = read_layout(path, CLASSES)
    assert layout.shape == (16, 12)
    assert layout[0, 0] == SurfaceClass.GRASS
    assert layout[0, 5] == ROAD
    assert layout[5, 5] == ROOF


def test_an_unknown_colour_says_where_and_lists_the_palette(tmp_path):
    picture = paint_layout(some_layout(), CLASSES)
    picture[2, 1] = [1.0, 0.0, 0.5]
    path = tmp_path / "layout.png"
    write_image(path, picture)
    with pytest.raises(InputError, match=r"1 pixels .* first #ff0080 at column 1, row 2.*roof #be4a38"):
        read_layout(path, CLASSES)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", {"size_m": [4, 3], "boxes": [{"class": "castle", "box_m": [0, 0, 1, 1]}]}),
        ("b.json", {"size_m": [4, 3], "ground": 7}),
    ],
)
def test_an_unknown_class_lists_the_known_ones(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"there is no class .*8 roof"):
        read_layout(path, CLASSES)


@pytest.mark.parametrize(
    "content",
    [{}, {"size_m": [4]}, {"size_m": [0, 3]}, {"size_m": [1e9, 1e9]}, {"size_m": [4, 3], "boxes": [3]},
     {"size_m": [4, 3], "boxes": [{"class": "roof", "box_m": [0, 0, "x", 1]}]}],
)  # fmt: skip
def test_boxes_that_make_no_sense_are_refused(tmp_path, content):
    path = tmp_path / "layout.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError):
        read_layout(path, CLASSES)


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2, 2), int), np.zeros((2, 2)), np.full((2, 2), 99), np.full((2, 2), -2), np.zeros((0, 3), int)],
)
def test_arrays_that_make_no_sense_are_refused(tmp_path, array):
    path = tmp_path / "layout.npy"
    np.save(path, array)
    with pytest.raises(InputError):
        read_layout(path, CLASSES)


def test_pickles_and_other_files_are_refused(tmp_path):
    for name, content in (("a.npy", b"\x93NUMPY nothing"), ("b.txt", b"roof"), ("c.npy", b"cos\nsystem\n")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError):
            read_layout(path, CLASSES)


def test_a_layout_is_stretched():
    fitted = fit_layout(np.array([[1, 2], [3, 4]]), (6, 4))
    assert fitted.shape == (6, 4)
    assert (fitted[:3, :2] == 1).all()
    assert (fitted[3:, 2:] == 4).all()


def test_shares_lie_in_the_blocks_axes():
    layout = np.full((8, 8), -1)
    layout[0:2, 4:8] = ROOF  # x of the world is z of the block
    shares = layout_shares(layout, len(CLASSES))
    assert shares.shape == (len(CLASSES), 4, 4)
    assert shares[ROOF, 2:, 0].tolist() == [1.0, 1.0]
    assert shares.sum() == 2.0
