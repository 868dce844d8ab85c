"""Owns what happens to a capture before training: reading, examining, levelling, splitting, first Gaussians."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rasterizer import list_backends
from scene3d.data.capture import Capture, Finding, Severity
from scene3d.data.frame import estimate_frame
from scene3d.data.inspection import inspect_capture
from scene3d.data.reading import read_capture
from scene3d.data.split import Split, split_views
from scene3d.errors import InputError
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.initialization import gaussians_from_points, random_points_in_frustums
from scene3d.seeding import make_generator
from scene3d.training.schedules import growth_cap
from scene3d.training.settings import ReconstructSettings

MIN_POINTS = 100
"""Fewer points than this are filled up with random ones inside the cameras' view."""

NUM_RANDOM_POINTS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A capture made ready for training."""

    capture: Capture
    split: Split
    findings: tuple[Finding, ...]


def prepare_training(capture_path: Path, settings: ReconstructSettings) -> Prepared:
    """Reads, inspects, levels and splits a capture.

    Raises:
        InputError: The scene doctor found an error.
    """
    capture = read_capture(capture_path)
    findings = (*capture.findings, *inspect_capture(capture))
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        raise InputError(errors[0].what, where=errors[0].where or capture_path, remedy=errors[0].remedy or None)
    capture = capture.transformed(estimate_frame(capture))
    split = split_views(capture, every=settings.test_every)
    return Prepared(capture=capture, split=split, findings=(*findings, *split.findings))


def make_initial_gaussians(capture: Capture, split: Split, settings: ReconstructSettings) -> Gaussians:
    """One Gaussian per sparse point; random ones inside the cameras' view where there are too few points.

    Points that only held-out views saw are left out: they would carry those views into training.
    """
    generator = make_generator(settings.seed, "initialization")
    points = capture.points.seen_by(split.train)
    positions, colors = points.positions, points.colors
    if len(positions) < MIN_POINTS:
        cameras = [capture.views[i].camera for i in split.train]
        extra_positions, extra_colors = random_points_in_frustums(cameras, NUM_RANDOM_POINTS, generator=generator)
        positions = np.concatenate([positions, extra_positions])
        colors = np.concatenate([colors, extra_colors])
    return gaussians_from_points(positions, colors, sh_degree=0, generator=generator)


def find_scene_scale(capture: Capture, split: Split) -> float:
    """Radius of the training cameras around their mean, 1.1 times (Kerbl et al. 2023); 1 for a single place."""
    centers = np.stack([capture.views[i].camera.center for i in split.train])
    radius = float(np.linalg.norm(centers - centers.mean(0), axis=1).max())
    # The frame makes the median depth 1: cameras much closer together than that are no measure of the scene.
    return 1.1 * max(radius, 0.3)


def limit_growth(
    settings: ReconstructSettings, capture: Capture, split: Split, num_gaussians: int
) -> ReconstructSettings:
    """The settings with the cap on Gaussians that the training photographs determine."""
    cameras = [capture.views[i].camera.scaled(settings.image_scale) for i in split.train]
    num_pixels = sum(camera.width * camera.height for camera in cameras)
    cap = growth_cap(settings, num_gaussians, num_pixels)
    return replace(settings, density=replace(settings.density, max_gaussians=cap))


def choose_device(settings: ReconstructSettings) -> torch.device:
    """CUDA where gsplat is asked for, or is there and nothing else is asked for; else the CPU."""
    if settings.backend == "gsplat":
        return torch.device("cuda")
    available = settings.backend == "auto" and any(each.name == "gsplat" and each.available for each in list_backends())
    return torch.device("cuda" if available else "cpu")
