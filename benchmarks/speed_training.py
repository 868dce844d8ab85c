"""Splits a training step into its parts and compares it with the rasterizer and the loss alone."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from machine import SHARED, usable_cores
from timing import Bar, ratio

import scene3d.training.splats as splats_module
import scene3d.training.step as step_module
from rasterizer import l1_ssim, rasterization
from scene3d.data.loader import ImageLoader, TrainingImage
from scene3d.data.synthetic import SyntheticSettings, make_capture
from scene3d.events import Quiet
from scene3d.render import NEAR_PLANE, camera_tensors
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.preparation import (
    count_pixels,
    find_scene_scale,
    limit_growth,
    make_initial_gaussians,
    prepare_training,
)
from scene3d.training.settings import ReconstructSettings
from scene3d.training.trainer import Trainer

CAPTURE, IMAGE_SCALE = "fox", 0.5
ITERATIONS = 2000
MEASURED_FROM = 800
"""Into the density rounds and past the coarse images, with view-dependent colour in use."""

ITERATIONS_PER_ROUND = 50
PARTS = ("decode", "raster forward", "loss", "backward", "optimiser", "densify")
MAX_STEP_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class Spent:
    """Wall and processor seconds of something done again and again."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Adds what its body takes."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        yield
        self.wall_s.append(time.perf_counter() - wall_s)
        self.cpu_s.append(time.process_time() - cpu_s)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was spent on training steps, on their parts, and on rendering and loss by themselves."""

    parts_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    steps: Spent = field(default_factory=Spent)
    alone: Spent = field(default_factory=Spent)


def measure_training_step(rounds: int) -> dict[str, Any]:
    """Milliseconds per iteration of every part, density rounds spread over all iterations.

    The bar compares the whole iteration (the median, and its share of the density rounds) with rendering and loss,
    forward and backward, of the same Gaussians and photographs and nothing else.
    """
    torch.set_num_threads(min(2, usable_cores()))
    with tempfile.TemporaryDirectory() as scratch:
        capture = find_capture(Path(scratch))
        trainer, measured = train_and_measure(capture, rounds)
    steps, count = measured.steps, len(measured.steps.wall_s)
    parts_s = measured.parts_s | {"other": sum(steps.wall_s) - sum(measured.parts_s.values())}
    step_s = statistics.median(steps.wall_s) + parts_s["densify"] / count
    alone_s = statistics.median(measured.alone.wall_s)
    cpu_ratio = ratio(statistics.mean(steps.cpu_s), statistics.mean(measured.alone.cpu_s))
    bars = {"step_over_raster_and_loss": ratio(step_s, alone_s), "step_over_raster_and_loss_cpu_time": cpu_ratio}
    return {
        "capture": capture.name,
        "image_scale": IMAGE_SCALE,
        "iterations": [MEASURED_FROM, MEASURED_FROM + count],
        "num_gaussians": len(trainer.field),
        "sh_degree": trainer.field.sh_degree,
        "mean_ms_per_iteration": {name: round(1e3 * seconds / count, 3) for name, seconds in parts_s.items()},
        "step_ms": round(1e3 * step_s, 2),
        "raster_and_loss_ms": round(1e3 * alone_s, 2),
        "bars": [Bar(name=n, value=v, bar=MAX_STEP_RATIO, at_least=False).to_record() for n, v in bars.items()],
    }


def train_and_measure(capture: Path, rounds: int) -> tuple[Trainer, Measured]:
    """Trains into the middle of a run, then measures rounds of iterations and bare rendering side by side."""
    settings = ReconstructSettings(iterations=ITERATIONS, image_scale=IMAGE_SCALE, eval_every=0)
    prepared = prepare_training(capture, settings)
    scene, split = prepared.capture, prepared.split
    measured = Measured()
    loader = ImageLoader(scene.views, image_scale=IMAGE_SCALE)
    try:
        gaussians = ExplicitField(make_initial_gaussians(scene, split, settings))
        num_pixels = count_pixels(scene, split.train, settings)
        settings = limit_growth(settings, scene, split.train, len(gaussians), num_pixels=num_pixels)
        trainer = Trainer(gaussians, loader, split.train, settings, scene_scale=find_scene_scale(scene, split.train))
        trainer.run(until=MEASURED_FROM)
        photos = [loader.load(view) for view in split.train[:10]]
        for _ in range(rounds):
            run_measured(trainer, loader, measured)
            for photo in photos:
                render_and_compare(trainer.field, photo, measured.alone)
    finally:
        loader.close()
    return trainer, measured


def find_capture(scratch: Path) -> Path:
    """The real capture, or a synthetic one where that is not here."""
    shared = SHARED / "data" / CAPTURE
    if shared.is_dir():
        return shared
    settings = SyntheticSettings(kind="aerial", num_views=24, width=640, height=480, seed=0)
    return make_capture(scratch / "synthetic", settings, Quiet())


def run_measured(trainer: Trainer, loader: ImageLoader, measured: Measured) -> None:
    """Trains one round and adds what its iterations and their parts take."""
    parts = measured.parts_s
    with (
        timed_calls(loader, "load", parts, "decode"),
        timed_calls(splats_module, "rasterization", parts, "raster forward"),
        timed_calls(step_module, "photometric_loss", parts, "loss"),
        timed_calls(torch.Tensor, "backward", parts, "backward"),
        timed_calls(step_module, "apply_gradients", parts, "optimiser"),
        timed_calls(ExplicitField, "change_density", parts, "densify"),
    ):
        for _ in range(ITERATIONS_PER_ROUND):
            with measured.steps.measured():
                trainer.run(until=trainer.iteration + 1)


@contextmanager
def timed_calls(owner: Any, name: str, parts: dict[str, float], part: str) -> Iterator[None]:
    """Adds the seconds of every call of `owner.name` to one part."""
    original: Callable[..., Any] = getattr(owner, name)

    def timed(*args: Any, **options: Any) -> Any:
        start_s = time.perf_counter()
        try:
            return original(*args, **options)
        finally:
            parts[part] += time.perf_counter() - start_s

    with mock.patch.object(owner, name, timed):
        yield


def render_and_compare(field: ExplicitField, photo: TrainingImage, spent: Spent) -> None:
    """Rendering and loss, forward and backward, with nothing around them."""
    gaussians = field.baked(field.sh_degree)
    tensors = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    means, quats, scales, opacities, sh = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    viewmats, Ks = camera_tensors([photo.camera], field.device)
    with spent.measured():
        image, _, _ = rasterization(
            means,
            quats,
            scales,
            opacities,
            sh,
            viewmats,
            Ks,
            photo.camera.width,
            photo.camera.height,
            near_plane=NEAR_PLANE,
            sh_degree=field.sh_degree,
            packed=False,
        )
        l1_ssim(image[0], photo.image, mask=photo.mask).backward()  # type: ignore[no-untyped-call]
