"""Who sees what: counts against plain loops, and the fallbacks for captures without tracks or points."""

from dataclasses import replace

import numpy as np
import pytest

import blocks.visibility
from blocks.survey import find_projected, survey_capture
from blocks.visibility import Observations, count_in_spans, count_loads, count_seen, views_of_spans
from scene3d.data.capture import SparsePoints
from scene3d.data.split import Split
from scene3d.errors import InputError
from scene3d.seeding import make_numpy_generator
from tests.blocks.flights import everyone, flight, nadir_camera
from tests.scene3d.data.rigs import make_capture, nadir, sees

NUM_VIEWS = 12


def random_observations(num_points: int = 200, num_views: int = NUM_VIEWS):
    """Observations, and the same as a dense matrix [points, views]."""
    rng = make_numpy_generator(0, "observations")
    dense = rng.random((num_points, num_views)) < 0.25
    dense[:, -1] = False  # a view that sees nothing
    dense[~dense.any(axis=1), 0] = True
    points, views = np.nonzero(dense)
    observations, seen = Observations.of_pairs(points, views, num_points=num_points, num_views=num_views)
    assert seen.all()
    return observations, dense


@pytest.fixture(params=[3, 500_000])
def rows_at_once(request, monkeypatch):
    monkeypatch.setattr(blocks.visibility, "ROWS_AT_ONCE", request.param)


def test_counts_in_spans_are_those_of_a_plain_loop(rows_at_once):
    observations, dense = random_observations()
    rng = make_numpy_generator(0, "spans")
    rows = np.flatnonzero(rng.random(len(dense)) < 0.6)
    coordinates = np.round(rng.uniform(0, 1, len(rows)), 1)
    # Ends that are coordinates themselves: spans are closed. One is empty, one holds all.
    spans = np.array([[0.2, 0.5], [0.5, 0.5], [0.31, 0.39], [-1, 2], [0.0, 0.7]])
    counts, sizes = count_in_spans(observations, rows, coordinates, spans)
    inside = [(coordinates >= low) & (coordinates <= high) for low, high in spans]
    assert sizes.tolist() == [int(each.sum()) for each in inside]
    assert counts.tolist() == [dense[rows[each]].sum(axis=0).tolist() for each in inside]


def test_counts_of_groups_are_those_of_a_plain_loop():
    observations, dense = random_observations()
    groups = [np.arange(0, 200, 3), np.arange(50), np.zeros(0, np.int64)]
    expected = np.stack([dense[rows].sum(axis=0) for rows in groups], axis=1)
    assert np.array_equal(count_seen(observations, groups), expected)


@pytest.mark.parametrize("num_groups", [0, 1, 16, 17, 33, 64, 65])
def test_loads_are_those_of_a_plain_loop(rows_at_once, num_groups):
    observations, dense = random_observations()
    assigned = make_numpy_generator(0, "assigned").random((num_groups, NUM_VIEWS)) < 0.2
    expected = [int(dense[:, views].any(axis=1).sum()) for views in assigned]
    assert count_loads(observations, assigned).tolist() == expected


def test_points_seen_by_some_views_are_found_either_way():
    observations, dense = random_observations()
    for views in ([], [3], [0, 5, 7], list(range(NUM_VIEWS))):
        chosen = np.isin(np.arange(NUM_VIEWS), views)
        rows = observations.rows_seen_by(chosen)
        missed = np.setdiff1d(np.flatnonzero(dense[:, chosen].any(axis=1)), rows)
        assert not len(missed)
        assert (np.diff(rows) > 0).all()


def test_a_view_belongs_by_its_own_share_or_by_the_share_of_the_block():
    counts = np.array([[30, 31, 10, 11, 0]])
    num_seen = np.array([100, 100, 1000, 1000, 0])
    assigned = views_of_spans(counts, np.array([100]), num_seen, cover_view=0.3, cover_block=0.1)
    assert assigned.tolist() == [[True, True, False, True, False]]
    assigned = views_of_spans(counts, np.array([1000]), num_seen, cover_view=0.3, cover_block=0.1)
    assert assigned.tolist() == [[False, True, False, False, False]]


def test_projection_finds_what_each_camera_sees():
    capture = nadir()
    cameras = [view.camera for view in capture.views]
    positions = capture.points.positions
    points, views = find_projected(cameras, positions)
    found = np.zeros((len(positions), len(cameras)), bool)
    found[points, views] = True
    assert np.array_equal(found, np.stack([sees(camera, positions) for camera in cameras], axis=1))
    assert (np.diff(points) >= 0).all()


def test_held_out_views_and_their_points_do_not_exist():
    capture = flight(2000)
    split = Split(train=tuple(range(1, len(capture.views), 2)), test=tuple(range(0, len(capture.views), 2)), rule="odd")
    survey = survey_capture(capture, split)
    dense = np.zeros((len(capture.points), len(capture.views)), bool)
    dense[capture.points.track_points, capture.points.track_views] = True
    seen = dense[:, split.train].any(axis=1)
    assert np.array_equal(survey.positions, capture.points.positions[seen])
    assert np.array_equal(survey.observations.num_seen, dense[:, split.train].sum(axis=0))


def test_points_without_a_track_or_a_place_are_left_out():
    capture = flight(2000)
    points = capture.points
    positions = np.concatenate([points.positions, [[0.0, 0.0, 0.0]]])
    positions[7] = np.nan
    extended = SparsePoints(
        positions=positions,
        colors=np.concatenate([points.colors, points.colors[:1]]),
        errors_px=np.append(points.errors_px, 0.5),
        track_offsets=np.append(points.track_offsets, points.track_offsets[-1]),
        track_views=points.track_views,
    )
    survey = survey_capture(replace(capture, points=extended), everyone(capture))
    untracked = np.count_nonzero(points.track_lengths == 0) + 1
    assert len(survey.positions) == len(positions) - untracked - (points.track_lengths[7] > 0)
    assert survey.findings == (f"{untracked} points without a track were not counted",)


def without_tracks(points: SparsePoints) -> SparsePoints:
    return replace(points, track_offsets=np.zeros(len(points) + 1, np.int64), track_views=np.zeros(0, np.int64))


def test_without_tracks_projection_finds_the_same():
    capture = flight(2000)
    tracked = survey_capture(capture, everyone(capture))
    survey = survey_capture(replace(capture, points=without_tracks(capture.points)), everyone(capture))
    assert "by projection" in survey.findings[0]
    assert np.array_equal(survey.positions, tracked.positions)
    assert np.array_equal(survey.observations.views, tracked.observations.views)


def test_a_handful_of_tracks_is_none():
    capture = flight(2000)
    points = capture.points
    tracked = np.flatnonzero(points.track_lengths)[:50]
    lengths = np.where(np.isin(np.arange(len(points)), tracked), points.track_lengths, 0)
    kept = np.repeat(lengths > 0, points.track_lengths)
    few = replace(points, track_offsets=np.concatenate([[0], np.cumsum(lengths)]), track_views=points.track_views[kept])
    survey = survey_capture(replace(capture, points=few), everyone(capture))
    assert "only 50 points have a track" in survey.findings[0]
    assert len(survey.positions) > 1000


def test_many_points_without_tracks_are_thinned(monkeypatch):
    monkeypatch.setattr("blocks.survey.MAX_PROJECTED", 100_000)
    capture = flight(2000)
    survey = survey_capture(replace(capture, points=without_tracks(capture.points)), everyone(capture))
    assert survey.thinning == -(-2000 * len(capture.views) // 100_000)
    assert len(survey.positions) <= 2000 / survey.thinning + 1
    assert survey.findings[1] == f"one point in {survey.thinning} was counted"


@pytest.mark.parametrize("count", [0, 12])
def test_without_enough_points_random_ones_stand_in(count):
    capture = make_capture([nadir_camera((x, y)) for x in range(4) for y in range(4)], None)
    few = without_tracks(nadir().points).subset(np.arange(len(nadir().points)) < count)
    survey = survey_capture(replace(capture, points=few), everyone(capture))
    assert f"only {count} points" in survey.findings[0]
    assert len(survey.positions) > 15_000
    assert (survey.observations.num_seen > 0).all()


def test_cameras_that_look_away_from_everything_are_an_error():
    capture = flight(2000)
    points = replace(without_tracks(capture.points), positions=np.add(capture.points.positions, [0, 0, 50]))
    with pytest.raises(InputError, match="no training view sees any point"):
        survey_capture(replace(capture, points=points), everyone(capture))


def test_points_with_parallel_rays_say_nothing_about_where_the_scene_is():
    capture = flight(2000)
    far = np.add(capture.points.positions, [0.0, 0.0, -300.0])
    positions = np.where(np.arange(len(far))[:, None] % 10 == 0, far, capture.points.positions)
    moved = replace(capture, points=replace(capture.points, positions=positions))
    survey = survey_capture(moved, everyone(capture))
    assert survey.positions[survey.trusted, 2].min() > -1
