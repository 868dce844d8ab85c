"""`scene3d extend` and `scene3d export --format mesh` as a person uses them."""

import shutil
from pathlib import Path

import pytest

from app.cli import main, parse
from app.commands.extend import make_settings, parse_cells
from blocks import extension
from scene3d.errors import SettingsError
from scene3d.generation.spec import GeneratorSpec
from scene3d.io.meshes import read_mesh
from scene3d.io.tensors import file_sha256
from scene3d.training.run_folder import RunFolder
from tests.blocks.flat_grower import FlatGrower
from tests.blocks.town_run import write_town_run


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_town_run(tmp_path_factory.mktemp("town"))


@pytest.fixture
def run(town: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of the town; what fills cells is a stand-in."""
    grower = FlatGrower(GeneratorSpec(block_voxels=16, stride_voxels=12))
    monkeypatch.setattr(extension.Generator, "load", lambda path=None: grower)
    return RunFolder(Path(shutil.copytree(town.root, tmp_path / "run")))


def test_growing_listing_and_undoing(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = file_sha256(run.merged_scene)
    assert main(["extend", str(run.root), "--toward", "east", "--edge", "1.2"]) == 0
    printed = capsys.readouterr().out
    assert "extension 001:" in printed
    assert "covered to" in printed
    assert "--undo 001" in printed
    assert main(["extend", str(run.root), "--list", "--edge", "1.2"]) == 0
    printed = capsys.readouterr().out
    assert "001  active" in printed
    assert "edge 1.2 units" in printed
    assert (run.root / "extend" / "map.png").is_file()
    assert main(["extend", str(run.root), "--undo"]) == 0
    assert "extension 001 is out" in capsys.readouterr().out
    assert file_sha256(run.merged_scene) == before
    assert main(["extend", str(run.root), "--undo"]) == 4
    assert "nothing was grown" in capsys.readouterr().err


def test_a_mesh_comes_out_in_the_captures_frame(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    output = run.root / "town.glb"
    assert main(["export", str(run.root), "--output", str(output), "--voxel", "0.15"]) == 0
    assert "triangles" in capsys.readouterr().out
    mesh = read_mesh(output)
    middle = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    assert middle[:2] == pytest.approx([-6.0, 4.0], abs=0.3)  # where (0, 0) of the world lies in the capture
    assert mesh.colors is not None
    assert mesh.colors.std() > 0.05


def test_a_mesh_is_refused_where_it_makes_no_sense(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run.root), "--output", str(run.root / "a.ply"), "--voxel", "1"]) == 2
    assert "--format mesh" in capsys.readouterr().err
    assert main(["export", str(run.root), "--output", str(run.root / "a.spz"), "--format", "mesh"]) == 2
    assert (
        main(["export", str(run.root), "-o", str(run.root / "a"), "--format", "mesh", "--crop-min", "0", "0", "0"]) == 2
    )


def test_flags_become_settings() -> None:
    command = parse("extend", ["run", "--cells", "0,3 -1,3", "--seed", "5", "--keep", "views"])
    settings = make_settings(command)
    assert settings.cells == ((0, 3), (-1, 3))
    assert (settings.seed, settings.keep) == (5, "views")
    assert parse("extend", ["run", "--undo"]).undo == ()
    assert parse("extend", ["run", "--undo", "002"]).undo == ("002",)


@pytest.mark.parametrize("text", ["", "3", "a,b", "1,2,3"])
def test_cells_that_cannot_be_read_are_told(text: str) -> None:
    with pytest.raises(SettingsError, match="--cells"):
        parse_cells(text)


def test_saying_nowhere_is_refused(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extend", str(run.root)]) == 2
    assert "nothing says where to grow" in capsys.readouterr().err
    assert main(["extend", str(run.root), "--undo", "001", "002"]) == 2


def test_a_folder_that_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extend", str(tmp_path), "--rings", "1"]) == 4
    assert "no reconstruction here" in capsys.readouterr().err
