"""A run in blocks is measured at its seams too, and its metrics name blocks and holes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.block_figures import collect_blocks, collect_holes, explain_missing, read_run_plan
from app.cli import main
from app.evaluating import format_table
from blocks.partition import make_plan
from blocks.partition_settings import PartitionSettings
from blocks.plan import BlockPlan, write_plan
from blocks.plan_map import draw_plan
from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity
from scene3d.training.preparation import prepare_training
from scene3d.training.settings import ReconstructSettings
from tests.synthetic_captures import tiny_capture as tiny_capture

HOLE = {"block_id": "001", "reason": "training failed: too dark", "area_share": 0.5, "remedy": "resume"}


@pytest.fixture(scope="module")
def finished(tiny_capture, tmp_path_factory):
    """A run in one piece, and a plan of two blocks of the same capture."""
    folder = tmp_path_factory.mktemp("seams")
    words = ["--iterations", "30", "--eval-every", "0", "--sh-degree", "0", "--no-evaluate"]
    assert main(["reconstruct", str(tiny_capture), "--output", str(folder / "run"), *words]) == 0
    prepared = prepare_training(tiny_capture, ReconstructSettings())
    return folder / "run", make_plan(prepared.capture, prepared.split, PartitionSettings(blocks=2)), prepared


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy with a plan, as if it had been made in blocks and one of them had failed."""
    source, plan, prepared = finished
    folder = shutil.copytree(source, tmp_path / "run")
    write_plan(folder / "plan.json", plan)
    draw_plan(plan, prepared.capture, folder / "plan.png")
    manifest = json.loads((folder / "merged" / "manifest.json").read_text())
    block = {"block_id": "000", "num_kept": 7, "num_dropped": 2, "train_seconds": 1.5, "peak_memory_bytes": 9}
    manifest |= {"blocks": [block], "holes": [HOLE]}
    (folder / "merged" / "manifest.json").write_text(json.dumps(manifest))
    return folder


def read_metrics(run: Path) -> dict:
    return json.loads((run / "eval" / "metrics.json").read_text())


def test_evaluate_measures_seams_and_names_blocks_and_holes(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    record, table = read_metrics(run), capsys.readouterr().out
    for kind, shown in (("seam_band", "seam band"), ("interior", "interior")):
        assert set(record[kind]) == set(record["raw"])
        assert f"{shown:<10}{record[kind]['psnr_db']:>10.2f}" in table
        assert all(set(view["regions"][kind]) == {*record["raw"], "used_share"} for view in record["per_view"])
    assert "hole: block 001 is missing (training failed: too dark)" in table
    assert record["holes"] == [HOLE]
    assert [block["num_kept"] for block in record["blocks"]] == [7, None]
    assert "001: a hole, training failed: too dark" in record["reasons"]["blocks"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "map of the blocks" in page
    assert "seam band" in page


def test_seam_and_interior_share_the_error_of_the_view(run):
    assert main(["evaluate", str(run)]) == 0
    for view in read_metrics(run)["per_view"]:
        parts = view["regions"].values()
        error = sum(part["used_share"] * 10 ** (-part["psnr_db"] / 10) for part in parts if part["psnr_db"] is not None)
        whole = 10 ** (-view["raw"]["psnr_db"] / 10)
        assert sum(part["used_share"] for part in parts) <= 1 + 1e-6
        assert error <= whole * (1 + 1e-6)


def test_a_run_without_a_plan_has_no_figures_of_seams(run, capsys):
    (run / "plan.json").unlink()
    assert main(["evaluate", str(run)]) == 0
    assert not {"seam_band", "interior", "blocks"} & set(read_metrics(run))
    assert "seam band" not in capsys.readouterr().out


def test_a_plan_of_one_block_counts_as_none(finished, tmp_path):
    prepared = finished[2]
    write_plan(tmp_path / "plan.json", make_plan(prepared.capture, prepared.split, PartitionSettings(blocks=1)))
    assert read_run_plan(tmp_path / "plan.json", prepared.capture.world_from_capture) is None
    assert read_run_plan(tmp_path / "nothing.json", prepared.capture.world_from_capture) is None


def test_a_plan_of_another_frame_is_refused(finished, tmp_path):
    plan: BlockPlan = finished[1]
    write_plan(tmp_path / "plan.json", plan)
    ours = plan.world_from_capture
    assert read_run_plan(tmp_path / "plan.json", ours) is not None
    moved = Similarity(1.0, np.eye(3), np.array([0.01, 0.0, 0.0])) @ ours
    with pytest.raises(InputError, match="another frame"):
        read_run_plan(tmp_path / "plan.json", moved)


@pytest.mark.parametrize("manifest", [{}, {"blocks": 3, "holes": "x"}, {"blocks": [1], "holes": [None]}])
def test_what_the_manifest_lacks_is_null_with_a_reason(finished, manifest):
    plan = finished[1]
    blocks = collect_blocks(plan, manifest)
    assert collect_holes(manifest) == []
    for block, planned in zip(blocks, plan.blocks, strict=True):
        assert (block["block_id"], block["load"]) == (planned.block_id, planned.load)
        assert (block["num_views"], block["num_points"]) == (len(planned.views), planned.num_points)
        assert block["num_kept"] is block["train_seconds"] is None
    reason = explain_missing(blocks, [])
    assert all(f"{planned.block_id}: the manifest" in reason for planned in plan.blocks)


def test_complete_blocks_need_no_reason(finished):
    names = ("num_kept", "num_dropped", "train_seconds", "peak_memory_bytes")
    listed = [{"block_id": block.block_id, **dict.fromkeys(names, 1)} for block in finished[1].blocks]
    assert explain_missing(collect_blocks(finished[1], {"blocks": listed}), []) == ""


def test_the_table_calls_a_list_incomplete_and_a_figure_not_available():
    figures = {"psnr_db": 20.0, "ssim": 0.5, "lpips": None}
    record = {
        "raw": figures,
        "corrected": figures,
        "protocol": {"num_views": 2, "split": "by hand"},
        "num_gaussians": 10,
        "blocks": [{}],
        "reasons": {"lpips": "no weights", "blocks": "one is gone"},
    }
    table = format_table(record)
    assert "lpips: not available (no weights)" in table
    assert "blocks: incomplete (one is gone)" in table
