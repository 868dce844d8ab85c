"""The plan of streets: warp and back, locating, and what lies on the lines."""

import numpy as np
import pytest

from scene3d.world.streets import STREET_HALF_M, StreetKind, make_street_plan, warp_from_plan, warp_to_plan


@pytest.mark.parametrize("seed", [0, 1, 99])
def test_the_warp_is_undone_to_a_fraction_of_a_millimetre(seed):
    u, v = np.random.default_rng(seed).uniform(-3000, 3000, (2, 5000))
    again = warp_to_plan(seed, *warp_from_plan(seed, u, v))
    assert np.abs(np.stack(again) - np.stack([u, v])).max() < 2e-4


def test_two_plans_agree_on_the_cells_they_share():
    one = make_street_plan(5, (-400.0, 300.0), (-200.0, 500.0))
    other = make_street_plan(5, (-100.0, 800.0), (0.0, 300.0))
    i = slice(other.first_i - one.first_i, None)
    j = slice(other.first_j - one.first_j, other.first_j - one.first_j + other.district.shape[1])
    shared = one.district[i, j]
    columns = shared.shape[0]
    assert shared.size > 20
    assert np.array_equal(shared, other.district[:columns])
    assert np.array_equal(one.cell_keys[i, j], other.cell_keys[:columns])
    assert np.array_equal(one.u_lines[i], other.u_lines[: columns + 1])
    assert np.array_equal(one.u_kind[i, j], other.u_kind[: columns + 1])
    assert np.array_equal(one.v_kind[i, slice(j.start, j.stop + 1)], other.v_kind[:columns])


def test_places_lie_between_the_streets_they_are_told():
    plan = make_street_plan(2, (-500.0, 500.0), (-500.0, 500.0))
    u, v = np.random.default_rng(0).uniform(-500, 500, (2, 4000))
    spots = plan.locate(u, v)
    assert (spots.offsets >= 0).all()
    assert plan.u_lines[spots.i] == pytest.approx(u - spots.offsets[0])
    assert plan.v_lines[spots.j + 1] == pytest.approx(v + spots.offsets[3])
    assert spots.offsets.sum(axis=0).min() > 2 * STREET_HALF_M[StreetKind.CITY] * 2
