"""Parts of the viewer that need no browser: workspace, forms, scale, light copies, shading, pictures, events."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.viewer.contribution import Contributions
from app.viewer.forms import find_fields, read_form, values_of
from app.viewer.frames import Painter, make_camera
from app.viewer.job_progress import JobProgress
from app.viewer.light import thin_out
from app.viewer.scale import in_unit, read_unit, set_unit
from app.viewer.shading import list_shown, paint_origin, shade
from app.viewer.stage import Stages
from app.viewer.workspace import Workspace, check_name
from blocks.settings import RunSettings
from scene3d.errors import InputError, SettingsError
from scene3d.events import EventLog
from scene3d.gaussians.gaussians import SH_C0
from scene3d.geometry.similarity import Similarity
from tests.app.viewer.sites import RED, make_sphere, write_sphere

FRONT = (0, -4, 0, np.sqrt(0.5), -np.sqrt(0.5), 0, 0, 45)


@pytest.fixture
def stage(tmp_path: Path):
    workspace = Workspace(tmp_path / "root", write_sphere(tmp_path))
    return Stages().get(workspace.find_run("sphere.ply"))


def test_a_workspace_finds_runs_and_captures_and_tells_them_apart(tmp_path: Path) -> None:
    for place in ("a/merged", "deep/b", "photos", "few", ".hidden/c", "posed/sparse/0"):
        (tmp_path / place).mkdir(parents=True)
    for place in ("a/config.yaml", "a/merged/manifest.json", "deep/b/capture.json", ".hidden/c/config.yaml"):
        (tmp_path / place).write_text("{}")
    for name in ("photos/1.jpg", "photos/2.JPG", "photos/3.png", "few/1.jpg", "posed/sparse/0/cameras.bin"):
        (tmp_path / name).touch()
    workspace = Workspace(tmp_path)
    assert {run.id: run.state for run in workspace.runs().values()} == {"a": "finished", "deep~b": "begun"}
    assert {each.id: each.has_poses for each in workspace.captures().values()} == {"photos": False, "posed": True}
    with pytest.raises(InputError, match="no such run"):
        workspace.find_run("../a")


def test_a_run_elsewhere_is_shown_too(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "root", write_sphere(tmp_path))
    assert [run.id for run in workspace.runs().values()] == ["sphere.ply"]


@pytest.mark.parametrize("name", ["", "  ", "..", ".x", "a/b", "a\\b", "a\0b", "<b>", "ü", "x" * 81])
def test_odd_names_of_folders_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        check_name(name)


def test_a_form_holds_the_settings_and_gives_them_back() -> None:
    settings = RunSettings(iterations=123, blocks=3)
    fields = find_fields(RunSettings())
    assert read_form(RunSettings, fields, values_of(settings, fields)) == settings
    by_path = {".".join(each.path): each for each in fields}
    assert by_path["iterations"].help.startswith("Training iterations")
    assert by_path["blocks"].kind == "text"
    assert by_path["background"].choices == ("black", "white", "random")
    assert "depth_prior.folder" not in by_path  # a page may not name paths


def test_labels_of_a_form_are_words_for_people() -> None:
    labels = {each.path[-1]: each.label for each in find_fields(RunSettings())}
    assert [labels[name] for name in ("iterations", "memory_gb", "sh_degree", "means_lr")] == [
        "Iterations",
        "Memory (GB)",
        "SH degree",
        "Means step size",
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("iterations", 0), ("blocks", "many"), ("iterations", None), ("image_scale", 2)]
)
def test_a_form_refuses_what_makes_no_sense(name: str, value: object) -> None:
    fields = find_fields(RunSettings())
    values = values_of(RunSettings(), fields)
    values[[each.path for each in fields].index((name,))] = value
    with pytest.raises(SettingsError, match=name):
        read_form(RunSettings, fields, values)


def test_docs_of_a_form_come_from_the_class_that_has_them() -> None:
    @dataclass(frozen=True)
    class Plain:
        a: int = 1
        """What a is."""

        b: str = field(default="x")

    assert {each.path: each.help for each in find_fields(Plain())} == {("a",): "What a is.", ("b",): ""}


def test_a_known_distance_gives_metres(tmp_path: Path, stage) -> None:
    workspace = Workspace(tmp_path / "root", tmp_path / "sphere.ply")
    assert read_unit(workspace, stage.run, None).name == "units"
    unit = set_unit(workspace, stage.run, capture_distance=2.0, metres=5.0)
    assert (unit.name, unit.per_capture) == ("m", 2.5)
    assert read_unit(workspace, stage.run, None) == unit
    metric = in_unit(Similarity.identity(), unit).inverse().apply(np.array([[2.0, 0, 0]]))
    assert metric == pytest.approx(np.array([[5.0, 0, 0]]))
    with pytest.raises(SettingsError):
        set_unit(workspace, stage.run, capture_distance=0.0, metres=5.0)


def test_a_light_copy_keeps_what_covers_most() -> None:
    sphere = make_sphere()
    sphere.log_scales[:100] += 1
    assert thin_out(sphere, 5000) is sphere
    assert torch.equal(thin_out(sphere, 100).means, sphere.means[:100])


def test_normals_point_at_the_camera_and_depth_and_opacity_are_shown(stage) -> None:
    camera = make_camera(FRONT, 64, 48)
    normals = shade(stage.scene.gaussians, camera, "normal")[24, 32]
    assert normals.tolist() == pytest.approx([0.5, 0.0, 0.5], abs=0.15)  # towards -y
    alpha, depth = (shade(stage.scene.gaussians, camera, shown) for shown in ("alpha", "depth"))
    assert alpha[24, 32].mean() > alpha[0, 0].mean()
    assert depth[24, 32].sum() > 0
    assert depth[0, 0].sum() == 0


def test_what_grew_is_tinted_and_can_be_left_out(stage) -> None:
    assert list_shown(stage, None) == ["image", "depth", "normal", "alpha"]
    grown = torch.zeros(len(stage.scene.gaussians), dtype=torch.bool)
    grown[::2] = True
    colors = paint_origin(stage.scene.gaussians, grown).sh[:, 0] * SH_C0 + 0.5
    assert colors[0, 0] > colors[0, 2]  # orange
    assert colors[1, 2] > colors[1, 0]  # blue
    assert "origin" in list_shown(stage, grown)


def test_only_the_newest_request_of_a_client_is_drawn(stage) -> None:
    painter = Painter(Contributions())
    camera = make_camera(FRONT, 32, 24)
    assert painter.paint(stage, camera, "image", client="a", number=5) is not None
    assert painter.paint(stage, camera, "image", client="a", number=4) is None
    assert painter.paint(stage, camera, "image", client="b", number=1) is not None
    assert painter.paint(stage, camera, "image") is not None


def test_a_picture_has_the_colour_of_the_scene(stage) -> None:
    picture = shade(stage.scene.gaussians, make_camera(FRONT, 64, 48), "image")
    assert picture[24, 32].tolist() == pytest.approx(RED, abs=0.04)


def test_progress_is_read_on_from_where_it_was(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", min_interval_s=0.0)
    progress = JobProgress(tmp_path / "events.jsonl")
    progress.read()
    assert progress.to_record()["stages"] == []
    log.start("train", 100, gaussians=5)
    log.advance("train", 10, loss=0.5)
    log.note("look out", level="warning")
    progress.read()
    record = progress.to_record()
    assert [(stage["name"], stage["step"], stage["total"]) for stage in record["stages"]] == [("train", 10, 100)]
    assert record["notes"] == [{"level": "warning", "message": "look out"}]
    with (tmp_path / "events.jsonl").open("a") as stream:
        stream.write('{"event": "advance", "stage": "train", "step": 20, "loss": 0.4, "time_s": 1}\n{"cut sho')
    progress.read()
    log.finish("train")
    progress.read()
    record = progress.to_record()
    assert record["curves"]["loss"] == [(10.0, 0.5), (20.0, 0.4)]
    assert record["finished"] == []  # that line was glued to the one cut short


def test_a_film_flies_through_the_keyframes_of_the_page(tmp_path: Path, stage) -> None:
    from app.cli import main
    from app.viewer.exports import Film, Pose, order_film

    class Orders:
        def submit(self, kind, title, words, **facts):
            self.words = [word if not word.endswith(".mp4") else word.replace(".mp4", ".gif") for word in words]
            return self

    poses = [Pose(position=[0, -4, z], rotation=list(FRONT[3:7]), fov=45) for z in (0.0, 0.5)]
    workspace = Workspace(tmp_path / "root", tmp_path / "sphere.ply")
    orders = order_film(workspace, Orders(), stage, Film(keyframes=poses, seconds=0.125))
    assert main(orders.words) == 0
    (film,) = (workspace.cache(stage.run) / "film").glob("*.gif")
    with Image.open(film) as opened:
        assert (opened.n_frames, opened.size) == (3, (960, 540))


def test_keyframes_that_are_no_cameras_are_refused(tmp_path: Path) -> None:
    from app.commands.render import read_keyframes

    for text in ("{}", '{"cameras": [{}]}', '{"cameras": [{"width": 4, "height": 4, "K": [1], "cam_from_world": []}]}'):
        (tmp_path / "k.json").write_text(text)
        with pytest.raises(InputError):
            read_keyframes(tmp_path / "k.json")


def test_a_crowd_that_wants_pictures_is_refused_by_name_and_the_first_are_served() -> None:
    from threading import Event

    from app.viewer.picture_desk import MAX_WAITING, PictureDesk

    go = Event()

    async def crowd() -> list[object]:
        desk = PictureDesk()

        def make():
            go.wait(60)

        tasks = [asyncio.create_task(desk.draw(make)) for _ in range(MAX_WAITING + 3)]
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(crowd())
    assert [str(answer) for answer in answers[MAX_WAITING:]] == [
        "too many pictures are asked for at this moment; wait a moment and move again"
    ] * 3
    assert answers[:MAX_WAITING] == [None] * MAX_WAITING
