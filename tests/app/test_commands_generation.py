"""`generate` writes a place in every form, `train-generator` makes a model that it can use."""

import json

import numpy as np
import pytest

from app.cli import main
from app.loss_curves import write_curves
from scene3d.generation.layout import paint_layout
from scene3d.generation.model import make_model
from scene3d.generation.model_files import write_model
from scene3d.generation.palette import default_classes
from scene3d.generation.train_settings import make_preset
from scene3d.io.images import read_image, write_image
from scene3d.io.meshes import read_mesh
from scene3d.io.ply import read_gaussians_ply

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A generator with random weights: what it makes has the form of a place, if not the look."""
    config = make_preset("nano", default_classes()).config
    return write_model(tmp_path_factory.mktemp("model"), config, make_model(config, 1).to_tensors(), {}, name="model")


def test_generate_writes_mesh_gaussians_picture_and_record(model, tmp_path, capsys):
    layout = np.full((20, 10), 1)
    layout[4:9, 3:8] = 8
    write_image(tmp_path / "map.png", paint_layout(layout, default_classes()))
    out = tmp_path / "place"
    flags = ["--generator", str(model), "--layout", str(tmp_path / "map.png"), "--steps", "2", "--seed", "3"]
    assert main(["generate", "--size", "2x1", "--output", str(out), *flags]) == 0
    assert "triangles" in capsys.readouterr().out
    mesh, gaussians = read_mesh(out / "mesh.glb"), read_gaussians_ply(out / "scene.ply")
    assert len(mesh.faces) > 20
    assert len(gaussians.means) > 100
    assert np.allclose(gaussians.means.numpy().min(axis=0), mesh.vertices.min(axis=0), atol=2.0)
    picture = read_image(out / "picture.png").image
    assert picture.shape[1] == 2 * picture.shape[0]
    assert (picture < 250).any(axis=2).mean() > 0.1
    record = json.loads((out / "place.json").read_text())
    assert record["voxels"] == [28, 16, 16]
    assert record["settings"]["seed"] == 3
    assert len(record["weights_sha256"]) == 64
    assert (out / "layout.png").is_file()
    assert main(["generate", "--output", str(out), *flags]) == 4  # it holds a place already


def test_generate_says_what_is_wrong_with_its_flags(model, tmp_path, capsys):
    out = str(tmp_path / "place")
    assert main(["generate", "--size", "wide", "--output", out, "--generator", str(model)]) == 2
    assert "--size is 'wide'" in capsys.readouterr().err
    assert main(["generate", "--output", out, "--generator", str(tmp_path / "none.json")]) == 4
    assert main(["generate", "--output", out, "--steps", "0"]) == 2
    assert not (tmp_path / "place").exists()


def test_train_generator_ends_with_a_model_that_generate_takes(tmp_path, capsys):
    out = tmp_path / "trained"
    flags = ["--preset", "nano", "--sites", "2", "--autoencoder-steps", "6", "--denoiser-steps", "4"]
    assert main(["train-generator", "--output", str(out), *flags]) == 0
    printed = capsys.readouterr().out
    assert "above_ground_iou" in printed
    record = json.loads((out / "model.json").read_text())
    assert record["training"]["data"] == ["world"]
    assert set(record["training"]["held_out"]) >= {"tsdf_l1", "velocity_mse"}
    assert (out / "curves.svg").read_text().startswith("<svg")
    assert main(["train-generator", "--output", str(out), *flags]) == 4
    assert "--resume" in capsys.readouterr().err
    before = (out / "model.safetensors").read_bytes()
    assert main(["train-generator", "--output", str(out), "--resume", *flags]) == 0
    assert (out / "model.safetensors").read_bytes() == before
    place = tmp_path / "place"
    assert main(["generate", "--size", "1x1", "--steps", "1", "--generator", str(out), "--output", str(place)]) in (
        0,
        4,
    )


def test_rooms_are_trained_on_and_made_with_their_own_classes(tmp_path, capsys):
    out, flags = tmp_path / "rooms", ["--preset", "nano", "--sites", "2", "--autoencoder-steps", "3"]
    assert main(["train-generator", "--output", str(out), "--data", "rooms", *flags, "--denoiser-steps", "2"]) == 0
    spec = json.loads((out / "model.json").read_text())["config"]["spec"]
    assert spec["metres_per_block"] == pytest.approx(3.2)
    assert "sofa" in spec["classes"]
    (tmp_path / "plan.json").write_text('{"size_m": [3, 3], "boxes": [{"class": "roof", "box_m": [0, 0, 1, 1]}]}')
    capsys.readouterr()
    flags = ["--layout", str(tmp_path / "plan.json"), "--output", str(tmp_path / "place")]
    assert main(["generate", "--size", "1x1", "--generator", str(out), *flags]) == 4
    assert "6 sofa" in capsys.readouterr().err
    mixed = ["--data", "rooms", "--data", "world"]
    assert main(["train-generator", "--preset", "nano", "--output", str(tmp_path / "y"), *mixed]) == 2


def test_a_training_may_start_with_the_packaged_generator(tmp_path, capsys):
    flags = ["--start", "packaged", "--sites", "2", "--autoencoder-steps", "0", "--denoiser-steps", "1"]
    assert main(["train-generator", "--preset", "nano", "--output", str(tmp_path / "x"), *flags]) == 2
    assert "other blocks or networks" in capsys.readouterr().err
    nano = ["--preset", "nano", "--output", str(tmp_path / "z")]
    assert main(["train-generator", *nano, *flags, "--denoiser-rate", "0"]) == 2
    assert "rates must be positive" in capsys.readouterr().err


def test_an_unknown_source_of_data_is_refused(tmp_path, capsys):
    assert main(["train-generator", "--preset", "nano", "--data", "photos", "--output", str(tmp_path / "x")]) == 2
    assert "meshes:FOLDER" in capsys.readouterr().err


def test_curves_of_both_stages_stand_below_each_other(tmp_path):
    rows = [[10 * k, 1.0 / k, 0.5] for k in range(1, 9)]
    text = write_curves(tmp_path / "curves.svg", {"autoencoder": rows, "denoiser": rows}).read_text()
    assert text.startswith("<svg xmlns")
    assert text.count("<polyline") == 2
    assert "denoiser: loss by step" in text
