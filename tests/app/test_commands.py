import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.cli import main
from app.commands.clean import Clean
from app.commands.evaluate import Evaluate
from app.commands.export import find_box, resolve_output
from app.commands.render import name_pictures
from app.scenes import holds_only_photographs, open_scene
from scene3d.errors import InputError, SettingsError
from scene3d.events import Quiet
from scene3d.gaussians.cleaning import CleaningSettings
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.ply import read_gaussians_ply, read_ply_comments, write_gaussians_ply
from scene3d.seeding import make_generator
from scene3d.training.evaluation import EvaluationSettings


def make_gaussians(count: int = 200) -> Gaussians:
    """A ball of opaque Gaussians around the origin, the first of them faint."""
    generator = make_generator(0, "ball")
    means = torch.randn(count, 3, generator=generator) * 0.5
    logits = torch.full((count,), 3.0)
    logits[0] = -6.0
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        log_scales=torch.full((count, 3), -2.5),
        opacity_logits=logits,
        sh=torch.rand(count, 1, 3, generator=generator),
    )


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.ply"
    write_gaussians_ply(path, make_gaussians())
    return path


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (number * 40, 80, 120)).save(folder / f"p{number}.png")
    return folder


def failing(words, code, capsys) -> str:
    """Run a command that must fail with this code, and give its one line."""
    assert main([str(word) for word in words]) == code
    printed = capsys.readouterr().err.splitlines()
    assert len([line for line in printed if line.startswith("scene3d: ")]) == 1
    return printed[-1]


def test_export_of_a_ply_keeps_every_gaussian(scene, tmp_path, capsys):
    assert main(["export", str(scene), "-o", str(tmp_path / "copy.ply")]) == 0
    before, after = read_gaussians_ply(scene), read_gaussians_ply(tmp_path / "copy.ply")
    assert torch.equal(before.means, after.means)
    assert torch.equal(before.sh, after.sh)
    assert "200 Gaussians" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["ply", "splat", "spz"])
def test_export_writes_the_format_that_is_asked_for(scene, tmp_path, kind):
    assert main(["export", str(scene), "-o", str(tmp_path / "copy"), "--format", kind]) == 0
    assert (tmp_path / f"copy.{kind}").stat().st_size > 0


def test_export_crops_to_the_box(scene, tmp_path):
    output = tmp_path / "part.ply"
    assert (
        main(["export", str(scene), "-o", str(output), "--crop-min", "0", "0", "0", "--crop-max", "1", "1", "1"]) == 0
    )
    means = read_gaussians_ply(scene).means
    inside = ((means >= 0) & (means <= 1)).all(dim=1)
    assert 0 < int(inside.sum()) < len(means)
    assert torch.equal(read_gaussians_ply(output).means, means[inside])


def test_one_corner_leaves_the_box_open_on_the_other_side(scene, tmp_path):
    assert main(["export", str(scene), "-o", str(tmp_path / "part.ply"), "--crop-min", "0", "0", "0"]) == 0
    means = read_gaussians_ply(scene).means
    assert torch.equal(read_gaussians_ply(tmp_path / "part.ply").means, means[(means >= 0).all(dim=1)])


def test_a_box_that_holds_nothing_is_refused_and_leaves_nothing_behind(scene, tmp_path, capsys):
    words = ["export", scene, "-o", tmp_path / "part.ply", "--crop-min", "50", "50", "50"]
    assert "holds none of the 200 Gaussians" in failing(words, 2, capsys)
    assert not (tmp_path / "part.ply").exists()


@pytest.mark.parametrize("command", ["export", "clean"])
def test_an_existing_file_is_replaced_only_by_force(scene, tmp_path, capsys, command):
    output = tmp_path / "old.ply"
    output.write_text("precious")
    assert "add --force" in failing([command, scene, "-o", output], 4, capsys)
    assert output.read_text() == "precious"
    assert main([command, str(scene), "-o", str(output), "--force"]) == 0
    assert len(read_gaussians_ply(output)) >= 199


def test_a_format_that_contradicts_the_suffix_is_refused(scene, tmp_path, capsys):
    words = ["export", scene, "-o", tmp_path / "a.ply", "--format", "spz"]
    assert "--format is spz, but the file ends with '.ply'" in failing(words, 2, capsys)
    words = ["export", scene, "-o", tmp_path / "a.obj"]
    assert ".obj" in failing(words, 2, capsys)


def test_an_offset_in_a_ply_survives_its_export(tmp_path):
    source, output = tmp_path / "local.ply", tmp_path / "copy.ply"
    write_gaussians_ply(source, make_gaussians(), comments=["offset 500000.0 4000000.0 0.0", "epsg 32633"])
    assert main(["export", str(source), "-o", str(output)]) == 0
    notes = dict(comment.split(" ", 1) for comment in read_ply_comments(output))
    shift = np.array([float(number) for number in notes["offset"].split()]) - [500000, 4000000, 0]
    moved = read_gaussians_ply(output).means.double() + torch.from_numpy(shift)
    torch.testing.assert_close(moved, read_gaussians_ply(source).means.double(), atol=1e-4, rtol=0)
    assert notes["epsg"] == "32633"


def test_clean_removes_what_is_faint_and_keeps_the_rest(scene, tmp_path, capsys):
    output = tmp_path / "clean.ply"
    assert main(["clean", str(scene), "-o", str(output)]) == 0
    assert torch.equal(read_gaussians_ply(output).means, read_gaussians_ply(scene).means[1:])
    printed = capsys.readouterr()
    assert "1 faint" in printed.out
    assert "judging without views" in printed.err


def test_clean_follows_its_threshold(scene, tmp_path):
    output = tmp_path / "clean.ply"
    assert main(["clean", str(scene), "-o", str(output), "--min-opacity", "0.001"]) == 0
    assert len(read_gaussians_ply(output)) == 200


def test_clean_can_only_crop(scene, tmp_path):
    output = tmp_path / "part.ply"
    assert main(["clean", str(scene), "-o", str(output), "--keep-floaters", "--crop-min", "-9", "-9", "-9"]) == 0
    assert len(read_gaussians_ply(output)) == 200


def test_render_turns_around_a_bare_ply(scene, tmp_path, capsys):
    words = ["render", str(scene), "-o", str(tmp_path / "turn"), "--path", "orbit", "--frames", "3", "--width", "48"]
    assert main(words) == 0
    pictures = sorted((tmp_path / "turn").iterdir())
    assert [path.name for path in pictures] == ["orbit_0000.png", "orbit_0001.png", "orbit_0002.png"]
    first, second = (np.asarray(Image.open(path), float) for path in pictures[:2])
    assert first.shape == (27, 48, 3)
    assert first[8:19, 16:32].mean() > 20, "the ball is in the middle"
    assert np.abs(first - second).mean() > 1, "the camera has moved"
    assert "3 pictures" in capsys.readouterr().out


def test_render_writes_depth_and_film(scene, tmp_path):
    film = tmp_path / "turn.webp"
    words = ["render", str(scene), "--path", "orbit", "--frames", "4", "--width", "32", "--depth", "--video", str(film)]
    assert main(words) == 0
    with Image.open(film) as picture:
        assert picture.n_frames == 4


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--path", "flythrough"], 2, "give --capture FOLDER"),
        ([], 4, "a bare .ply has no cameras"),
        (["--video", "x.mp4"], 2, "--video needs a --path"),
        (["--path", "orbit", "--width", "0"], 2, "--width is 0"),
        (["--path", "orbit", "--frames", "0"], 2, "0 frames"),
        (["--path", "orbit", "--video", "x.avi"], 4, ".avi"),
    ],
)
def test_render_says_what_it_lacks(scene, capsys, words, code, message):
    assert message in failing(["render", scene, *words], code, capsys)


@pytest.mark.parametrize("command", ["export", "clean", "render"])
def test_what_is_no_scene_is_refused(tmp_path, capsys, command):
    more = ["-o", tmp_path / "out.ply"]
    (tmp_path / "text.ply").write_text("just words\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    for name in ("text.ply", "picture.png", "absent.ply", "."):
        line = failing([command, tmp_path / name, *more], 4, capsys)
        assert "fault of scene3d" not in line


@pytest.mark.parametrize("command", ["evaluate", "inspect", "reconstruct", "prepare"])
def test_an_absent_folder_is_the_inputs_fault(tmp_path, capsys, command):
    more = ["-o", tmp_path / "out"] if command in ("reconstruct", "prepare") else []
    assert "absent" in failing([command, tmp_path / "absent", *more], 4, capsys)
    assert not (tmp_path / "out").exists()


def test_a_bare_ply_cannot_be_evaluated(scene, capsys):
    assert "only a run can be measured" in failing(["evaluate", scene], 4, capsys)


def test_a_damaged_offset_comment_is_refused(tmp_path):
    path = tmp_path / "odd.ply"
    write_gaussians_ply(path, make_gaussians(), comments=["offset 1 2"])
    with pytest.raises(InputError, match="offset or epsg comment is damaged"):
        open_scene(path, Quiet())


def test_only_a_folder_without_poses_is_taken_for_plain_photographs(photographs, tmp_path):
    assert holds_only_photographs(photographs)
    assert not holds_only_photographs(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert not holds_only_photographs(tmp_path / "empty")
    (photographs / "transforms.json").write_text("{}")
    assert not holds_only_photographs(photographs)


def test_inspect_of_plain_photographs_names_the_next_step(photographs, capsys):
    assert "scene3d prepare" in failing(["inspect", photographs], 4, capsys)


def test_the_box_is_open_where_nothing_was_said():
    assert find_box(None, None) is None
    low, high = find_box((1.0, 2.0, 3.0), None)
    assert low == (1.0, 2.0, 3.0)
    assert min(high) > 1e20


def test_the_output_takes_the_suffix_of_the_format(tmp_path):
    assert resolve_output(tmp_path / "a", "spz", force=False) == tmp_path / "a.spz"
    assert resolve_output(tmp_path / "a.PLY", "ply", force=False) == tmp_path / "a.PLY"
    with pytest.raises(SettingsError):
        resolve_output(tmp_path / "a.ply", "splat", force=False)


def test_pictures_get_harmless_names():
    names = ["a/b c.jpg", "plain", "../up.png", "frame_0.5"]
    assert name_pictures(names, depth=False) == ["a_b_c.png", "plain.png", "_up.png", "frame_0.5.png"]
    assert name_pictures(["a.jpg"], depth=True) == ["a_depth.png"]


def test_no_picture_writes_over_another():
    assert name_pictures(["a/b.jpg", "a_b.png", "c.png"], depth=False) == ["0000_a_b.png", "0001_a_b.png", "0002_c.png"]


def test_flags_that_repeat_a_default_repeat_it_rightly():
    shown, real = Evaluate(run=Path()), EvaluationSettings()
    for name in ("lpips_net", "lpips_weights", "max_pictures", "backend"):
        assert getattr(shown, name) == getattr(real, name)
    cleaning, judged = Clean(scene=Path(), output=Path()), CleaningSettings()
    for name in ("min_opacity", "min_weight", "max_scale_share"):
        assert getattr(cleaning, name) == getattr(judged, name)


def test_doctor_answers_in_json(capsys):
    code = main(["doctor", "--json"])
    record = json.loads(capsys.readouterr().out)
    names = [probe["name"] for probe in record["probes"]]
    assert code in (0, 6)
    for name in ("python", "torch", "compilers", "pycolmap", "video encoder", "LPIPS alex", "cache folder", "disk"):
        assert name in names
    assert {"rasterizer cpu", "rasterizer reference", "rasterizer gsplat"} <= set(names)
    assert all(probe["state"] in ("yes", "no", "optional") and probe["detail"] for probe in record["probes"])
