"""Owns captures of the procedural world: photographs, exact poses, sparse points with tracks, and the truth.

A capture folder holds `images/`, `sparse/0/` (a COLMAP model), `depth/` (for each view the exact depth at each pixel
centre of the undistorted image, float32 `.npy`, in the units of the poses, 0 for sky) and `truth.json`.
"""

import io
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scene3d.cameras.camera import Camera
from scene3d.cameras.models import CameraModel
from scene3d.data.synthetic_points import (
    Candidates,
    TrackSettings,
    find_tracks,
    join_candidates,
    make_colmap_model,
    pick_candidates,
)
from scene3d.data.synthetic_poses import RigPlan, find_reach, make_poses
from scene3d.data.synthetic_settings import SyntheticSettings
from scene3d.data.synthetic_views import add_noise, load_depth, make_lens, photograph_through
from scene3d.errors import InputError
from scene3d.events import Quiet, Reporter
from scene3d.geometry.rotations import matrices_from_quats
from scene3d.geometry.similarity import Similarity
from scene3d.io.atomic import temporary_path, write_bytes, write_json
from scene3d.io.colmap import write_colmap
from scene3d.io.images import write_image
from scene3d.seeding import make_numpy_generator
from scene3d.world.classes import PALETTE, SurfaceClass
from scene3d.world.crop import World
from scene3d.world.photograph import Studio, make_studio, trace_depth
from scene3d.world.terrain import Bounds

__all__ = ["SyntheticSettings", "make_capture"]

SCHEMA_VERSION = 1
SUN_AZIMUTH_DEG = 215.0
SUN_ELEVATION_DEG = 47.0
CROP_MARGIN_M = 35.0
"""Past what the views see well; its shadows and trees still reach into them."""


def make_capture(output_dir: Path, settings: SyntheticSettings, reporter: Reporter | None = None) -> Path:
    """Make a capture of the procedural world; the same settings give the same bytes.

    A folder that already holds the capture of these very settings is left as it is. Otherwise the capture appears
    whole or not at all.

    Args:
        output_dir: The capture folder to make.
        settings: What to make.
        reporter: Told about each view.

    Returns:
        `output_dir`.

    Raises:
        InputError: The folder holds something else.
    """
    if _is_done(output_dir, settings):
        return output_dir
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise InputError("holds something else already", where=output_dir, remedy="choose a new folder")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    working = temporary_path(output_dir)
    shutil.rmtree(working, ignore_errors=True)
    try:
        _fill(working, settings, Quiet() if reporter is None else reporter)
        if output_dir.exists():
            output_dir.rmdir()
        working.rename(output_dir)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return output_dir


def _is_done(folder: Path, settings: SyntheticSettings) -> bool:
    path = folder / "truth.json"
    if not path.is_file():
        return False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    is_record = isinstance(record, dict) and record.get("schema_version") == SCHEMA_VERSION
    return bool(is_record and record.get("settings") == asdict(settings))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shoot:
    """A capture on its way: what is photographed, from where, and into which folder."""

    folder: Path
    settings: SyntheticSettings
    bounds: Bounds
    studio: Studio
    lens: CameraModel
    cameras: tuple[Camera, ...]
    capture_from_world: Similarity

    @property
    def names(self) -> list[str]:
        return [f"{number:04d}.{self.settings.image_format}" for number in range(len(self.cameras))]

    def depth_path(self, name: str) -> Path:
        return self.folder / "depth" / f"{Path(name).stem}.npy"


def _fill(folder: Path, settings: SyntheticSettings, reporter: Reporter) -> None:
    """Everything the capture holds, written into a folder that nobody looks at yet."""
    for name in ("images", "depth"):
        (folder / name).mkdir(parents=True)
    reporter.start("synthesize", settings.num_views)
    shoot = _plan_shoot(folder, settings)
    gains, candidates = _photograph_all(shoot, reporter)
    scale = shoot.capture_from_world.scale
    tracks = find_tracks(
        candidates,
        shoot.cameras,
        (load_depth(shoot.depth_path(name), scale) for name in shoot.names),
        shoot.lens,
        TrackSettings(num_points=settings.num_points, pixel_noise_px=settings.pixel_noise_px),
        make_numpy_generator(settings.seed, "synthetic tracks"),
    )
    model = make_colmap_model(tracks, shoot.lens, shoot.cameras, shoot.names, shoot.capture_from_world)
    write_colmap(folder / "sparse" / "0", model)
    if not settings.write_depth:
        shutil.rmtree(folder / "depth")
    write_json(folder / "truth.json", _truth_record(shoot, gains))
    reporter.finish("synthesize", num_points=len(tracks.positions))


def _plan_shoot(folder: Path, settings: SyntheticSettings) -> _Shoot:
    world = World(settings.seed)
    plan = RigPlan(
        kind=settings.kind,
        num_views=settings.num_views,
        extent_m=settings.extent_m,
        field_of_view_deg=settings.field_of_view_deg,
        aspect=settings.height / settings.width,
    )
    center = world.find_town()
    bounds = Bounds.around(center, find_reach(plan) + CROP_MARGIN_M)
    crop = world.crop(bounds)
    poses = make_poses(crop, center, plan, make_numpy_generator(settings.seed, "synthetic poses"))
    lens = make_lens(settings.width, settings.height, settings.field_of_view_deg, distorted=settings.distorted)
    return _Shoot(
        folder=folder,
        settings=settings,
        bounds=bounds,
        studio=make_studio(crop, azimuth_deg=SUN_AZIMUTH_DEG, elevation_deg=SUN_ELEVATION_DEG),
        lens=lens,
        cameras=tuple(Camera.behind(lens, pose) for pose in poses),
        capture_from_world=_choose_frame(settings),
    )


def _choose_frame(settings: SyntheticSettings) -> Similarity:
    """The frame of the files: the world's own, or a random one."""
    if not settings.moved:
        return Similarity.identity()
    generator = make_numpy_generator(settings.seed, "synthetic frame")
    rotation = matrices_from_quats(generator.normal(size=4))
    return Similarity(float(np.exp(generator.uniform(-2.0, 2.0))), rotation, generator.uniform(-50, 50, 3))


def _photograph_all(shoot: _Shoot, reporter: Reporter) -> tuple[list[float], Candidates]:
    """Write every photograph and depth map; returns the exposures and places where a point may be."""
    settings = shoot.settings
    exposure = make_numpy_generator(settings.seed, "synthetic exposure")
    noise = make_numpy_generator(settings.seed, "synthetic noise")
    picking = make_numpy_generator(settings.seed, "synthetic picking")
    gains = np.exp2(settings.exposure_spread_stops * exposure.normal(size=len(shoot.cameras)))
    # Many places are seen by too few views, most of all along a street.
    per_view = -(-3 * settings.num_points // len(shoot.cameras))
    candidates = []
    for number, (name, camera) in enumerate(zip(shoot.names, shoot.cameras, strict=True)):
        image = photograph_through(shoot.studio, shoot.lens, camera, gain=float(gains[number]))
        write_image(shoot.folder / "images" / name, add_noise(image, settings.image_noise, noise))
        depth = trace_depth(shoot.studio, camera)
        content = io.BytesIO()
        np.save(content, (depth * shoot.capture_from_world.scale).astype(np.float32), allow_pickle=False)
        write_bytes(shoot.depth_path(name), content.getvalue())
        candidates.append(pick_candidates(image, depth, camera, shoot.lens, per_view, picking))
        reporter.advance("synthesize", number + 1)
    return [float(gain) for gain in gains], join_candidates(candidates)


def _truth_record(shoot: _Shoot, gains: list[float]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "settings": asdict(shoot.settings),
        "world": {"seed": shoot.settings.seed, "bounds_m": asdict(shoot.bounds)},
        "sun": {"azimuth_deg": SUN_AZIMUTH_DEG, "elevation_deg": SUN_ELEVATION_DEG},
        "capture_from_world": shoot.capture_from_world.to_record(),
        "gains": dict(zip(shoot.names, gains, strict=True)),
        "palette": {one.name.lower(): list(PALETTE[one]) for one in SurfaceClass},
    }
