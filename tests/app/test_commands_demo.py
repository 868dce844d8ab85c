"""The demo in small, and poses found on the way to a reconstruction."""

import json
from pathlib import Path

import pytest
from PIL import Image

from app.cli import main
from app.commands.reconstruct import Reconstruct, find_capture
from scene3d.errors import InputError
from scene3d.events import Quiet
from scene3d.training.settings import ReconstructSettings


class Notes(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str, *, level: str = "info") -> None:
        self.lines.append(message)


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (number * 40, 80, 120)).save(folder / f"p{number}.png")
    return folder


@pytest.fixture
def prepared(monkeypatch):
    """Stands in for structure from motion; lists the folders it was asked to make."""
    made: list[Path] = []

    def prepare_capture(photos, output, settings, *, reporter=None):
        made.append(output)
        output.mkdir()
        (output / "prepare.json").write_text("{}")
        return {}

    monkeypatch.setattr("scene3d.data.sfm.prepare.prepare_capture", prepare_capture)
    return made


def reconstruct_of(capture: Path, output: Path) -> Reconstruct:
    return Reconstruct(capture=capture, output=output, settings=ReconstructSettings(iterations=5))


def test_the_demo_leaves_scene_report_and_picture_and_is_quick_the_second_time(tmp_path, capsys):
    small = ["--views", "9", "--width", "64", "--extent-m", "30", "--iterations", "30", "--rings", "0"]
    words = ["demo", "-o", str(tmp_path / "demo"), *small]
    assert main(words) == 0
    printed = capsys.readouterr().out
    run = tmp_path / "demo" / "run"
    for path in (run / "merged" / "scene.ply", run / "report.html", tmp_path / "demo" / "picture.png"):
        assert path.is_file()
        assert str(path) in printed
    with Image.open(tmp_path / "demo" / "picture.png") as picture:
        assert picture.size == (128, 96)
        assert len(picture.getcolors(128 * 96)) > 500, "the picture shows something"
    assert json.loads((run / "eval" / "metrics.json").read_text())["raw"]["psnr_db"] > 10
    scene = (run / "merged" / "scene.ply").read_bytes()

    assert main(words) == 0

    assert "finished already" in capsys.readouterr().err
    assert (run / "merged" / "scene.ply").read_bytes() == scene


def test_the_demo_does_not_write_into_a_folder_of_something_else(tmp_path, capsys):
    (tmp_path / "capture").mkdir()
    (tmp_path / "capture" / "precious.txt").write_text("mine")
    assert main(["demo", "-o", str(tmp_path)]) == 4
    assert "holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["capture"]


def test_plain_photographs_get_their_poses_beside_the_run(photographs, prepared, tmp_path):
    notes = Notes()
    capture = find_capture(reconstruct_of(photographs, tmp_path / "run"), notes)
    assert capture == tmp_path / "run-capture"
    assert prepared == [capture]
    assert "finding them first" in notes.lines[0]


def test_poses_that_were_found_before_are_used_again(photographs, prepared, tmp_path):
    command = reconstruct_of(photographs, tmp_path / "run")
    assert find_capture(command, Quiet()) == find_capture(command, Quiet())
    assert len(prepared) == 1


def test_a_folder_with_poses_is_taken_as_it_is(photographs, prepared, tmp_path):
    (photographs / "transforms.json").write_text("{}")
    assert find_capture(reconstruct_of(photographs, tmp_path / "run"), Quiet()) == photographs
    assert prepared == []


def test_photographs_that_cannot_be_placed_end_the_command(photographs, monkeypatch, tmp_path, capsys):
    def fail(*_, **__):
        raise InputError("none of 3 photographs could be placed")

    monkeypatch.setattr("scene3d.data.sfm.prepare.prepare_capture", fail)
    assert main(["reconstruct", str(photographs), "-o", str(tmp_path / "run")]) == 4
    assert "could be placed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
