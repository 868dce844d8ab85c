"""Seams as the viewer shows them: which are found, where their colours lie, and what the legend says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.viewer.contribution import Contributions
from app.viewer.frames import Painter, make_camera
from app.viewer.legends import make_legends, seam_scale
from app.viewer.scale import Unit
from app.viewer.seams import MAX_DELTA_E, find_seams, seam_ticks
from app.viewer.shading import list_shown, paint_seams
from app.viewer.stage import Stage, Stages
from app.viewer.workspace import Workspace
from blocks.extension_seam import SeamPlaces, save_seam_places
from scene3d.errors import InputError
from scene3d.gaussians.gaussians import SH_C0
from scene3d.training.run_folder import RunFolder
from tests.app.viewer.sites import write_sphere

ABOVE = (0.3, 0, 4, 0, 1, 0, 0, 45)
VOXEL = 0.05
PLACES = SeamPlaces(
    points=np.array([[0.3, 0.0, 1.0], [-0.3, 0.0, 1.0], [0.0, 0.5, 1.0]]),
    steps=np.array([2 * VOXEL, 0.0, np.nan]),
    delta_e=np.array([np.nan, np.nan, 5.0]),
    voxel_size=VOXEL,
)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """The sphere as a run to which one growth and one that was undone belong."""
    workspace = Workspace(tmp_path / "root", write_sphere(tmp_path))
    stage = Stages().get(workspace.find_run("sphere.ply"))
    run = RunFolder(tmp_path / "run")
    for name in ("001", "002"):
        folder = run.root / "extend" / name
        folder.mkdir(parents=True)
        record = {"seam": {"places_sha256": save_seam_places(folder, PLACES)}}
        (folder / "extension.json").write_text(json.dumps(record))
    scene = replace(stage.scene, run=run, manifest={"extensions": [{"id": "002"}, {"id": "../002"}, 3]})
    return replace(stage, run=replace(stage.run, root=run.root), scene=scene)


def test_only_growth_that_is_in_the_scene_has_a_seam(stage: Stage) -> None:
    assert len(find_seams(stage)) == 1
    assert {"seam_step", "seam_color"} <= set(list_shown(stage, None, find_seams(stage)))
    undone = replace(stage, scene=replace(stage.scene, manifest={"extensions": []}))
    assert find_seams(undone) == ()
    assert "seam_step" not in list_shown(undone, None, ())
    with pytest.raises(InputError, match="no seam"):
        Painter(Contributions()).paint(undone, make_camera(ABOVE, 32, 32), "seam_step")


def test_a_damaged_seam_is_left_out(stage: Stage) -> None:
    (stage.run.root / "extend" / "002" / "seam.safetensors").write_bytes(b"x")
    assert find_seams(stage) == ()


def test_gaussians_at_a_seam_take_its_colours_and_the_others_turn_grey(stage: Stage) -> None:
    gaussians = stage.scene.gaussians
    colors = paint_seams(gaussians, find_seams(stage), "seam_step").sh[:, 0] * SH_C0 + 0.5
    near = [(gaussians.means[:, :2] - torch.tensor(point[:2])).norm(dim=1) < VOXEL for point in PLACES.points]
    bad, good, untold = (colors[rows] for rows in near)
    assert len(bad) > 0
    assert bad == pytest.approx(seam_scale(torch.tensor([1.0]), 1.0).expand(len(bad), 3).numpy(), abs=1e-5)
    assert good == pytest.approx(seam_scale(torch.tensor([0.0]), 1.0).expand(len(good), 3).numpy(), abs=1e-5)
    assert len(untold) > 0
    assert (untold.max(dim=1).values - untold.min(dim=1).values).max() < 1e-5  # grey


def test_the_scale_is_in_the_scenes_own_unit(stage: Stage) -> None:
    ticks = seam_ticks(find_seams(stage), Unit("m", 3.0), 0.5)
    assert ticks["seam_step"] == ["0", f"{2 * VOXEL * 3.0 / 0.5:.2g} m or more"]
    legend = make_legends(["seam_step", "seam_color"], ticks)
    assert legend["seam_color"]["ticks"] == ["0", f"ΔE {MAX_DELTA_E:.0f} or more"]
    ends = [seam_scale(torch.tensor([value]), 1.0)[0] * 255 for value in (0.0, 1.0)]
    shown = [f"rgb({', '.join(str(round(part)) for part in end.tolist())})" for end in ends]
    assert [legend["seam_step"]["colors"][0], legend["seam_step"]["colors"][-1]] == shown
