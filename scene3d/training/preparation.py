"""Owns what happens to a capture before training: reading, examining, levelling, splitting, first Gaussians."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rasterizer import list_backends
from scene3d.data.capture import Capture, Finding, Severity, SparsePoints, describe
from scene3d.data.frame import estimate_frame
from scene3d.data.inspection import inspect_capture
from scene3d.data.loader import ImageLoader
from scene3d.data.photo_gains import measure_gains
from scene3d.data.reading import read_capture
from scene3d.data.split import Split, split_views
from scene3d.errors import InputError
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.gaussians.initialization import gaussians_from_points, random_points_in_frustums
from scene3d.seeding import make_generator
from scene3d.training.depth_prior import DepthPriorTerm
from scene3d.training.exposure import Exposure
from scene3d.training.memory import affordable_gaussians, check_fits, photo_bytes
from scene3d.training.pseudo_view import PseudoViewTerm
from scene3d.training.schedules import growth_cap
from scene3d.training.settings import ReconstructSettings
from scene3d.training.terms import LossTerm

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
    """One Gaussian per sparse point of the whole scene.

    Points that only held-out views saw are left out: they would carry those views into training.
    """
    return gaussians_for_views(capture, split.train, capture.points.seen_by(split.train), settings)


def gaussians_for_views(
    capture: Capture, views: Sequence[int], points: SparsePoints, settings: ReconstructSettings
) -> Gaussians:
    """One Gaussian per point; random ones inside these views' cameras where there are too few points."""
    generator = make_generator(settings.seed, "initialization")
    positions, colors = points.positions, points.colors
    if len(positions) < MIN_POINTS:
        cameras = [capture.views[i].camera for i in views]
        extra_positions, extra_colors = random_points_in_frustums(cameras, NUM_RANDOM_POINTS, generator=generator)
        positions = np.concatenate([positions, extra_positions])
        colors = np.concatenate([colors, extra_colors])
    return gaussians_from_points(positions, colors, sh_degree=0, generator=generator)


def find_scene_scale(capture: Capture, views: Sequence[int]) -> float:
    """Radius of these cameras around their mean, 1.1 times (Kerbl et al. 2023); never next to nothing."""
    centers = np.stack([capture.views[i].camera.center for i in views])
    radius = float(np.linalg.norm(centers - centers.mean(0), axis=1).max())
    # The frame makes the median depth 1: cameras much closer together than that are no measure of the scene.
    return 1.1 * max(radius, 0.3)


def limit_growth(
    settings: ReconstructSettings, capture: Capture, views: Sequence[int], num_gaussians: int, *, num_pixels: int
) -> ReconstructSettings:
    """The settings with the cap on Gaussians that photographs and memory allow.

    Args:
        views: The views that are trained on.
        num_gaussians: Gaussians at the start.
        num_pixels: Pixels of these photographs that show what may grow.

    Raises:
        LimitExceeded: Not even the Gaussians at the start fit into the memory given; the message says how much would.
    """
    memory = int(settings.memory_gb * 2**30)
    image_pixels = largest_image(capture, views, settings)
    affordable = affordable_gaussians(memory, settings.sh_degree, image_pixels)
    if num_gaussians > affordable:
        check_fits(memory, num_gaussians, settings.sh_degree, image_pixels)
    cap = min(affordable, growth_cap(settings, num_gaussians, num_pixels))
    return replace(settings, density=replace(settings.density, max_gaussians=cap))


def count_pixels(capture: Capture, views: Sequence[int], settings: ReconstructSettings) -> int:
    """Pixels of all these photographs at the size they are trained at."""
    cameras = [capture.views[i].camera.scaled(settings.image_scale) for i in views]
    return sum(camera.width * camera.height for camera in cameras)


def largest_image(capture: Capture, views: Sequence[int], settings: ReconstructSettings) -> int:
    """Pixels of the largest of these photographs at the size they are trained at."""
    return max(count_pixels(capture, [view], settings) for view in views)


def open_photos(capture: Capture, views: Sequence[int], settings: ReconstructSettings) -> ImageLoader:
    """The capture's photographs, decoded within what training leaves of the memory given."""
    left = photo_bytes(
        int(settings.memory_gb * 2**30),
        settings.density.max_gaussians,
        settings.sh_degree,
        largest_image(capture, views, settings),
    )
    return ImageLoader(capture.views, image_scale=settings.image_scale, memory_bytes=left)


def start_exposure(
    capture: Capture, views: Sequence[int], settings: ReconstructSettings, reporter: Reporter
) -> Exposure | None:
    """Exposures that begin with how bright the photographs are where they overlap; None where they are off.

    From the identity, training moves them too slowly to matter before the scene has settled at a mean brightness.
    """
    if not settings.exposure.enabled or len(views) < 2:
        return None
    measured = measure_gains(capture, views)
    for finding in measured.findings:
        reporter.note(describe(finding), level=finding.severity.value)
    reporter.note(f"the photographs differ in brightness by {measured.spread:.0%} (standard deviation)")
    return Exposure.from_gains(torch.from_numpy(measured.gains).float(), choose_device(settings))


def make_terms(
    capture: Capture, views: Sequence[int], settings: ReconstructSettings, reporter: Reporter
) -> tuple[LossTerm, ...]:
    """The further terms of the loss that the settings ask for."""
    terms: list[LossTerm] = []
    if settings.pseudo_view.every:
        terms.append(PseudoViewTerm(settings=settings.pseudo_view))
    if settings.depth_prior.folder is not None:
        prior = DepthPriorTerm.from_capture(capture, views, settings.depth_prior)
        for finding in prior.findings:
            reporter.note(describe(finding), level=finding.severity.value)
        terms.append(prior)
    return tuple(terms)


def choose_device(settings: ReconstructSettings) -> torch.device:
    """CUDA where gsplat is asked for, or is there and nothing else is asked for; else the CPU."""
    if settings.backend == "gsplat":
        return torch.device("cuda")
    available = settings.backend == "auto" and any(each.name == "gsplat" and each.available for each in list_backends())
    return torch.device("cuda" if available else "cpu")
