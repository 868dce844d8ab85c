"""A finished run gives sites to train on, at the scale at which it would be extended."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from blocks.run_sites import fuse_run, run_source
from scene3d.errors import InputError
from scene3d.events import Quiet
from scene3d.generation.palette import default_classes
from scene3d.generation.train_settings import make_preset
from scene3d.training.run_folder import RunFolder
from tests.blocks.town_run import write_town_run

SPEC = make_preset("nano", default_classes()).config.spec
EDGE_M = 1.2


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_town_run(tmp_path_factory.mktemp("town"))


def test_a_runs_field_is_solid_below_its_ground_and_unknown_outside(town: RunFolder) -> None:
    field = fuse_run(town, SPEC, edge_m=EDGE_M)
    assert field.shape[2] == SPEC.block_voxels
    seen = field.known.mean(axis=2) > 0.5
    assert 0.1 < seen.mean() < 0.95
    assert (field.sdf[seen][:, 0] < 0).mean() > 0.9
    assert (field.sdf[seen][:, -1] > 0).all()


def test_its_sites_are_known_in_part_and_colored(town: RunFolder) -> None:
    site = run_source(town.root, SPEC, 0, edge_m=EDGE_M).prepare(Quiet())(0)
    assert site.known is not None
    assert 0.2 < site.known.mean() < 1.0
    near = site.known & (np.abs(site.tsdf.astype(int)) < 60)
    assert near.sum() > 100
    assert site.rgb[near].mean() > 10


def test_sources_of_another_scale_or_scene_are_not_mistaken_for_each_other(town: RunFolder, tmp_path: Path) -> None:
    first = run_source(town.root, SPEC, 0, edge_m=EDGE_M).identity
    assert run_source(town.root, SPEC, 0).identity != first
    assert run_source(Path(shutil.copytree(town.root, tmp_path / "run")), SPEC, 0, edge_m=EDGE_M).identity == first


def test_a_capture_that_was_moved_is_asked_for(town: RunFolder, tmp_path: Path) -> None:
    source = run_source(town.root, SPEC, 0, edge_m=EDGE_M, capture_folder=tmp_path / "gone")
    with pytest.raises(InputError, match="no longer there"):
        source.prepare(Quiet())


def test_a_scale_at_which_little_is_seen_is_refused(town: RunFolder) -> None:
    with pytest.raises(InputError, match=r"too little ground|no cell is photographed"):
        run_source(town.root, SPEC, 0, edge_m=30 * EDGE_M).prepare(Quiet())


def test_the_command_trains_on_a_run_mixed_with_the_world(town: RunFolder, tmp_path: Path, capsys) -> None:
    out = tmp_path / "trained"
    flags = ["--preset", "nano", "--sites", "4", "--autoencoder-steps", "2", "--denoiser-steps", "2"]
    data = ["--data", f"run:{town.root}", "--data", "world", "--edge", str(EDGE_M)]
    assert main(["train-generator", "--output", str(out), *flags, *data]) == 0
    record = json.loads((out / "model.json").read_text())
    assert record["training"]["data"] == [f"run:{town.root}", "world"]
    assert len(list((out / "data").glob("*.safetensors"))) == 2
    assert main(["train-generator", "--output", str(tmp_path / "x"), *flags, "--data", f"run:{tmp_path}"]) == 4
    assert "there is no reconstruction here" in capsys.readouterr().err
