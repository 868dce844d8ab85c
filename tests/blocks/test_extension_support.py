"""Fog and floaters are not built on, what stands is kept, and nothing new hangs in the air."""

from dataclasses import replace

import numpy as np
import pytest

from blocks.extension_border import measure_across_gaps
from blocks.extension_support import drop_contradictions, drop_unsupported, remove_hanging
from scene3d.geometry.voxels import VoxelField

SIZE = 0.1
GROUND_M = 0.5
SHAPE = (24, 24, 24)


def make_field(sdf_of, known=None) -> VoxelField:
    """What a function of the voxels' centres says, cut off at four voxels."""
    empty = VoxelField(
        sdf=np.zeros(SHAPE, np.float32),
        rgb=np.full((*SHAPE, 3), 0.5, np.float32),
        known=np.ones(SHAPE, bool) if known is None else known,
        origin=np.zeros(3),
        voxel_size=SIZE,
        truncation=4 * SIZE,
    )
    sdf = np.clip(sdf_of(empty.centers()), -empty.truncation, empty.truncation).astype(np.float32)
    return replace(empty, sdf=np.where(empty.known, sdf, empty.truncation).astype(np.float32))


def ground(points: np.ndarray) -> np.ndarray:
    return points[..., 2] - GROUND_M


def ball(points: np.ndarray, middle=(1.2, 1.2, 1.6), radius: float = 0.3) -> np.ndarray:
    return np.linalg.norm(points - np.array(middle), axis=-1) - radius


def post(points: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(points[..., :2] - 0.6).max(axis=-1) - 0.15, points[..., 2] - 1.5)


def ground_and_ball(points: np.ndarray) -> np.ndarray:
    return np.minimum(ground(points), ball(points))


def test_a_floating_ball_is_no_evidence_and_a_post_is() -> None:
    field = make_field(lambda points: np.minimum(ground_and_ball(points), post(points)))
    kept = drop_unsupported(field)
    in_ball, in_post = ball(field.centers()) < 0, post(field.centers()) < 0
    assert not kept.known[in_ball].any()
    assert kept.known[in_post].all()
    assert not (kept.known & (kept.sdf < 0) & (field.centers()[..., 2] > GROUND_M) & ~in_post).any()
    assert (kept.sdf[kept.known] == field.sdf[kept.known]).all()
    assert kept.sdf[in_ball] == pytest.approx(field.truncation)  # unknown says nothing


def test_a_roof_stands_if_nobody_looked_under_it() -> None:
    known = np.ones(SHAPE, bool)
    known[6:18, 6:18, 4:14] = False

    def roof(points: np.ndarray) -> np.ndarray:
        slab = np.abs(points - np.array([1.2, 1.2, 1.55])) - np.array([0.6, 0.6, 0.15])
        return np.minimum(ground(points), slab.max(axis=-1))

    field = make_field(roof, known)
    assert drop_unsupported(field).known[12, 12, 15]
    looked_under = make_field(roof)
    assert not drop_unsupported(looked_under).known[12, 12, 15]


def test_small_islands_of_ground_are_no_evidence() -> None:
    known = np.zeros(SHAPE, bool)
    known[:10] = True
    known[16:20, 10:14] = True
    kept = drop_unsupported(make_field(ground, known))
    assert kept.known[:10].all()
    assert not kept.known[10:].any()


def test_a_new_ball_in_the_air_is_removed_and_the_field_knows_only_the_ground() -> None:
    known = np.zeros(SHAPE, bool)
    known[:4] = True
    filled = make_field(ground_and_ball)
    left, count = remove_hanging(filled, replace(filled, known=known))
    assert count == 1
    assert (left.sdf[..., :] < 0).sum() == (make_field(ground).sdf < 0).sum()
    assert np.abs(left.sdf - make_field(ground).sdf).max() < 0.6 * SIZE
    assert left.known.all()


def test_a_ball_that_is_known_or_touches_the_known_stays() -> None:
    filled = make_field(ground_and_ball)
    known = ball(filled.centers()) < 0.1
    left, count = remove_hanging(filled, replace(filled, known=known))
    assert count == 0
    assert left is filled


def test_distances_that_contradict_each_other_are_forgotten() -> None:
    field = make_field(ground)
    sdf, known = field.sdf.copy(), field.known.copy()
    known[12, 12, 5] = False  # between free air and matter that both tell of something far
    sdf[12, 12, 6], sdf[12, 12, 4] = 3 * SIZE, -3 * SIZE
    kept = drop_contradictions(replace(field, sdf=sdf, known=known))
    assert not kept.known[12, 12, [4, 6]].any()
    assert kept.known[11, 12].all()
    consistent = drop_contradictions(field)
    assert consistent is field


def test_distances_beside_a_narrow_gap_are_those_to_the_surface_in_it() -> None:
    known = np.ones(SHAPE, bool)
    known[:, 9:12, 4:6] = False  # the surface is not seen over three columns, but around them
    known[:, 10, 3:8] = False
    field = make_field(ground, known)
    wrong = replace(field, sdf=np.where(known, np.sign(field.sdf) * 3 * SIZE, field.truncation).astype(np.float32))
    mended = measure_across_gaps(wrong)
    assert (mended.known == known).all()
    truth = make_field(ground)
    near = known & (np.abs(truth.sdf) < 2 * SIZE)
    assert np.abs(mended.sdf - truth.sdf)[near].max() < 0.75 * SIZE
