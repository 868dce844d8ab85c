"""The partition of toy flights: its laws, its balance, and what it does with awkward captures."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blocks.partition import make_plan
from blocks.partition_settings import PartitionSettings
from blocks.plan import FAR, FAR_RADII, BlockPlan, coefficient_of_variation
from scene3d.data.capture import Capture
from scene3d.data.frame import estimate_frame
from scene3d.data.split import Split, split_views
from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity
from scene3d.seeding import make_numpy_generator
from tests.blocks.flights import everyone, flight, turned
from tests.scene3d.data.rigs import moved, oblique

METHODS = ("load", "midpoint", "grid")


@pytest.fixture(scope="module")
def capture() -> Capture:
    return flight()


def plan_of(capture: Capture, split: Split | None = None, **settings) -> BlockPlan:
    return make_plan(capture, split or everyone(capture), PartitionSettings(**settings))


def seen_matrix(capture: Capture) -> np.ndarray:
    """Who sees what, [points, views]."""
    seen = np.zeros((len(capture.points), len(capture.views)), bool)
    seen[capture.points.track_points, capture.points.track_views] = True
    return seen


def combinatorics(plan: BlockPlan, capture: Capture) -> list[tuple]:
    """What does not depend on where the world is: views, points and loads of the blocks, whatever their order."""
    uv = plan.frame.from_world(capture.points.positions)
    owners = plan.owners(capture.points.positions)
    return sorted(
        (
            block.views,
            block.load,
            block.num_points,
            block.num_pixels,
            tuple(np.flatnonzero(block.cell.covers(uv)).tolist()),
            tuple(np.flatnonzero(owners == number).tolist()),
        )
        for number, block in enumerate(plan.blocks)
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 7, 8])
def test_exactly_as_many_blocks_as_asked_for(capture, method, blocks):
    plan = plan_of(capture, blocks=blocks, method=method)
    assert len(plan.blocks) == blocks
    assert plan.method == method
    assert f"{blocks} blocks were asked for" in plan.findings
    assert [block.block_id for block in plan.blocks] == [f"{number:03d}" for number in range(blocks)]


@pytest.mark.parametrize("method", METHODS)
def test_every_point_of_space_has_exactly_one_owner(capture, method):
    plan = plan_of(capture, blocks=6, method=method)
    rng = make_numpy_generator(0, "anywhere")
    points = rng.normal(0, 1, (100_000, 3)) * rng.choice([1.0, 8.0, 60.0], (100_000, 1))
    owners = plan.owners(points)
    uv = plan.frame.from_world(points)
    cells = [block.cell for block in plan.blocks]
    inside = np.stack([cell.covers(uv, expanded=False) for cell in cells])
    near = np.linalg.norm(points - plan.middle, axis=1) <= FAR_RADII * plan.radius
    assert ((owners == FAR) == ~near).all()
    assert set(owners[near].tolist()) == set(range(6))
    # Inside the rectangle the bounded cells tile the ground, and the one that holds a place owns it.
    (u0, v0), (u1, v1) = np.min([cell.low for cell in cells], axis=0), np.max([cell.high for cell in cells], axis=0)
    in_root = (uv[:, 0] >= u0) & (uv[:, 0] < u1) & (uv[:, 1] >= v0) & (uv[:, 1] < v1)
    assert (inside.sum(axis=0) == in_root).all()
    assert (inside.argmax(axis=0) == owners)[in_root & near].all()
    areas = [np.prod(np.subtract(cell.high, cell.low)) for cell in cells]
    assert np.sum(areas) == pytest.approx((u1 - u0) * (v1 - v0))


def test_places_on_the_cuts_have_one_owner_too(capture):
    plan = plan_of(capture, blocks=8)
    corners = np.array([(u, v) for b in plan.blocks for u in (b.cell.low[0], b.cell.high[0]) for v in b.cell.low[1:]])
    world = plan.frame.to_world(corners)
    assert (plan.owners(np.concatenate([world, np.zeros((len(world), 1))], axis=1)) >= 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_the_partition_does_not_depend_on_where_the_world_is(capture, method, seed):
    rng = make_numpy_generator(seed, "similarity")
    angle_rad, scale = rng.uniform(-np.pi, np.pi), np.exp(rng.uniform(-2, 2))
    there = turned(capture, angle_rad, scale, tuple(rng.uniform(-30, 30, 2)))
    plan, moved_plan = (plan_of(each, blocks=6, method=method) for each in (capture, there))
    assert combinatorics(plan, capture) == combinatorics(moved_plan, there)
    assert moved_plan.radius == pytest.approx(scale * plan.radius)
    assert [block.views for block in plan.blocks] == [block.views for block in moved_plan.blocks]


@pytest.mark.parametrize("turn", [(np.pi, 0, 0), (0, np.pi - 0.2, 0.5), (1.0, 2.0, -0.5)])
def test_captures_on_their_head_are_divided_alike(turn):
    capture = oblique()
    # Captures that are nearly level keep their axis, others get the ground's: both of these are the latter.
    aslant = moved(capture, Similarity(1.0, Rotation.from_rotvec([0.5, 0.1, 0.0]).as_matrix(), np.zeros(3)))
    on_head = moved(aslant, Similarity(7.0, Rotation.from_rotvec(turn).as_matrix(), np.array([3.0, -80.0, 20.0])))
    plans = []
    for each in (aslant, on_head):
        level = each.transformed(estimate_frame(each))
        plans.append(combinatorics(plan_of(level, blocks=4), level))
    assert plans[0] == plans[1]


@pytest.mark.parametrize("blocks", [4, 8])
def test_loads_are_more_even_than_with_cuts_in_the_middle(capture, blocks):
    by_load, at_middle = (plan_of(capture, blocks=blocks, method=method) for method in ("load", "midpoint"))
    assert coefficient_of_variation(by_load) <= 0.6 * coefficient_of_variation(at_middle)
    assert max(block.load for block in by_load.blocks) < max(block.load for block in at_middle.blocks)


@pytest.mark.parametrize("method", METHODS)
def test_views_loads_points_and_pixels_are_those_of_the_definition(capture, method):
    """By plain counting: cover_view, cover_block, distinct points, shares of pixels. Coverage may add views."""
    plan = plan_of(capture, blocks=5, method=method)
    seen = seen_matrix(capture)
    seen_by_someone = seen.any(axis=1)
    uv = plan.frame.from_world(capture.points.positions)
    for block in plan.blocks:
        here = block.cell.covers(uv) & seen_by_someone
        mine = seen[here].sum(axis=0)
        belongs = (mine > 0.3 * seen.sum(axis=0)) | (mine > 0.1 * here.sum())
        assert set(np.flatnonzero(belongs).tolist()) <= set(block.views)
        assert block.num_points == here.sum()
        assert block.load == seen[:, list(block.views)].any(axis=1).sum()
        shares = mine / np.maximum(seen.sum(axis=0), 1)
        pixels = sum(shares[i] * capture.views[i].camera.width * capture.views[i].camera.height for i in block.views)
        assert block.num_pixels == pytest.approx(pixels, abs=1)
    covered = np.any([block.cell.covers(uv) for block in plan.blocks], axis=0)
    assert plan.num_uncovered_points == (~covered & seen_by_someone).sum()


@pytest.mark.parametrize("method", METHODS)
def test_no_view_is_lost_and_no_cell_is_too_small(capture, method):
    plan = plan_of(capture, blocks=8, method=method)
    effective = PartitionSettings(blocks=8).for_capture(len(capture.views), len(capture.points))
    used = {view for block in plan.blocks for view in block.views}
    assert used == set(np.flatnonzero(seen_matrix(capture).any(axis=0)).tolist())
    assert min(block.num_points for block in plan.blocks) >= effective.min_points - 1
    assert min(len(block.views) for block in plan.blocks) >= effective.min_views


def test_margins_faces_and_heights_of_the_cells(capture):
    plan = plan_of(capture, blocks=4, expand_ratio=0.08)
    lows, highs = (np.array([getattr(block.cell, side) for block in plan.blocks]) for side in ("low", "high"))
    borders = (*lows.min(axis=0), *highs.max(axis=0))
    heights, uv = capture.points.positions[:, 2], plan.frame.from_world(capture.points.positions)
    seen = capture.points.track_lengths > 0
    for block in plan.blocks:
        cell = block.cell
        assert np.allclose(cell.margin, 0.08 * np.subtract(cell.high, cell.low))
        assert cell.shared == tuple(np.not_equal((*cell.low, *cell.high), borders).tolist())
        mine = heights[cell.covers(uv) & seen]
        low, high = np.percentile(mine, (1, 99))
        margin = max(0.2 * (high - low), 0.01 * plan.radius)
        assert (cell.bottom, cell.top) == pytest.approx((low - margin, high + margin))


def test_ground_without_any_height_still_has_a_range():
    capture = flight(2000)
    flat = replace(capture, points=replace(capture.points, positions=capture.points.positions * [1, 1, 0]))
    assert all(block.cell.bottom < 0 < block.cell.top for block in plan_of(flat, blocks=4).blocks)


def test_held_out_views_reach_no_block_and_change_nothing(capture):
    split = split_views(capture)
    plan = plan_of(capture, split, blocks=4)
    held_out = {capture.views[index].name for index in split.test}
    assert held_out
    assert plan.views == tuple(capture.views[index].name for index in split.train)
    assert not held_out & {plan.views[view] for block in plan.blocks for view in block.views}
    # The same capture from which the held-out photographs were never brought.
    points = capture.points.seen_by(split.train)
    renumber = {old: new for new, old in enumerate(split.train)}
    kept = replace(points, track_views=np.array([renumber[view] for view in points.track_views.tolist()]))
    without = replace(capture, views=tuple(capture.views[index] for index in split.train), points=kept)
    assert plan_of(without, blocks=4).to_record() == plan.to_record()


@pytest.mark.parametrize("method", METHODS)
def test_more_cells_than_possible_are_refused_with_the_number_that_is_possible(method):
    small = flight(1200, columns=7, rows=4, height=3.0)
    with pytest.raises(InputError, match=r"40 blocks are not possible: each needs .* only \d+ can") as caught:
        plan_of(small, blocks=40, method=method)
    possible = int(str(caught.value).split("ask for at most ")[1].split(",")[0])
    assert 1 < possible < 40
    if method == "load":
        assert len(plan_of(small, blocks=possible, min_views=3, min_points=30).blocks) == possible


@pytest.mark.parametrize("method", METHODS)
def test_without_a_number_cells_are_cut_down_to_the_budget(capture, method):
    whole = plan_of(capture, method=method)
    assert len(whole.blocks) == 1
    plan = plan_of(capture, method=method, point_budget=2500, max_blocks=12)
    assert 4 <= len(plan.blocks) <= 12
    if method == "load":
        assert max(block.load for block in plan.blocks) <= 2500
    few = plan_of(capture, method=method, point_budget=500, max_blocks=3)
    assert len(few.blocks) == 3
    assert any("no more than 3 blocks are made" in finding for finding in few.findings)


def test_views_that_all_see_everything_make_cutting_pointless():
    rng = make_numpy_generator(0, "everything seen")
    capture = flight(1000, columns=6, rows=5)
    num_points, num_views = len(capture.points), len(capture.views)
    all_seen = replace(
        capture.points,
        track_offsets=np.arange(num_points + 1) * num_views,
        track_views=np.tile(np.arange(num_views), num_points),
        errors_px=rng.uniform(0.4, 0.6, num_points),
    )
    capture = replace(capture, points=all_seen)
    plan = plan_of(capture, point_budget=100)
    assert len(plan.blocks) == 1
    assert any("no cut makes the largest one smaller" in finding for finding in plan.findings)
    # Asked for two, the points are halved.
    low, high = (block.num_points for block in plan_of(capture, blocks=2, expand_ratio=0.0).blocks)
    assert abs(low - high) <= 0.1 * num_points
