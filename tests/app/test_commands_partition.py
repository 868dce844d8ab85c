"""`scene3d partition` divides, writes plan and map, and says what it did."""

import json

import numpy as np
import pytest
from PIL import Image

from app.cli import main, parse
from app.commands.partition import PartitionFlags, count_memberships, find_num_blocks, format_table, summarise
from blocks.cells import Cell, Cut, GroundFrame
from blocks.map_canvas import MAP_WIDTH_PX
from blocks.partition_settings import PartitionSettings
from blocks.plan import BlockPlan, PlannedBlock, read_plan
from scene3d.errors import SettingsError
from scene3d.geometry.similarity import Similarity
from scene3d.training.preparation import prepare_training
from scene3d.training.settings import ReconstructSettings
from tests.synthetic_captures import tiny_capture as tiny_capture

CELL = Cell(
    low=(0.0, 0.0),
    high=(1.0, 1.0),
    bottom=0.0,
    top=1.0,
    margin=(0.05, 0.05),
    shared=(False, False, False, False),
)


def make_uneven_plan() -> BlockPlan:
    """Two blocks of one and three units of ground; of five views one is in both and one in neither."""
    wide = Cell(low=(1.0, 0.0), high=(4.0, 1.0), bottom=0.0, top=1.0, margin=(0.1, 0.1), shared=CELL.shared)
    blocks = (
        PlannedBlock(block_id="000", cell=CELL, views=(0, 1), load=1000, num_points=700, num_pixels=1),
        PlannedBlock(block_id="001", cell=wide, views=(1, 2, 3), load=3000, num_points=12_345, num_pixels=1),
    )
    return BlockPlan(
        method="load",
        frame=GroundFrame(center=(0.0, 0.0), angle_rad=0.0),
        region=np.zeros((3, 2)),
        tree=Cut(0, 1.0, 0, 1),
        middle=(0.0, 0.0, 0.0),
        radius=1.0,
        views=("a", "b", "c", "d", "e"),
        blocks=blocks,
        num_uncovered_points=1234,
        world_from_capture=Similarity.identity(),
    )


def failing(words, code, capsys) -> str:
    """Run a command that must fail with this code, and give its line."""
    assert main([str(word) for word in words]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("scene3d: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_capture_becomes_a_plan_and_a_map_beside_it(tiny_capture, tmp_path, capsys):
    assert main(["partition", str(tiny_capture), "-o", str(tmp_path / "plan.json"), "--blocks", "2"]) == 0
    plan = read_plan(tmp_path / "plan.json")
    assert len(plan.blocks) == 2
    with Image.open(tmp_path / "plan.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == MAP_WIDTH_PX
    printed = capsys.readouterr().out
    assert format_table(plan) in printed
    assert summarise(plan) in printed
    assert all(f"note: {text}" in printed for text in plan.findings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "plan.png"]


def test_held_out_views_are_in_no_block(tiny_capture, tmp_path):
    assert main(["partition", str(tiny_capture), "-o", str(tmp_path / "plan"), "--map", str(tmp_path / "m.png")]) == 0
    prepared = prepare_training(tiny_capture, ReconstructSettings())
    names = json.loads((tmp_path / "plan.json").read_text())["views"]
    assert names == [prepared.capture.views[i].name for i in prepared.split.train]
    assert (tmp_path / "m.png").is_file()


@pytest.mark.parametrize("name", ["plan.json", "plan.png"])
def test_an_existing_file_is_replaced_only_by_force(tiny_capture, tmp_path, capsys, name):
    (tmp_path / name).write_text("precious")
    words = ["partition", tiny_capture, "-o", tmp_path / "plan.json"]
    assert "add --force" in failing(words, 4, capsys)
    assert (tmp_path / name).read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert main([*map(str, words), "--force"]) == 0
    assert len(read_plan(tmp_path / "plan.json").blocks) >= 1


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["-o", "plan.yaml"], 2, "ends with '.yaml'"),
        (["-o", "plan.json", "--map", "plan.jpg"], 2, "ends with '.jpg'"),
        (["-o", "plan.json", "--memory-gb", "2"], 2, "--blocks auto"),
        (["-o", "plan.json", "--blocks", "many"], 2, "many"),
        (["-o", "plan.json", "--blocks", "0"], 2, "at least 1"),
        (["-o", "plan.json", "--expand-ratio", "3"], 2, "expand_ratio"),
        (["-o", "plan.json", "--blocks", "40"], 4, "40 blocks are not possible"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    tiny_capture, tmp_path, monkeypatch, capsys, more, code, message
):
    monkeypatch.chdir(tmp_path)
    assert message in failing(["partition", tiny_capture, *more], code, capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_a_partition_are_flags():
    command = parse("partition", ["CAPTURE", "-o", "plan.json", "--method", "grid", "--min-views", "7"])
    assert command.settings == PartitionFlags(method="grid", min_views=7)
    assert PartitionFlags().blocks is PartitionSettings().blocks is None
    with pytest.raises(SettingsError):
        parse("partition", ["CAPTURE", "-o", "plan.json", "--settings.blocks", "3"])


def test_auto_asks_the_memory_and_a_number_stands(monkeypatch, tiny_capture):
    asked = []

    def choose(capture, split, settings):
        asked.append(settings.memory_gb)
        return 5

    monkeypatch.setattr("blocks.memory.choose_num_blocks", choose)
    prepared = prepare_training(tiny_capture, ReconstructSettings())
    for more, expected in (
        (["--blocks", "auto", "--memory-gb", "1.5"], 5),
        (["--blocks", "auto"], 5),
        (["--blocks", "3"], 3),
        ([], None),
    ):
        assert find_num_blocks(parse("partition", ["CAPTURE", "-o", "p.json", *more]), prepared) == expected
    assert asked == [1.5, ReconstructSettings().memory_gb]


def test_the_table_gives_each_block_its_figures_and_share_of_the_ground():
    rows = [line.split() for line in format_table(make_uneven_plan()).splitlines()]
    assert rows == [
        ["block", "views", "points", "load", "area"],
        ["000", "2", "700", "1,000", "25.0%"],
        ["001", "3", "12,345", "3,000", "75.0%"],
    ]


def test_the_summary_tells_balance_coverage_and_holes():
    plan = make_uneven_plan()
    line = summarise(plan)
    assert "coefficient of variation of the load 0.50" in line
    assert "1,234 points uncovered" in line
    assert "no holes" in line
    assert count_memberships(plan) == "1 block 3, 2 blocks 1, 3 or more 0, none 1"
