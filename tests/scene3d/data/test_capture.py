"""Records of a capture: points by mask and by view, and moving between frames."""

import numpy as np

from scene3d.geometry.rotations import matrices_from_quats
from scene3d.geometry.similarity import Similarity
from tests.scene3d.data import rigs

RIG = rigs.oblique()


def tracks_of(points) -> list[set[int]]:
    return [set(part.tolist()) for part in np.split(points.track_views, points.track_offsets[1:-1])]


def test_a_subset_keeps_the_tracks_of_its_points():
    keep = np.arange(len(RIG.points)) % 3 == 0
    subset = RIG.points.subset(keep)
    np.testing.assert_array_equal(subset.positions, RIG.points.positions[keep])
    assert tracks_of(subset) == tracks_of(RIG.points)[::3]


def test_points_seen_by_some_views_know_of_no_other_view():
    wanted = {1, 4, 9}
    points = RIG.points.seen_by(wanted)
    assert set(points.track_views.tolist()) <= wanted
    # Points that nobody is known to have seen stay.
    assert tracks_of(points) == [track & wanted for track in tracks_of(RIG.points) if track & wanted or not track]


def test_points_that_only_other_views_saw_are_gone():
    points = RIG.points.seen_by([i for i in range(36) if i != 5])
    lost = sum(track == {5} for track in tracks_of(RIG.points))
    untracked = sum(not track for track in tracks_of(RIG.points))
    assert len(points) == len(RIG.points) - lost
    assert untracked == sum(not track for track in tracks_of(points))


def test_a_least_number_of_views_is_honoured():
    points = RIG.points.seen_by(range(36), min_views=5)
    assert (points.track_lengths[points.track_lengths > 0] >= 5).all()
    assert len(points) < len(RIG.points)


def test_every_track_entry_names_its_point():
    points = RIG.points
    for entry in range(0, len(points.track_views), 211):
        owner = points.track_points[entry]
        assert points.track_offsets[owner] <= entry < points.track_offsets[owner + 1]


def test_two_moves_are_remembered_as_one():
    first = Similarity(2.0, matrices_from_quats(np.array([0.9, 0.1, -0.3, 0.2])), np.array([1.0, -2.0, 3.0]))
    second = Similarity(0.1, matrices_from_quats(np.array([0.2, 0.7, 0.3, -0.2])), np.array([5.0, 6.0, 7.0]))
    moved = RIG.transformed(first).transformed(second)
    back = moved.world_from_capture.inverse().apply(moved.points.positions)
    np.testing.assert_allclose(back, RIG.points.positions, atol=1e-9)
    np.testing.assert_allclose(
        moved.views[3].camera.center, (second @ first).apply(RIG.views[3].camera.center), atol=1e-9
    )
