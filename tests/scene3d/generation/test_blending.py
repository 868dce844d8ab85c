"""The shift that leads what was drawn up to what is known: no step, no crease, nothing far away."""

import numpy as np
import pytest

from scene3d.generation.blending import spread_shift
from scene3d.generation.merging import Canvas, make_window_weights

SHAPE = (24, 12, 8)


def half_known() -> np.ndarray:
    fixed = np.zeros(SHAPE, bool)
    fixed[:8] = True
    return fixed


def test_a_constant_miss_is_led_up_to_and_fades_away():
    missed = np.full((*SHAPE, 2), [0.5, -1.0], np.float32)
    shift = spread_shift(missed, half_known(), ~half_known(), fade_voxels=8.0)
    along = shift[:, 6, 4]
    assert not shift[:8].any()
    assert along[8] == pytest.approx([0.48, -0.96], abs=0.02)
    assert (np.diff(along[8:, 0]) <= 1e-6).all()
    assert not shift[16:].any()


def test_a_single_wrong_voxel_hardly_shows():
    missed = np.zeros((*SHAPE, 1), np.float32)
    missed[7, 6, 4] = 1.0
    shift = spread_shift(missed, half_known(), ~half_known(), fade_voxels=8.0)
    assert 0 < shift.max() < 0.35


def test_in_a_gap_the_shift_leads_from_one_side_to_the_other():
    fixed = half_known()
    fixed[13:] = True
    missed = np.where(np.arange(SHAPE[0]) < 10, -1.0, 1.0)[:, None, None, None] * np.ones((*SHAPE, 1))
    along = spread_shift(missed, fixed, ~fixed, fade_voxels=8.0)[8:13, 6, 4, 0]
    assert (np.diff(along) > 0).all()
    assert along[2] == pytest.approx(0.0, abs=1e-3)


def test_nothing_known_shifts_nothing():
    nothing = np.zeros(SHAPE, bool)
    assert not spread_shift(np.ones((*SHAPE, 1)), nothing, ~nothing, fade_voxels=8.0).any()
    assert not spread_shift(np.ones((*SHAPE, 1)), ~nothing, nothing, fade_voxels=8.0).any()


def tilted_ground_with_a_bump(shape: tuple[int, int, int]) -> np.ndarray:
    x, y, z = np.meshgrid(*(np.arange(count) + 0.5 for count in shape), indexing="ij")
    bump = 2.5 * np.exp(-((x - 16) ** 2 + (y - 16) ** 2) / 30)
    return np.clip((z - 12 - 0.1 * (x - 16) - bump) / 4, -1, 1)


def test_ground_drawn_too_high_meets_the_known_ground_without_a_step():
    side = 32
    truth = tilted_ground_with_a_bump((side, side, side))
    drawn = np.clip(truth - 0.3, -1, 1)
    known = np.zeros((side, side, side), bool)
    known[:16] = True
    values = np.concatenate([truth[..., None], np.full((side, side, side, 3), 0.4)], axis=-1)
    canvas = Canvas(values, known, make_window_weights(side, 8))
    canvas.add(0, 0, np.concatenate([drawn[..., None], values[..., 1:]], axis=-1).astype(np.float32))
    merged, _ = canvas.merge(8)
    near = np.abs(truth) < 0.5
    step = np.abs(np.diff(merged[..., 0], axis=0))
    elsewhere = np.quantile(step[18:][near[18:-1]], 0.99)
    assert np.quantile(step[15][near[15]], 0.99) < 1.5 * elsewhere
    assert np.abs(np.diff(np.where(known, truth, drawn), axis=0)[15][near[15]]).min() > 3 * elsewhere


def test_colours_are_led_up_to_known_surfaces_and_not_to_the_blackness_of_air():
    shape = (8, 8, 8)
    known = np.zeros(shape, bool)
    known[:4] = True
    height = np.broadcast_to((np.arange(8) - 3.5) / 2, shape)
    tsdf = np.clip(height, -1, 1)
    has_color = (np.abs(tsdf) < 1)[..., None]
    values = np.concatenate([tsdf[..., None], np.where(has_color, 0.6, 0.0) * np.ones(3)], axis=-1, dtype=np.float32)
    block = np.concatenate([tsdf[..., None], np.where(has_color, 0.4, 0.0) * np.ones(3)], axis=-1, dtype=np.float32)
    canvas = Canvas(values, known, make_window_weights(8, 2))
    canvas.add(0, 0, block)
    merged, _ = canvas.merge(4)
    at_surface = merged[4:, :, 3, 1:]
    assert at_surface.min() >= 0.4 - 1e-6
    assert merged[4, :, 3, 1:].min() > 0.55


def test_blocks_that_show_no_surface_do_not_darken_one_that_does():
    canvas = Canvas(np.zeros((10, 8, 8, 4), np.float32), np.zeros((10, 8, 8), bool), make_window_weights(8, 6))
    air = np.concatenate([np.ones((8, 8, 8, 1)), np.zeros((8, 8, 8, 3))], axis=-1).astype(np.float32)
    wall = np.concatenate([np.zeros((8, 8, 8, 1)), np.full((8, 8, 8, 3), 0.7)], axis=-1).astype(np.float32)
    canvas.add(0, 0, air)
    canvas.add(2, 0, wall)
    merged, _ = canvas.merge(2)
    assert merged[4, 4, 4, 1:] == pytest.approx(0.7)
    assert 0 < merged[4, 4, 4, 0] < 1
