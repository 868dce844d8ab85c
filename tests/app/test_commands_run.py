"""The commands on a run folder: one tiny reconstruction, looked at from all sides."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.cli import main
from app.scenes import open_capture, open_scene, pick_cameras
from scene3d.data.synthetic import SyntheticSettings, make_capture
from scene3d.errors import InputError
from scene3d.events import Quiet, read_events
from scene3d.io.ply import read_gaussians_ply

NUM_VIEWS = 9
HELD_OUT = 2
"""Every eighth of nine."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A capture of nine small photographs."""
    folder = tmp_path_factory.mktemp("place")
    settings = SyntheticSettings(
        num_views=NUM_VIEWS, width=64, height=48, extent_m=40.0, num_points=500, write_depth=False, moved=True
    )
    return make_capture(folder / "capture", settings)


@pytest.fixture(scope="module")
def finished(place):
    """A run of it by the command line."""
    words = ["--iterations", "30", "--eval-every", "0", "--checkpoint-every", "10", "--sh-degree", "0"]
    assert main(["reconstruct", str(place), "--output", str(place.parent / "run"), *words]) == 0
    return place.parent / "run"


@pytest.fixture
def run(finished, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(finished, tmp_path / "run")


def last_line(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_reconstruct_leaves_a_whole_run_folder(finished):
    for name in (
        "config.yaml",
        "events.jsonl",
        "merged/scene.ply",
        "merged/manifest.json",
        "eval/metrics.json",
        "report.html",
    ):
        assert (finished / name).is_file(), name
    assert "iterations: 30" in (finished / "config.yaml").read_text()
    stages = {event.get("stage") for event in read_events(finished / "events.jsonl")}
    assert {"train", "evaluate"} <= stages


def test_the_metrics_are_of_the_held_out_views_only(finished):
    record = json.loads((finished / "eval" / "metrics.json").read_text())
    held_out = json.loads((finished / "capture.json").read_text())["split"]["test"]
    assert sorted(view["name"] for view in record["per_view"]) == sorted(held_out)
    assert len(held_out) == HELD_OUT
    assert record["raw"]["psnr_db"] > 5
    assert record["iterations"] == 30
    assert record["size_bytes"] == (finished / "merged" / "scene.ply").stat().st_size


def test_the_same_folder_is_not_trained_into_twice(finished, place, capsys):
    before = (finished / "merged" / "scene.ply").read_bytes()
    assert main(["reconstruct", str(place), "--output", str(finished)]) == 4
    assert "--resume" in last_line(capsys)
    assert (finished / "merged" / "scene.ply").read_bytes() == before


def test_a_finished_run_resumed_is_the_same_scene(run, place, finished):
    assert main(["reconstruct", str(place), "--output", str(run), "--resume", "--no-evaluate"]) == 0
    assert (run / "merged" / "scene.ply").read_bytes() == (finished / "merged" / "scene.ply").read_bytes()


def test_resuming_with_other_settings_is_refused(run, place, capsys):
    assert main(["reconstruct", str(place), "--output", str(run), "--resume", "--seed", "9"]) == 4
    assert "other settings" in last_line(capsys)


def test_evaluate_prints_the_table_it_writes(run, capsys):
    shutil.rmtree(run / "eval")
    assert main(["evaluate", str(run)]) == 0
    table = capsys.readouterr().out
    record = json.loads((run / "eval" / "metrics.json").read_text())
    assert f"{record['raw']['psnr_db']:.2f}" in table
    assert f"{record['corrected']['ssim']:.4f}" in table
    assert f"over {HELD_OUT} held-out views" in table


def test_evaluate_twice_gives_the_same_figures(run, finished):
    assert main(["evaluate", str(run)]) == 0
    first, second = (json.loads((each / "eval" / "metrics.json").read_text()) for each in (finished, run))
    assert first == second


def test_a_figure_that_is_missing_says_why(run, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SCENE3D_WEIGHTS", str(tmp_path / "nowhere"))
    monkeypatch.setenv("SCENE3D_CACHE", str(tmp_path / "nowhere"))
    assert main(["evaluate", str(run)]) == 0
    assert "lpips: not available (" in capsys.readouterr().out
    assert json.loads((run / "eval" / "metrics.json").read_text())["raw"]["lpips"] is None


def test_a_capture_that_was_moved_is_found_by_its_flag(run, place, capsys, tmp_path):
    moved = shutil.copytree(place, tmp_path / "moved")
    record = json.loads((run / "capture.json").read_text())
    (run / "capture.json").write_text(json.dumps({**record, "capture": str(tmp_path / "gone")}))
    assert main(["evaluate", str(run)]) == 4
    assert "--capture" in last_line(capsys)
    assert main(["evaluate", str(run), "--capture", str(moved)]) == 0


def test_held_out_views_that_are_gone_make_the_result_partial(run, place, tmp_path, capsys):
    moved = shutil.copytree(place, tmp_path / "moved")
    gone = json.loads((run / "capture.json").read_text())["split"]["test"][0]
    (moved / "images" / Path(gone).name).unlink()
    assert main(["evaluate", str(run), "--capture", str(moved)]) == 3
    assert "1 held-out views are gone" in capsys.readouterr().err
    assert len(json.loads((run / "eval" / "metrics.json").read_text())["per_view"]) == HELD_OUT - 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "merged" / "manifest.json").unlink(), "not finished"),
        (lambda run: (run / "merged" / "manifest.json").write_text("{"), "damaged"),
        (lambda run: (run / "merged" / "scene.ply").write_text("ply"), "scene.ply"),
        (lambda run: (run / "capture.json").unlink(), "no reconstruction here"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "render", "export"])
def test_a_damaged_run_is_refused_in_one_line(run, capsys, command, damage, message):
    damage(run)
    more = ["-o", str(run / "out.ply")] if command == "export" else []
    assert main([command, str(run), *more]) == 4
    assert message in last_line(capsys)


def test_render_shows_the_held_out_views_as_evaluation_saw_them(run, place):
    assert main(["render", str(run)]) == 0
    pictures = sorted((run / "renders").glob("*.png"))
    held_out = json.loads((run / "capture.json").read_text())["split"]["test"]
    assert [path.stem for path in pictures] == sorted(Path(name).stem for name in held_out)
    for path in pictures:
        rendered, photo = (
            np.asarray(Image.open(each).convert("RGB"), float) for each in (path, place / "images" / path.name)
        )
        mse = np.mean((rendered - photo) ** 2)
        assert 10 * np.log10(255**2 / mse) > 8


def test_render_of_named_views_in_another_width_with_depth(run, tmp_path):
    name = json.loads((run / "capture.json").read_text())["split"]["train"][0]
    words = ["render", str(run), "-o", str(tmp_path / "out"), "--views", name, "--width", "32", "--depth"]
    assert main(words) == 0
    (picture,) = (tmp_path / "out").iterdir()
    assert picture.name == f"{Path(name).stem}_depth.png"
    with Image.open(picture) as image:
        assert image.size == (32, 24)


def test_a_view_that_is_not_there_is_named(run, capsys):
    assert main(["render", str(run), "--views", "nobody.png"]) == 4
    assert "there is no view 'nobody.png'" in last_line(capsys)


@pytest.mark.parametrize("path", ["orbit", "flythrough", "interpolate"])
def test_every_path_makes_a_film(run, tmp_path, path):
    film = tmp_path / "film.gif"
    words = [
        "render",
        str(run),
        "--path",
        path,
        "--frames",
        "4",
        "--width",
        "24",
        "--video",
        str(film),
        "--views",
        "all",
    ]
    assert main(words) == 0
    with Image.open(film) as picture:
        assert picture.size == (24, 18)


def test_export_of_a_run_is_its_scene_again(run, tmp_path):
    assert main(["export", str(run), "-o", str(tmp_path / "a.ply")]) == 0
    ours, again = read_gaussians_ply(run / "merged" / "scene.ply"), read_gaussians_ply(tmp_path / "a.ply")
    torch.testing.assert_close(again.means, ours.means, rtol=1e-4, atol=1e-4 * float(ours.means.abs().max()))
    torch.testing.assert_close(again.log_scales, ours.log_scales, rtol=1e-4, atol=1e-4)


def test_clean_of_a_run_uses_its_views_and_keeps_the_run(run, tmp_path, capsys):
    before = (run / "merged" / "scene.ply").read_bytes()
    assert main(["clean", str(run), "-o", str(tmp_path / "a.ply")]) == 0
    assert "unseen" in capsys.readouterr().out
    assert 0 < len(read_gaussians_ply(tmp_path / "a.ply")) <= len(read_gaussians_ply(run / "merged" / "scene.ply"))
    assert (run / "merged" / "scene.ply").read_bytes() == before


def test_the_cameras_of_a_run_are_in_the_frame_of_its_gaussians(run):
    scene = open_scene(run, Quiet())
    cameras = pick_cameras(scene, open_capture(scene, None), ["all"])
    assert len(cameras) == NUM_VIEWS
    means = scene.gaussians.means.double().numpy()
    for camera in cameras.values():
        in_cam = means @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
        pixels = in_cam @ camera.K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        inside = (
            (in_cam[:, 2] > 0) & (pixels >= 0).all(1) & (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
        )
        assert inside.mean() > 0.05


def test_without_names_the_held_out_views_are_picked(run):
    scene = open_scene(run, Quiet())
    capture = open_capture(scene, None)
    assert tuple(pick_cameras(scene, capture, ())) == scene.held_out
    with pytest.raises(InputError, match="names look like"):
        pick_cameras(scene, capture, ["x"])


def test_inspect_finds_nothing_to_stop_for(place, capsys):
    assert main(["inspect", str(place), "--decode"]) == 0
    assert f"{NUM_VIEWS} photographs (64 x 48 pixels)" in capsys.readouterr().out
    assert main(["inspect", str(place), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["num_views"] == NUM_VIEWS
    assert all(finding["severity"] in ("info", "warning") for finding in record["findings"])


def test_inspect_ends_with_4_when_a_photograph_cannot_be_used(place, tmp_path, capsys):
    broken = shutil.copytree(place, tmp_path / "broken")
    for path in (broken / "images").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert main(["inspect", str(broken), "--decode"]) == 4
    printed = capsys.readouterr()
    assert "error:" in printed.out or "scene3d:" in printed.err
