"""Exact distances, kept signs, spread colours."""

from dataclasses import replace

import numpy as np
import pytest

from scene3d.fusion.redistancing import paint_nearest, redistance
from tests.scene3d.fusion.splat_scene import make_field

FIELD = make_field(np.array([-1.0, -1.0, -0.4]), np.array([1.0, 1.0, 0.8]), 0.05)


def test_distances_that_were_stretched_become_right_again() -> None:
    stretched = replace(FIELD, sdf=np.clip(1.8 * FIELD.sdf, -FIELD.truncation, FIELD.truncation))
    fixed = redistance(stretched)
    near = (FIELD.sdf > 0) & (FIELD.sdf < 2 * FIELD.voxel_size)
    error = np.abs(fixed.sdf - FIELD.sdf)[near] / FIELD.voxel_size
    assert error.mean() < 0.1
    assert error.max() < 0.8  # at the edges of the house, which voxels round off


def test_signs_and_what_is_unknown_stay() -> None:
    known = FIELD.known.copy()
    known[10:20, 10:20] = False
    fixed = redistance(replace(FIELD, known=known))
    assert (np.sign(fixed.sdf[known]) == np.sign(FIELD.sdf[known])).all()
    assert (fixed.known == known).all()
    assert fixed.sdf[~known] == pytest.approx(FIELD.truncation)
    assert (fixed.rgb[~known] == 0).all()


def test_a_field_without_a_surface_stays_as_it_is() -> None:
    free = replace(FIELD, sdf=np.full(FIELD.shape, FIELD.truncation))
    assert redistance(free) is free


def test_each_voxel_gets_the_nearest_colour() -> None:
    rgb = np.zeros((5, 1, 1, 3))
    rgb[0], rgb[4] = 0.2, 0.9
    colored = np.zeros((5, 1, 1), bool)
    colored[0] = colored[4] = True
    assert paint_nearest(rgb, colored)[[1, 3], 0, 0, 0] == pytest.approx([0.2, 0.9])
    assert paint_nearest(rgb, np.zeros_like(colored)) is rgb
