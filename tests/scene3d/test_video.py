"""Animations can be read back; colours of depth are ordered; missing parts say so."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from scene3d.cameras.camera import Camera
from scene3d.errors import InputError, MissingPart
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import Rendering
from scene3d.video import (
    colorize,
    colormap,
    find_depth_range,
    find_mp4_encoder,
    picture_of,
    render_frames,
    write_animation,
)

BACKEND = "reference"


def make_frames(count: int = 5, *, height: int = 33, width: int = 47) -> list[torch.Tensor]:
    """A bright bar that wanders over a smooth ground."""
    ground = torch.linspace(0, 0.6, width).expand(height, width)[:, :, None].repeat(1, 1, 3)
    frames = [ground.clone() for _ in range(count)]
    for i, frame in enumerate(frames):
        frame[:, 8 * i : 8 * i + 8] = torch.tensor([1.0, 0.8, 0.1])
    return frames


def make_wall(depth: float) -> Gaussians:
    side = torch.linspace(-2, 2, 9)
    means = torch.cartesian_prod(side, side, torch.tensor([depth]))
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(81, 1),
        log_scales=torch.full((81, 3), -1.0),
        opacity_logits=torch.full((81,), 6.0),
        sh=torch.ones(81, 1, 3),
    )


def make_cameras(count: int = 3) -> list[Camera]:
    K = np.array([[24.0, 0, 12], [0, 24, 9], [0, 0, 1]])
    poses = [np.eye(4) for _ in range(count)]
    for i, pose in enumerate(poses):
        pose[2, 3] = 0.5 * i
    return [Camera(width=24, height=18, K=K, cam_from_world=pose) for pose in poses]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_hold_the_frames_in_order(suffix, tmp_path):
    frames = make_frames()
    path = tmp_path / f"film{suffix}"
    write_animation(path, iter(frames), fps=10.0)
    with Image.open(path) as film:
        assert film.n_frames == len(frames)
        for i, frame in enumerate(frames):
            film.seek(i)
            shown = np.asarray(film.convert("RGB"), np.float32) / 255
            assert np.abs(shown - frame.numpy()).mean() < 0.04
            assert film.info["duration"] == 100
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_one_frame_is_an_animation_too(tmp_path):
    write_animation(tmp_path / "still.gif", make_frames(1))
    with Image.open(tmp_path / "still.gif") as film:
        assert film.n_frames == 1


def test_mp4_of_odd_size_can_be_read_back(tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="no mp4 encoder here")
    frames = make_frames()
    path = tmp_path / "film.mp4"
    write_animation(path, frames, fps=10.0)
    command = [find_mp4_encoder(), "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    decoded = decoded.reshape(len(frames), 34, 48, 3)
    for frame, picture in zip(frames, decoded, strict=True):
        assert np.abs(picture[:33, :47].astype(np.float32) / 255 - frame.numpy()).mean() < 0.06


def test_without_an_encoder_the_error_says_what_works(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingPart, match=r"\.webp or \.gif"):
        write_animation(tmp_path / "film.mp4", make_frames())
    assert not list(tmp_path.iterdir())


def test_the_systems_encoder_takes_over(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert find_mp4_encoder() == "/usr/bin/ffmpeg"


def test_an_encoder_that_fails_says_why_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("scene3d.video.find_mp4_encoder", lambda: "/bin/false")
    with pytest.raises(MissingPart, match="encoder failed"):
        write_animation(tmp_path / "film.mp4", make_frames())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["film.gif", "film.webp", "film.mp4"])
def test_frames_of_two_sizes_are_refused_and_leave_nothing(name, tmp_path, monkeypatch):
    if name.endswith("mp4"):
        pytest.importorskip("imageio_ffmpeg", reason="no mp4 encoder here")
    with pytest.raises(InputError, match="frames of"):
        write_animation(tmp_path / name, iter([*make_frames(2), torch.zeros(8, 8, 3)]))
    assert not list(tmp_path.iterdir())


def test_other_formats_and_no_frames_are_refused(tmp_path):
    with pytest.raises(InputError, match="avi"):
        write_animation(tmp_path / "film.avi", make_frames())
    with pytest.raises(InputError, match="no frames"):
        write_animation(tmp_path / "film.gif", [])


def test_the_colour_table_rises_evenly_in_lightness():
    table = colormap()
    assert table.shape == (256, 3)
    assert table.min() >= 0
    assert table.max() <= 1
    grey = table @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(grey) > 0).all()
    assert grey[0] < 0.1
    assert grey[-1] > 0.85


def test_values_outside_take_the_colours_of_the_ends():
    values = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 9.0, float("nan")]])
    picture = colorize(values, low=0.0, high=1.0)
    assert torch.equal(picture[0, 0], picture[0, 1])
    assert torch.equal(picture[0, 3], picture[0, 4])
    assert torch.equal(picture[0, 5], picture[0, 1])
    assert picture[0, 2].sum() > picture[0, 1].sum()


def test_near_is_brighter_than_far_and_nothing_is_black():
    depth = torch.tensor([[1.0, 2.0, 4.0, 0.0]])
    rendering = Rendering(image=torch.zeros(1, 4, 3), alpha=torch.tensor([[1.0, 1.0, 1.0, 0.1]]), depth=depth)
    brightness = picture_of(rendering, (1.0, 4.0)).sum(dim=2)[0]
    assert brightness[0] > brightness[1] > brightness[2] > brightness[3] == 0


def test_frames_come_one_per_camera():
    frames = list(render_frames(make_wall(4.0), make_cameras(), backend=BACKEND))
    assert len(frames) == 3
    assert all(frame.shape == (18, 24, 3) and 0 <= frame.min() <= frame.max() <= 1 for frame in frames)
    depths = list(render_frames(make_wall(4.0), make_cameras(), shown="depth", backend=BACKEND))
    # The camera backs off, so the wall grows darker under one common range.
    middle = [float(frame[9, 12].sum()) for frame in depths]
    assert middle[0] > middle[1] > middle[2]


def test_the_depth_range_covers_what_is_seen():
    near, far = find_depth_range(make_wall(4.0), make_cameras(), backend=BACKEND)
    assert 3.5 < near < 4.1
    assert 4.9 < far < 5.5
    nothing = make_wall(-4.0)
    assert find_depth_range(nothing, make_cameras(), backend=BACKEND) == (1.0, 2.0)
