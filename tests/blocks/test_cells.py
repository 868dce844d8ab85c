"""Cells on the ground: what they cover, and who owns a place."""

import numpy as np
import pytest

from blocks.cells import Cell, Cut, GroundFrame, find_leaves, leaves_of, tree_from_record, tree_to_record
from blocks.rectangle import Rectangle, rectangles_of, tree_from_rectangles
from scene3d.errors import InputError
from scene3d.seeding import make_numpy_generator

TREE = Cut(0, 0.0, Cut(1, 1.0, 0, 1), Cut(1, -1.0, 2, 3))


def make_cell(**changes) -> Cell:
    values = {
        "low": (0.0, 0.0),
        "high": (4.0, 2.0),
        "bottom": -1.0,
        "top": 1.0,
        "margin": (0.2, 0.1),
        "shared": (False, False, True, False),
    }
    return Cell(**(values | changes))


def test_ground_frames_lead_there_and_back():
    frame = GroundFrame(center=(3.0, -2.0), angle_rad=0.7)
    uv = make_numpy_generator(0, "uv").normal(size=(50, 2))
    assert np.allclose(frame.from_world(frame.to_world(uv)), uv)


def test_u_points_along_the_angle_of_the_frame():
    frame = GroundFrame(center=(1.0, 1.0), angle_rad=np.pi / 2)
    assert np.allclose(frame.from_world(np.array([[1.0, 3.0, 99.0]])), [[2.0, 0.0]])


def test_a_place_on_a_cut_belongs_to_the_high_side():
    uv = np.array([[0.0, 0.0], [-1e-12, 0.0], [-1.0, 1.0], [1.0, -1.0], [1.0, np.nextafter(-1.0, -2)]])
    assert find_leaves(TREE, uv).tolist() == [3, 0, 1, 3, 2]


def test_outer_cells_reach_to_infinity():
    uv = np.array([[-1e30, -1e30], [-1e30, 1e30], [1e30, -1e30], [1e30, 1e30]])
    assert find_leaves(TREE, uv).tolist() == [0, 1, 2, 3]


def test_leaves_are_counted_low_before_high():
    assert leaves_of(TREE) == [0, 1, 2, 3]


def test_trees_survive_their_record():
    assert tree_from_record(tree_to_record(TREE)) == TREE


def test_a_cut_across_no_axis_is_refused():
    with pytest.raises(InputError, match="axis 2"):
        tree_from_record({"axis": 2, "at": 0.0, "low": 0, "high": 1})


def test_a_cell_is_half_open_and_its_expansion_closed():
    uv = np.array([[0.0, 0.0], [4.0, 1.0], [4.2, 2.1], [4.21, 1.0], [-0.2, -0.1]])
    cell = make_cell()
    assert cell.covers(uv, expanded=False).tolist() == [True, False, False, False, False]
    assert cell.covers(uv).tolist() == [True, True, True, False, True]


def test_only_shared_faces_have_a_seam():
    uv = np.array([[3.9, 1.0], [4.1, 1.0], [0.05, 1.0], [2.0, 1.0], [4.3, 1.0]])
    assert make_cell().is_near_shared_face(uv).tolist() == [True, True, False, False, False]


def test_heights_are_bounded():
    assert make_cell().covers_height(np.array([-2.0, -1.0, 0.0, 1.0, 1.1])).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("changes", [{"high": (0.0, 2.0)}, {"top": -1.0}, {"margin": (-0.1, 0.1)}])
def test_empty_cells_are_refused(changes):
    with pytest.raises(InputError, match="is empty"):
        make_cell(**changes)


def test_cells_survive_their_record():
    assert Cell.from_record(make_cell().to_record()) == make_cell()


def test_rectangles_without_a_straight_cut_between_them_are_no_tree():
    pinwheel = [
        Rectangle((0.0, 0.0), (2.0, 1.0)),
        Rectangle((2.0, 0.0), (3.0, 2.0)),
        Rectangle((1.0, 2.0), (3.0, 3.0)),
        Rectangle((0.0, 1.0), (1.0, 3.0)),
        Rectangle((1.0, 1.0), (2.0, 2.0)),
    ]
    with pytest.raises(InputError, match="leaves 5 rectangles whole"):
        tree_from_rectangles(pinwheel)


def test_the_tree_of_rectangles_gives_them_back():
    tree = Cut(0, 1.0, Cut(1, 2.0, 0, 1), Cut(1, -2.0, Cut(0, 3.0, 2, 3), 4))
    around = Rectangle((-4.0, -4.0), (4.0, 4.0))
    rectangles = rectangles_of(tree, around)
    found = tree_from_rectangles(rectangles)
    assert sorted(leaves_of(found)) == [0, 1, 2, 3, 4]
    assert rectangles_of(found, around) == rectangles
