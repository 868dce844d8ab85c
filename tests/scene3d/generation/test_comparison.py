"""Distances between shapes and sets, seams and layouts are what they are said to be."""

import numpy as np
import pytest

from scene3d.generation.comparison import (
    chamfer,
    compare_sets,
    f_score,
    field_of_values,
    figures_of_distances,
    sample_shape,
)
from scene3d.generation.layout_match import class_iou, find_raised
from scene3d.generation.seams import boundary_edges, compare_overlap, cut_contrast, mean_figures
from scene3d.geometry.isosurface import extract_mesh
from tests.scene3d.generation.small import made_up_site, nano_spec


def cloud(seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).random((300, 3)) + shift


def test_chamfer_of_shifted_points_is_the_shift():
    points = np.array([[0.0, 0, 0], [5, 0, 0], [0, 7, 0]])
    assert chamfer(points, points + np.array([0.0, 0.0, 0.3])) == pytest.approx(0.3)
    assert chamfer(points, points) == 0.0


def test_f_score_counts_both_ways():
    found, wanted = np.array([[0.0, 0, 0], [9, 9, 9]]), np.array([[0.0, 0, 0.01]])
    assert f_score(found, wanted, 0.02) == pytest.approx(2 * 0.5 * 1.0 / 1.5)
    assert f_score(found, wanted, 0.001) == 0.0


def test_sets_that_differ_are_told_apart_and_equal_ones_are_not():
    near, also_near, far = (
        [cloud(k + start, shift) for k in range(12)] for start, shift in ((0, 0), (50, 0), (90, 4.0))
    )
    assert compare_sets(far, near).nearest_neighbour_accuracy == 1.0
    same = compare_sets(also_near, near)
    assert 0.2 < same.nearest_neighbour_accuracy < 0.8
    assert same.coverage > compare_sets(far, near).coverage
    assert same.minimum_distance < 0.1 < compare_sets(far, near).minimum_distance


def test_coverage_by_hand():
    made, between = np.array([[0.0, 2], [2, 0]]), np.array([[1.0, 5], [1, 6]])
    figures = figures_of_distances(made, between, np.array([[0.0, 3], [3, 0]]))
    assert figures.coverage == 0.5
    assert figures.minimum_distance == pytest.approx((1 + 5) / 2)


def test_the_ground_is_left_out_of_a_shape():
    spec = nano_spec()
    side = spec.block_voxels
    values = made_up_site(1).values()[:side, :side]
    points = sample_shape(field_of_values(values, spec), 200, np.random.default_rng(0), above=1 / side)
    assert points is not None
    assert points.shape == (200, 3)
    assert points[:, 2].min() > 1 / side
    flat = values.copy()
    height = (np.arange(side) + 0.5) / side + spec.height_range[0]
    flat[..., 0] = np.clip(height * side / spec.truncation_voxels, -1, 1)
    assert sample_shape(field_of_values(flat, spec), 50, np.random.default_rng(0), above=1 / side) is None


def slab(level: float) -> np.ndarray:
    """Matter below a level, of 4 x 4 x 8 layers, distances in layers over a truncation of 4."""
    return np.clip((np.arange(8) + 0.5 - level) / 4, -1, 1) * np.ones((4, 4, 1))


def test_a_seam_between_equal_blocks_is_none():
    same = compare_overlap(slab(4), slab(4), truncation=0.5, ground=1)
    assert (same.difference, same.cut_jump, same.solid_iou) == (0.0, 0.0, 1.0)
    assert same.normal_deg < 0.1


def test_a_step_between_blocks_is_measured():
    step = compare_overlap(slab(4), slab(5), truncation=0.5, ground=0)
    assert step.near_surface == pytest.approx(0.125)
    assert step.solid_iou == pytest.approx(4 / 5)
    assert mean_figures([step, step]) == step


def test_a_crack_shows_as_contrast_and_open_edges():
    smooth = np.broadcast_to(np.linspace(0, 1, 12)[:, None, None], (12, 4, 4)).copy()
    assert cut_contrast(smooth, np.array([6]), axis=0, ground=0) == pytest.approx(1.0)
    cracked = smooth.copy()
    cracked[6:] += 0.5
    assert cut_contrast(cracked, np.array([6]), axis=0, ground=0) > 5
    assert cut_contrast(cracked, np.array([3]), axis=0, ground=0) < 1


def test_open_edges_are_those_of_one_triangle():
    spec = nano_spec()
    mesh = extract_mesh(field_of_values(made_up_site(2).values(), spec))
    low = np.array([0.05, 0.05, -1.0])
    high = np.array([2.4, 2.4, 1.0])
    assert boundary_edges(mesh, low, high) == 0
    assert boundary_edges(mesh, low - 1, high + 1) > 40  # the rim of the site


def test_columns_that_rise_are_compared_with_the_map():
    layout = np.array([[8, 8, 1, 9]])
    sdf = np.full((1, 4, 8), 1.0)
    sdf[:, :, :3] = -1.0
    sdf[0, [0, 2, 3], :6] = -1.0
    raised = find_raised(sdf, 3)
    assert raised.tolist() == [[True, False, True, True]]
    assert class_iou(raised, layout, 8, (9,)) == pytest.approx(1 / 3)
    assert np.isnan(class_iou(raised, layout, 4, ()))
