"""Blocks become one field without a jump, known voxels keep their values, and growing knows its order."""

import numpy as np
import pytest

from scene3d.generation.merging import Canvas, make_window_weights
from scene3d.generation.strips import continue_known, find_settled
from scene3d.generation.wavefront import plan_batches

SIDE, STRIDE = 8, 6


def make_canvas(columns: int = 14, known: np.ndarray | None = None, value: float = 0.0) -> Canvas:
    shape = (columns, SIDE, SIDE)
    known = np.zeros(shape, bool) if known is None else known
    return Canvas(np.full((*shape, 4), value, np.float32), known, make_window_weights(SIDE, SIDE - STRIDE))


def block(value: float) -> np.ndarray:
    return np.full((SIDE, SIDE, SIDE, 4), value, np.float32)


def test_between_two_blocks_the_field_passes_from_one_to_the_other():
    canvas = make_canvas()
    canvas.add(0, 0, block(0.0))
    canvas.add(STRIDE, 0, block(1.0))
    merged, filled = canvas.merge(2)
    row = merged[:, 3, 3, 0]
    assert filled.all()
    assert np.array_equal(row[:STRIDE], np.zeros(STRIDE))
    assert np.array_equal(row[SIDE:], np.ones(14 - SIDE))
    assert (np.diff(row) >= 0).all()
    assert 0 < row[6] < 0.5 < row[7] < 1


def test_weights_add_up_everywhere():
    weights = make_window_weights(SIDE, SIDE - STRIDE)
    along = weights[:, SIDE // 2]
    overlap = along[-2:] + along[:2]
    assert (overlap > 0.9).all()
    assert weights.min() > 0


def test_known_voxels_keep_their_values_and_the_rest_leads_up_to_them():
    known = np.zeros((14, SIDE, SIDE), bool)
    known[:4] = True
    canvas = make_canvas(known=known, value=0.5)
    canvas.add(0, 0, block(0.3))
    merged, filled = canvas.merge(3)
    row = merged[:SIDE, 3, 3, 0]
    assert np.array_equal(row[:4], np.full(4, 0.5, np.float32))
    assert row[4] > 0.44  # 0.5 less a little of the 0.2 that was missed
    assert row[7] == pytest.approx(0.3)
    assert not filled[SIDE:].any()


def test_a_window_shows_known_voxels_and_earlier_blocks():
    known = np.zeros((14, SIDE, SIDE), bool)
    known[6] = True
    canvas = make_canvas(known=known, value=0.5)
    canvas.add(0, 0, block(0.3))
    values, seen = canvas.window(STRIDE, 0)
    assert np.allclose(values[0, ..., 0], 0.5)
    assert np.allclose(values[1, ..., 0], 0.3)
    assert seen[:2].all()
    assert not seen[2:].any()


def test_settled_pixels_follow_the_published_rule_of_strips():
    import torch

    known = torch.zeros(1, 8, 8, 8, dtype=torch.bool)
    known[:, :2] = True  # a neighbour in x
    xy, xz, zy = find_settled(known)[0, :, 0]
    assert xy[0].all()
    assert xz[0].all()
    assert not xy[1:].any()
    assert not xz[1:].any()
    assert not zy.any()


def test_a_corner_settles_only_its_part_of_the_floor_plan():
    import torch

    known = torch.zeros(1, 8, 8, 8, dtype=torch.bool)
    known[:, 4:, :, 6:] = True
    xy, xz, zy = find_settled(known)[0, :, 0]
    assert not xy.any()
    assert not zy.any()
    assert xz[2:, 3].all()
    assert int(xz.sum()) == 2


def test_what_is_unknown_repeats_the_nearest_known():
    values = np.arange(27.0).reshape(3, 3, 3, 1)
    known = np.zeros((3, 3, 3), bool)
    known[0] = True
    assert np.array_equal(continue_known(values, known)[2], values[0])
    assert continue_known(values, np.zeros_like(known)) is values


def test_batches_cover_every_cell_once_and_never_overlap():
    cells = [(i, j) for i in range(5) for j in range(4)]
    batches = plan_batches(cells, {(0, 0): 0.3}, reach=2, batch=16)
    assert sorted(cell for batch in batches for cell in batch) == sorted(cells)
    for batch in batches:
        for one in batch:
            assert all(max(abs(one[0] - two[0]), abs(one[1] - two[1])) >= 2 for two in batch if two != one)
    assert batches[0] == [(0, 0)]
    assert max(len(batch) for batch in batches) > 1


def test_the_order_of_cells_does_not_matter():
    cells = [(i, j) for i in range(4) for j in range(4)]
    wanted = plan_batches(cells, {}, reach=2, batch=3)
    assert plan_batches(cells[::-1], {}, reach=2, batch=3) == wanted


def test_growing_from_nothing_begins_with_one_cell_and_stays_together():
    batches = plan_batches([(i, 0) for i in range(6)], {}, reach=2, batch=16)
    assert [batch[0] for batch in batches] == [(i, 0) for i in range(6)]


def test_the_best_informed_cell_comes_first():
    cells = [(0, 0), (1, 0), (2, 0)]
    assert plan_batches(cells, {(0, 0): 0.2, (2, 0): 0.7}, reach=2, batch=1)[0] == [(2, 0)]
