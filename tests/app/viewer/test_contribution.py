"""How much each Gaussian contributes: what counts as useless, what is kept, and what is said while it is measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.viewer import contribution
from app.viewer.contribution import MAX_VIEWS, Contributions, choose_cameras
from app.viewer.frames import Painter, make_camera
from app.viewer.legends import FAINTEST_WEIGHT, contribution_colors, make_legends
from app.viewer.shading import list_shown, paint_contribution
from app.viewer.stage import Stage, Stages
from app.viewer.workspace import Workspace
from scene3d.data.capture import View
from scene3d.errors import InputError
from scene3d.gaussians.gaussians import SH_C0, Gaussians
from scene3d.io.ply import write_gaussians_ply
from tests.app.viewer.sites import make_sphere

NUM_HIDDEN = 50


def pose_from(azimuth: float) -> tuple[float, ...]:
    """Looks at the middle from four units away, level, +z upwards."""
    half = (azimuth - np.pi / 2) / 2
    turn, tilt = np.array([np.cos(half), 0, 0, np.sin(half)]), np.sqrt(0.5)
    rotation = (turn[0] * tilt, -turn[0] * tilt, -turn[3] * tilt, turn[3] * tilt)
    return (-4 * np.cos(azimuth), -4 * np.sin(azimuth), 0, *rotation, 45)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A closed sphere with Gaussians inside that nobody can see, and forty photographs around it."""
    sphere = make_sphere()
    sphere.log_scales.add_(0.7)  # no light comes through
    hidden = sphere.select(torch.arange(NUM_HIDDEN))
    hidden = replace(hidden, means=0.3 * hidden.means, log_scales=hidden.log_scales - 1.7)
    path = tmp_path / "sphere.ply"
    write_gaussians_ply(path, Gaussians.concatenate([sphere, hidden]))
    workspace = Workspace(tmp_path / "root", path)
    stage = Stages().get(workspace.find_run("sphere.ply"))
    cameras = [make_camera(pose_from(turn), 160, 120) for turn in np.linspace(0, 2 * np.pi, 40, endpoint=False)]
    views = tuple(
        View(name=f"{number:02}.jpg", image_path=tmp_path / f"{number:02}.jpg", camera=camera)
        for number, camera in enumerate(cameras)
    )
    return replace(stage, views=views, held_out=frozenset({"00.jpg"}))


def measure(stage: Stage, folder: Path) -> contribution.Measuring:
    contributions = Contributions()
    measuring = contributions.ask(stage, folder)
    contributions._worker.shutdown(wait=True)
    return measuring


def test_what_no_photograph_shows_is_told_from_what_makes_the_pictures(stage: Stage, tmp_path: Path) -> None:
    measuring = measure(stage, tmp_path)
    assert (measuring.done, measuring.total, measuring.error) == (MAX_VIEWS, MAX_VIEWS, None)
    assert measuring.weights is not None
    assert measuring.weights[-NUM_HIDDEN:].max() < 0.02
    level = make_sphere().means[:, 2].abs() < 0.7  # cameras stand level: the poles are seen at a flat angle
    assert measuring.weights[:-NUM_HIDDEN][level].min() > 0.02


def test_training_views_alone_are_looked_through_evenly(stage: Stage) -> None:
    cameras = choose_cameras(stage)
    centers = {tuple(camera.center.round(6)) for camera in cameras}
    assert len(centers) == MAX_VIEWS
    assert tuple(stage.views[0].camera.center.round(6)) not in centers
    assert tuple(stage.views[-1].camera.center.round(6)) in centers


def test_weights_are_kept_with_the_scene_and_measured_anew_for_another(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure(stage, tmp_path).weights
    assert first is not None

    def refuse(gaussians, cameras):
        raise InputError("was measured again")

    monkeypatch.setattr(contribution, "max_blending_weights", refuse)
    again = measure(stage, tmp_path).weights
    assert again is not None
    assert torch.equal(first, again)
    assert stage.run.root.is_file()
    write_gaussians_ply(stage.run.root, make_sphere())
    other = measure(stage, tmp_path)
    assert (other.weights, other.error) == (None, "was measured again")


def test_an_error_does_not_stay_for_ever(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = contribution.max_blending_weights
    contributions = Contributions()

    def fail(gaussians, cameras):
        raise RuntimeError("broken")

    monkeypatch.setattr(contribution, "max_blending_weights", fail)
    first = contributions.ask(stage, tmp_path)
    contributions._worker.submit(lambda: None).result(60)
    assert first.error == "contributions could not be measured (RuntimeError)"
    monkeypatch.setattr(contribution, "max_blending_weights", real)
    contributions.ask(stage, tmp_path)
    contributions._worker.submit(lambda: None).result(60)
    assert len(contributions.weights(stage)) == len(stage.scene.gaussians)
    contributions.close()


def test_pictures_of_contributions_wait_for_the_measurement(stage: Stage) -> None:
    contributions = Contributions()
    with pytest.raises(InputError, match="not been measured yet"):
        Painter(contributions).paint(stage, stage.views[0].camera, "contribution")
    contributions.close()


def test_only_a_finished_scene_with_photographs_is_measured(stage: Stage, tmp_path: Path) -> None:
    assert "contribution" in list_shown(stage, None)
    contributions = Contributions()
    for without in (replace(stage, views=()), replace(stage, is_live=True)):
        assert "contribution" not in list_shown(without, None)
        with pytest.raises(InputError, match="finished scene"):
            contributions.ask(without, tmp_path)
    contributions.close()


def test_colours_run_with_the_logarithm_and_what_is_useless_is_drawn_solid(stage: Stage) -> None:
    colors = contribution_colors(torch.tensor([1.0, 0.1, 0.01, FAINTEST_WEIGHT, 0.0]))
    luma = (colors @ torch.tensor([0.2126, 0.7152, 0.0722])).tolist()
    assert luma[:4] == sorted(luma[:4])
    red, green, blue = colors[4].tolist()
    assert red > 2 * max(green, blue)
    legend = make_legends(["contribution"], {})["contribution"]
    ends = [[round(255 * part) for part in color] for color in (colors[0].tolist(), colors[3].tolist())]
    assert [legend["colors"][0], legend["colors"][-1]] == [f"rgb({', '.join(map(str, end))})" for end in ends]
    gaussians = stage.scene.gaussians.select(torch.arange(2))
    gaussians.opacity_logits[:] = -3.0
    painted = paint_contribution(gaussians, torch.tensor([0.001, 0.5]))
    assert painted.opacities.tolist() == pytest.approx([0.7, 0.0474], abs=0.01)
    assert (painted.sh[0, 0] * SH_C0 + 0.5).tolist() == pytest.approx(colors[3].tolist(), abs=0.02)
