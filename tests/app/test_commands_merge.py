"""`scene3d merge`: a run in blocks merged anew, its table, its holes and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from blocks.block_folder import BlockFolder
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.images import write_image
from scene3d.io.ply import read_gaussians_ply
from scene3d.training.run_folder import RunFolder
from tests.blocks.two_blocks import (
    FOCAL,
    HEIGHT,
    WIDTH,
    Photographs,
    make_cameras,
    make_floaters,
    make_model,
    make_plan,
    make_town,
    view_name,
    write_run,
)


def merge(*words: str) -> int:
    """The command without the training at its end."""
    return main(["merge", *words, "--refine-iterations", "0"])


OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture, and a run of two blocks beside it; thirty floaters hang over the first block."""
    folder = tmp_path_factory.mktemp("merge")
    town, cameras = make_town(), make_cameras()
    plan = make_plan(cameras)
    photographs = Photographs(town, cameras)
    frames = []
    (folder / "capture").mkdir()
    for index, camera in enumerate(cameras):
        write_image(folder / "capture" / view_name(index), photographs.load(index).image)
        there = camera.transformed(plan.world_from_capture.inverse()).world_from_cam @ OPENGL_FROM_OPENCV
        frames.append({"file_path": view_name(index), "transform_matrix": there.tolist()})
    lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    (folder / "capture" / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    floaters = make_floaters([-0.15, -0.6, 0.3], [-0.01, 0.6, 0.6], 30, opacity=0.9)
    models = {0: Gaussians.concatenate([make_model(town, 1), floaters]), 1: make_model(town, 2)}
    run = write_run(folder / "run", plan, models)
    record = {
        "schema_version": 1,
        "capture": str(folder / "capture"),
        "world_from_capture": plan.world_from_capture.to_record(),
        "split": {"rule": "none", "train": list(plan.views), "test": []},
    }
    run.capture.write_text(json.dumps(record))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunFolder:
    """A copy that a test may damage; its capture stays where it is."""
    return RunFolder(Path(shutil.copytree(finished / "run", tmp_path / "run")))


def table_of(printed: str) -> dict[str, dict[str, str]]:
    """Cells of the printed table by block and title."""
    lines = [line.split() for line in printed.splitlines()]
    titles = lines[0]
    assert titles == ["block", "views", "points", "load", "kept", "dropped", "removed", "seconds"]
    return {line[0]: dict(zip(titles, line, strict=True)) for line in lines[1:] if len(line) == len(titles)}


def test_merging_prints_the_blocks_and_removes_floaters(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert merge(str(run.root)) == 0
    printed = capsys.readouterr().out
    table = table_of(printed)
    assert set(table) == {"b0", "b1"}
    assert int(table["b0"]["removed"]) >= 24
    assert table["b1"]["removed"] == "0"
    assert table["b0"]["seconds"] == "2"
    manifest = json.loads(run.manifest.read_text())
    kept = [int(row["kept"].replace(",", "")) for row in table.values()]
    assert manifest["num_gaussians"] == sum(kept) + manifest["num_far"] == len(read_gaussians_ply(run.merged_scene))
    assert f"{manifest['audit']['num_removed']} of {manifest['audit']['num_suspects']} suspects removed" in printed
    assert "PSNR" in printed
    assert not (run.root / "run.lock").exists()


def test_the_audit_can_be_left_out(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert merge(str(run.root), "--no-audit") == 0
    printed = capsys.readouterr().out
    assert table_of(printed)["b0"]["removed"] == "0"
    assert "not audited: not asked for" in printed


def test_a_capture_that_was_moved_is_found_where_it_is_said_to_be(
    run: RunFolder, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(run.capture.read_text())
    run.capture.write_text(json.dumps({**record, "capture": str(tmp_path / "gone")}))
    assert merge(str(run.root)) == 0
    printed = capsys.readouterr()
    assert "not audited: the capture is not at hand" in printed.out
    assert "give --capture FOLDER" in printed.err
    assert merge(str(run.root), "--capture", str(finished / "capture")) == 0
    assert int(table_of(capsys.readouterr().out)["b0"]["removed"]) >= 24
    assert merge(str(run.root), "--capture", str(tmp_path / "gone")) == 4


def test_a_missing_block_ends_with_partial_and_is_named(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder = BlockFolder(run.blocks / "b1")
    folder.record.unlink()
    folder.failure.write_text('{"schema_version": 1, "reason": "out of memory"}')
    assert merge(str(run.root)) == 3
    printed = capsys.readouterr().out
    assert set(table_of(printed)) == {"b0"}
    assert "hole: block b1 (50.0% of the ground): training failed: out of memory; train it with" in printed


def test_what_cannot_be_merged_is_refused(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert merge(str(tmp_path / "absent")) == 4
    shutil.rmtree(run.blocks)
    assert merge(str(run.root)) == 4
    assert "none of the 2 blocks can be used" in capsys.readouterr().err
    run.plan.unlink()
    assert merge(str(run.root)) == 4
    assert "no blocks to merge" in capsys.readouterr().err
    assert merge(str(run.root), "--audit-tolerance", "2") == 2
