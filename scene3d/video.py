"""Owns pictures for people: depth in colours, stills, and animations as GIF, WebP or mp4."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.errors import InputError, MissingPart
from scene3d.events import Quiet, Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.atomic import replace_file
from scene3d.render import Rendering, render_view

ANIMATION_SUFFIXES = (".gif", ".webp", ".mp4")
COLORMAP_SIZE = 256
WEBP_QUALITY = 80
MP4_CRF = 20

Shown = Literal["image", "depth"]


def render_frames(
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    *,
    shown: Shown = "image",
    depth_range: tuple[float, float] | None = None,
    background: Float[Tensor, "3"] | None = None,
    backend: str | None = None,
    reporter: Reporter | None = None,
) -> Iterator[Float[Tensor, "h w 3"]]:
    """Pictures of what each camera sees, one at a time, values 0..1.

    Args:
        shown: Colours, or depth along z in colours from near (bright) to far (dark).
        depth_range: Nearest and farthest depth shown; without it, one range for all frames, from a sample of them.
    """
    reporter = reporter or Quiet()
    if shown == "depth" and depth_range is None:
        depth_range = find_depth_range(gaussians, cameras, backend=backend)
    reporter.start("render", len(cameras))
    for index, camera in enumerate(cameras):
        with torch.no_grad():
            rendering = render_view(gaussians, camera, background=background, backend=backend)
        yield picture_of(rendering, depth_range if shown == "depth" else None)
        reporter.advance("render", index + 1)
    reporter.finish("render")


def picture_of(rendering: Rendering, depth_range: tuple[float, float] | None = None) -> Float[Tensor, "h w 3"]:
    """A rendering's colours clamped to 0..1, or, with a range, its depth in colours, black where nothing is."""
    if depth_range is None:
        return rendering.image.clamp(0, 1)
    near, far = depth_range
    # Inverse depth: the eye cares for what is near, and a far background does not flatten the rest.
    inverse = 1 / rendering.depth.clamp_min(1e-12)
    picture = colorize(inverse, low=1 / far, high=1 / near)
    return torch.where((rendering.alpha > 0.5)[:, :, None], picture, 0.0)


def find_depth_range(
    gaussians: Gaussians, cameras: Sequence[Camera], *, max_cameras: int = 8, backend: str | None = None
) -> tuple[float, float]:
    """The depths between which all but the outermost 2 % at both ends lie, over an even sample of the cameras."""
    sampled = [cameras[i] for i in np.linspace(0, len(cameras) - 1, min(max_cameras, len(cameras))).astype(int)]
    depths = []
    for camera in sampled:
        with torch.no_grad():
            rendering = render_view(gaussians, camera, backend=backend)
        depths.append(rendering.depth[rendering.alpha > 0.5].cpu().numpy())
    seen = np.concatenate(depths) if depths else np.zeros(0)
    if len(seen) == 0:
        return 1.0, 2.0
    near, far = np.quantile(seen, [0.02, 0.98]).tolist()
    return near, max(far, near * 1.01)


def colorize(values: Float[Tensor, "h w"], *, low: float, high: float) -> Float[Tensor, "h w 3"]:
    """Values as colours from dark (`low`) to bright (`high`); outside values take the colours of the ends."""
    share = ((values - low) / (high - low)).nan_to_num(0.0).clamp(0, 1)
    table = torch.from_numpy(colormap()).to(values)
    return table[(share * (COLORMAP_SIZE - 1)).round().long()]


def colormap() -> Float[np.ndarray, "256 3"]:
    """A colour table of evenly rising lightness, from deep violet over teal to pale yellow, in sRGB.

    Built in OKLab (Ottosson 2020), where equal steps look equal, so that it also reads in grey.
    """
    share = np.linspace(0, 1, COLORMAP_SIZE)
    hue = np.deg2rad(310 - 205 * share)
    chroma = 0.02 + 0.11 * np.sin(np.pi * (0.15 + 0.7 * share))
    lab = np.stack([0.18 + 0.77 * share, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    cone_roots = lab @ np.array([[1, 1, 1], [0.3963377774, -0.1055613458, -0.0894841775], _LAB_B])
    linear = (cone_roots**3 @ _LINEAR_FROM_CONES.T).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(encoded)


_LAB_B = [0.2158037573, -0.0638541728, -1.2914855480]
_LINEAR_FROM_CONES = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def write_animation(path: Path, frames: Iterable[Float[Tensor, "h w 3"]], *, fps: float = 24.0) -> None:
    """Write pictures of one size as an animation, in the format of the suffix; frames are taken one at a time.

    Raises:
        InputError: Another suffix, no frames, or frames of different sizes.
        MissingPart: mp4 without an encoder on this machine.
    """
    suffix = path.suffix.lower()
    if suffix not in ANIMATION_SUFFIXES:
        raise InputError(f"cannot write a '{suffix}' animation", where=path, remedy="use .gif, .webp or .mp4")
    encoder = find_mp4_encoder() if suffix == ".mp4" else None
    pictures = _equal_pictures(frames, path)
    first = next(pictures, None)
    if first is None:
        raise InputError("there are no frames to write", where=path)
    with replace_file(path) as temporary:
        if encoder is not None:
            _write_mp4(temporary, chain([first], pictures), encoder, fps)
        else:
            _write_by_pillow(temporary, first, pictures, suffix, fps)


def find_mp4_encoder() -> str:
    """The ffmpeg of the imageio-ffmpeg package, else the system's.

    Raises:
        MissingPart: There is neither.
    """
    try:
        return str(import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
    if found is None:
        remedy = "write .webp or .gif, or install the 'video' extra (imageio-ffmpeg)"
        raise MissingPart("there is no mp4 encoder on this machine", remedy=remedy)
    return found


def _equal_pictures(frames: Iterable[Float[Tensor, "h w 3"]], path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    shape = None
    for frame in frames:
        if shape is not None and frame.shape != shape:
            raise InputError(f"frames of {tuple(shape)} and {tuple(frame.shape)} in one animation", where=path)
        shape = frame.shape
        yield (frame.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _write_by_pillow(
    path: Path, first: UInt8[np.ndarray, "h w 3"], others: Iterator[UInt8[np.ndarray, "h w 3"]], suffix: str, fps: float
) -> None:
    def to_image(picture: UInt8[np.ndarray, "h w 3"]) -> Image.Image:
        image = Image.fromarray(picture)
        # A palette per frame, without dithering, whose noise would flicker from frame to frame.
        return image.quantize(dither=Image.Dither.NONE) if suffix == ".gif" else image

    options = {"quality": WEBP_QUALITY, "method": 4} if suffix == ".webp" else {"optimize": False}
    to_image(first).save(
        path,
        suffix[1:].upper(),
        save_all=True,
        append_images=map(to_image, others),
        duration=max(1, round(1000 / fps)),
        loop=0,
        **options,
    )


def _write_mp4(path: Path, pictures: Iterator[UInt8[np.ndarray, "h w 3"]], encoder: str, fps: float) -> None:
    first = next(pictures)
    height, width = first.shape[:2]
    command = [encoder, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    # yuv420p, which every player knows, needs even sides: one black row or column is added at most.
    command += ["-r", f"{fps:g}", "-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264"]
    command += ["-crf", str(MP4_CRF), "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(path)]
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=messages)
        assert process.stdin is not None
        try:
            # A broken pipe means that the encoder gave up; its own message says why.
            with suppress(BrokenPipeError), process.stdin as stream:
                for picture in chain([first], pictures):
                    stream.write(picture.tobytes())
        except BaseException:
            process.kill()
            raise
        finally:
            code = process.wait()
        messages.seek(0)
        if code != 0:
            reason = messages.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise MissingPart(f"the mp4 encoder failed ({reason[-1]})", remedy="write .webp or .gif instead")
