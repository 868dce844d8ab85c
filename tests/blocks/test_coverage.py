"""Views added for points that a block owns and would hardly see."""

import numpy as np
import pytest

from blocks.coverage import NEEDED_VIEWS, POOR_SHARE, add_needed_views
from blocks.visibility import Observations


def observe(seen: np.ndarray) -> Observations:
    """From a table of points by views."""
    points, views = np.nonzero(seen)
    return Observations.of_pairs(points, views, num_points=len(seen), num_views=seen.shape[1])[0]


@pytest.mark.parametrize("seed", range(5))
def test_nearly_all_points_keep_enough_views_and_no_view_is_taken_away(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = rng.random((800, 30)) < 0.15
    seen[:, 0] |= ~seen.any(axis=1)
    owners = rng.integers(-1, 3, len(seen))
    assigned = rng.random((3, 30)) < 0.1
    before = assigned.copy()
    filled = add_needed_views(observe(seen), owners, assigned)
    assert np.array_equal(assigned, before)
    assert (filled >= assigned).all()
    for block in range(3):
        mine = seen[owners == block]
        kept = (mine & filled[block]).sum(axis=1)
        poor = kept < np.minimum(NEEDED_VIEWS, mine.sum(axis=1))
        assert poor.mean() <= POOR_SHARE


def test_what_is_seen_well_asks_for_no_view() -> None:
    seen = np.ones((50, 6), bool)
    assigned = np.array([[True, True, False, False, False, False]])
    assert np.array_equal(add_needed_views(observe(seen), np.zeros(50, np.int64), assigned), assigned)


def test_the_one_view_of_a_rim_is_added() -> None:
    seen = np.zeros((100, 4), bool)
    seen[:90, :2] = True
    seen[90:, 2:] = True
    owners = np.zeros(100, np.int64)
    assigned = np.array([[True, True, False, False]])
    assert add_needed_views(observe(seen), owners, assigned).all()


def test_points_of_nobody_ask_for_nothing() -> None:
    seen = np.eye(3, dtype=bool)
    assigned = np.zeros((1, 3), bool)
    assert not add_needed_views(observe(seen), np.full(3, -1), assigned).any()
