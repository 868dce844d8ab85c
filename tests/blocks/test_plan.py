"""The plan of a large scene: who owns what, and the file that remembers it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blocks.cells import Cell, Cut, GroundFrame
from blocks.plan import FAR, BlockPlan, PlannedBlock, coefficient_of_variation, read_plan, write_plan
from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity
from scene3d.io.atomic import write_json
from scene3d.io.bounded_json import read_json_object


def make_plan_of_two() -> BlockPlan:
    """A square of side 2 about the origin, cut at x = 0."""
    blocks = []
    for index, (low, high) in enumerate(((-1.0, 0.0), (0.0, 1.0))):
        cell = Cell(
            low=(low, -1.0),
            high=(high, 1.0),
            bottom=-0.5,
            top=0.5,
            margin=(0.05, 0.1),
            shared=(index == 1, False, index == 0, False),
        )
        views = (0, 1) if index == 0 else (1, 2)
        load = 100 + 100 * index
        blocks.append(
            PlannedBlock(block_id=f"{index:03d}", cell=cell, views=views, load=load, num_points=50, num_pixels=999)
        )
    return BlockPlan(
        method="load",
        frame=GroundFrame(center=(0.0, 0.0), angle_rad=0.0),
        region=np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),
        tree=Cut(0, 0.0, 0, 1),
        middle=(0.0, 0.0, 0.0),
        radius=np.sqrt(2.0),
        views=("a.jpg", "b.jpg", "c.jpg"),
        blocks=tuple(blocks),
        num_uncovered_points=3,
        world_from_capture=Similarity(2.0, np.eye(3), np.array([1.0, 2.0, 3.0])),
        findings=("2 blocks were asked for",),
    )


def test_a_plan_survives_its_file(tmp_path):
    plan = make_plan_of_two()
    write_plan(tmp_path / "plan.json", plan)
    again = read_plan(tmp_path / "plan.json")
    assert again.to_record() == plan.to_record()
    assert again.sha256 == plan.sha256


def test_the_hash_knows_every_change():
    plan = make_plan_of_two()
    changed = [
        replace(plan, method="grid"),
        replace(plan, tree=Cut(0, 1e-15, 0, 1)),
        replace(plan, blocks=(plan.blocks[0], replace(plan.blocks[1], views=(1,)))),
    ]
    assert len({plan.sha256, *(each.sha256 for each in changed)}) == 4


def test_places_far_outside_are_owned_by_nobody():
    points = np.array([[-0.1, 5.0, 0.0], [0.0, 0.0, 4.2], [0.0, 0.0, 4.3], [100.0, 0.0, 0.0]])
    assert make_plan_of_two().owners(points).tolist() == [FAR, 1, FAR, FAR]


def test_blocks_grow_in_their_margins_but_not_above_their_points():
    points = np.array([[0.04, 0.0, 0.0], [0.06, 0.0, 0.0], [-0.5, 1.1, 0.0], [-0.5, 0.0, 0.6]])
    assert make_plan_of_two().may_grow(0, points).tolist() == [True, False, True, False]


def test_the_seam_is_where_the_blocks_meet():
    points = np.array([[0.04, 0.0, 0.0], [-0.04, 0.0, 9.0], [0.06, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    assert make_plan_of_two().in_seam_band(points).tolist() == [True, True, False, False]


def test_unevenness_is_spread_over_mean():
    assert coefficient_of_variation(make_plan_of_two()) == pytest.approx(50 / 150)


def test_a_tree_of_other_cells_is_refused():
    with pytest.raises(InputError, match="3 cells are not the 2 blocks"):
        replace(make_plan_of_two(), tree=Cut(0, 0.0, 0, Cut(1, 0.0, 1, 2)))


def damage(record: dict, kind: str) -> None:
    if kind == "layout":
        record["schema_version"] = 99
    elif kind == "views":
        record["blocks"][0]["views"] = [0, 3]
    elif kind == "negative view":
        record["blocks"][0]["views"] = [-1]
    elif kind == "missing":
        del record["tree"]
    elif kind == "type":
        record["blocks"] = 7
    elif kind == "cut":
        record["tree"]["axis"] = 5
    elif kind == "cell":
        record["blocks"][1]["cell"]["low"] = [9, 9]


@pytest.mark.parametrize("kind", ["layout", "views", "negative view", "missing", "type", "cut", "cell"])
def test_damaged_plans_are_refused_in_one_line(tmp_path: Path, kind: str):
    path = tmp_path / "plan.json"
    write_plan(path, make_plan_of_two())
    record = read_json_object(path)
    damage(record, kind)
    write_json(path, record)
    with pytest.raises(InputError, match=r"plan\.json"):
        read_plan(path)


def test_a_missing_plan_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(tmp_path / "plan.json")
