"""Partitions of awkward captures: few views, no tracks, no points, missing photographs, regions from files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blocks.partition import make_plan
from blocks.partition_settings import PartitionSettings
from blocks.plan import BlockPlan, read_plan, write_plan
from scene3d.data.capture import Capture, SparsePoints
from scene3d.data.reading import read_capture
from scene3d.data.split import split_views
from scene3d.errors import InputError, SettingsError
from scene3d.geometry.similarity import Similarity
from tests.blocks.flights import BREADTH, LENGTH, everyone, flight
from tests.scene3d.data.rigs import nadir, write_capture


@pytest.fixture(scope="module")
def capture() -> Capture:
    return flight()


def plan_of(capture: Capture, **settings) -> BlockPlan:
    return make_plan(capture, everyone(capture), PartitionSettings(**settings))


def test_a_few_views_can_be_divided(capture):
    small = flight(1200, columns=7, rows=4, height=3.0)
    plan = plan_of(small, blocks=4)
    assert len(small.views) == 28
    assert len(plan.blocks) == 4
    assert any("the capture is small: 7 views and" in finding for finding in plan.findings)


def test_views_without_points_are_named_and_lost_views_find_a_block(capture):
    points = capture.points
    dropped = points.track_views != 5
    counts = np.bincount(points.track_points[dropped], minlength=len(points))
    blind = replace(
        points,
        track_offsets=np.concatenate([[0], np.cumsum(counts)]),
        track_views=points.track_views[dropped],
    )
    plan = plan_of(replace(capture, points=blind), blocks=4, cover_view=0.95, cover_block=0.9)
    finding = next(each for each in plan.findings if "see no sparse point" in each)
    assert finding == f"1 of {len(capture.views)} training views see no sparse point and belong to no block: 0005.png"
    used = [view for block in plan.blocks for view in block.views]
    assert sorted(set(used)) == sorted(set(range(len(capture.views))) - {5})


@pytest.mark.parametrize("kind", ["no tracks", "no points"])
def test_captures_without_tracks_or_points_are_divided(capture, kind):
    count = len(capture.points)
    points = replace(capture.points, track_offsets=np.zeros(count + 1, np.int64), track_views=np.zeros(0, np.int64))
    bare = replace(capture, points=points if kind == "no tracks" else SparsePoints.empty())
    plan = plan_of(bare, blocks=4)
    assert len(plan.blocks) == 4
    assert {view for block in plan.blocks for view in block.views} == set(range(len(capture.views)))
    if kind == "no tracks":
        by_tracks = plan_of(capture, blocks=4).blocks
        assert np.allclose([b.load for b in plan.blocks], [b.load for b in by_tracks], rtol=0.05)


@pytest.mark.parametrize("with_heights", [True, False])
def test_a_region_from_a_file_is_in_the_coordinates_of_the_capture(capture, tmp_path, with_heights):
    there = capture.transformed(
        Similarity(0.2, Rotation.from_rotvec([0.1, 0.05, 1.0]).as_matrix(), np.array([3.0, 4.0, 5.0]))
    )
    side = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [0.25 * LENGTH, 0.25 * BREADTH, 0]
    path = tmp_path / "region.json"
    path.write_text(json.dumps((side if with_heights else side[:, :2]).tolist()))
    plan = plan_of(there, blocks=2, region_file=path)
    assert np.allclose(sorted(np.subtract(plan.blocks[1].cell.high, plan.blocks[0].cell.low)), [0.9, 1.4], rtol=0.02)
    assert np.allclose(plan.middle[:2], there.world_from_capture.apply(np.zeros(3))[:2], atol=0.02)
    assert plan.num_uncovered_points > 0
    assert "the region is that of region.json" in plan.findings


def test_a_region_beside_the_scene_is_refused(capture, tmp_path):
    path = tmp_path / "region.txt"
    path.write_text("1000 1000\n1001 1000\n1001 1001\n")
    with pytest.raises(InputError, match=r"none of the .* sparse points lies in this region"):
        plan_of(capture, region_file=path)


def test_plans_survive_their_files(capture, tmp_path):
    plan = plan_of(capture, blocks=8)
    write_plan(tmp_path / "plan.json", plan)
    assert read_plan(tmp_path / "plan.json").sha256 == plan.sha256
    assert plan_of(capture, blocks=8).sha256 == plan.sha256


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": 0}, "blocks is 0"),
        ({"blocks": 100_000}, "at most 4096"),
        ({"max_blocks": 0}, "max_blocks is 0"),
        ({"point_budget": 0}, "point_budget is 0"),
        ({"expand_ratio": -0.1}, "expand_ratio is -0.1"),
        ({"cover_view": 1.0}, "cover_view is 1.0"),
        ({"cover_block": float("nan")}, "cover_block is nan"),
        ({"max_aspect": 0.5}, "max_aspect is 0.5"),
        ({"num_candidates": 33}, "num_candidates is 33"),
        ({"min_gain": 1.5}, "min_gain is 1.5"),
        ({"min_views": 0}, "min_views is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        PartitionSettings(**settings)


def test_tracks_of_photographs_that_are_missing_are_left_out(tmp_path):
    folder = write_capture(tmp_path, nadir())
    for name in ("0000.png", "0017.png"):
        (folder / "images" / name).unlink()
    capture = read_capture(folder)
    split = split_views(capture)
    plan = make_plan(capture, split, PartitionSettings(blocks=2))
    assert len(capture.views) == 34
    assert set(plan.views) == {capture.views[index].name for index in split.train}
    assert all(block.views[-1] < len(plan.views) for block in plan.blocks)
