"""What a canvas knows: filled below ground, and continued by what grew before."""

from dataclasses import replace

import numpy as np
import pytest

from blocks.extension_border import fill_below, paste
from scene3d.geometry.voxels import VoxelField

SIZE = 0.1


def make_level(height: float, *, known_below: float = 0.0) -> VoxelField:
    """Level ground, seen down to a little below its surface."""
    shape = (8, 8, 20)
    field = VoxelField(
        sdf=np.zeros(shape, np.float32),
        rgb=np.zeros((*shape, 3), np.float32),
        known=np.zeros(shape, bool),
        origin=np.array([0.0, 0.0, -0.5]),
        voxel_size=SIZE,
        truncation=0.3,
    )
    z = field.centers()[..., 2]
    known = z > height - 0.2 - known_below
    sdf = np.where(known, np.clip(z - height, -0.3, 0.3), 0.3).astype(np.float32)
    return replace(field, sdf=sdf, known=known)


def test_what_lies_under_seen_ground_is_matter() -> None:
    field = make_level(0.1)
    filled = fill_below(field, highest=0.5)
    assert filled.known.all()
    below = ~field.known
    assert filled.sdf[below] == pytest.approx(-0.3)
    assert (filled.sdf[field.known] == field.sdf[field.known]).all()


def test_what_hangs_high_leaves_the_air_below_unknown() -> None:
    field = make_level(1.0)
    assert (fill_below(field, highest=0.5).known == field.known).all()


def test_free_air_that_was_seen_down_to_the_unknown_fills_nothing() -> None:
    field = make_level(0.1)
    free = replace(field, sdf=np.full_like(field.sdf, 0.3))
    assert (fill_below(free, highest=0.5).known == field.known).all()


def test_what_grew_before_is_continued_where_nothing_is_known() -> None:
    field, other = make_level(0.1), make_level(0.1, known_below=2.0)
    shifted = replace(other, origin=other.origin + np.array([2 * SIZE, 0.0, 0.0]), rgb=np.full_like(other.rgb, 0.7))
    pasted = paste(field, shifted)
    assert (pasted.sdf[field.known] == field.sdf[field.known]).all()
    assert pasted.known[2:].all()
    assert not pasted.known[:2, :, 0].any()
    new = pasted.known & ~field.known
    assert pasted.sdf[3, 3] == pytest.approx(other.sdf[1, 3])
    assert pasted.rgb[new] == pytest.approx(0.7)
