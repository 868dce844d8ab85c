"""Splits a training step into its parts and compares it with the rasterizer and the loss alone."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from machine import SHARED, usable_cores
from timing import Bar, ratio

import scene3d.training.step as step_module
import scene3d.training.trainer as trainer_module
from rasterizer import l1_ssim, rasterization
from scene3d.data.loader import ImageLoader, TrainingImage
from scene3d.data.synthetic import SyntheticSettings, make_capture
from scene3d.events import Quiet
from scene3d.render import NEAR_PLANE, camera_tensors
from scene3d.training.field import ExplicitField
from scene3d.training.preparation import find_scene_scale, limit_growth, make_initial_gaussians, prepare_training
from scene3d.training.settings import ReconstructSettings
from scene3d.training.trainer import Trainer

CAPTURE, IMAGE_SCALE = "fox", 0.5
ITERATIONS = 2000
MEASURED_FROM = 800
"""Into the density rounds and past the coarse images, with view-dependent colour in use."""

ITERATIONS_PER_ROUND = 50
PARTS = ("decode", "raster forward", "loss", "backward", "optimiser", "densify")
MAX_STEP_RATIO = 2.0


def measure_training_step(rounds: int) -> dict[str, Any]:
    """Milliseconds per iteration of every part, density rounds spread over all iterations.

    The bar compares the whole iteration (the median, and its share of the density rounds) with rendering and loss,
    forward and backward, of the same Gaussians and photographs and nothing else.
    """
    torch.set_num_threads(min(2, usable_cores()))
    with tempfile.TemporaryDirectory() as scratch:
        capture = find_capture(Path(scratch))
        settings = ReconstructSettings(iterations=ITERATIONS, image_scale=IMAGE_SCALE, eval_every=0)
        prepared = prepare_training(capture, settings)
        scene, split = prepared.capture, prepared.split
        loader = ImageLoader(scene.views, image_scale=IMAGE_SCALE)
        try:
            field = ExplicitField(make_initial_gaussians(scene, split, settings))
            settings = limit_growth(settings, scene, split, len(field))
            trainer = Trainer(field, loader, split.train, settings, scene_scale=find_scene_scale(scene, split))
            trainer.run(until=MEASURED_FROM)
            photos = [loader.load(view) for view in split.train[:10]]
            parts, steps_s, alone = dict.fromkeys(PARTS, 0.0), [], []
            for _ in range(rounds):  # side by side, so that a change in the machine's load meets both
                steps_s += run_measured(trainer, loader, parts)
                alone += [render_and_compare(trainer.field, photo) for photo in photos]
        finally:
            loader.close()
    parts["other"] = sum(steps_s) - sum(parts.values())
    step_s, alone_s = statistics.median(steps_s) + parts["densify"] / len(steps_s), statistics.median(alone)
    bar = Bar(name="step_over_raster_and_loss", value=ratio(step_s, alone_s), bar=MAX_STEP_RATIO, at_least=False)
    return {
        "capture": capture.name,
        "image_scale": IMAGE_SCALE,
        "iterations": [MEASURED_FROM, MEASURED_FROM + len(steps_s)],
        "num_gaussians": len(trainer.field),
        "sh_degree": trainer.field.sh_degree,
        "mean_ms_per_iteration": {name: round(1e3 * seconds / len(steps_s), 3) for name, seconds in parts.items()},
        "step_ms": round(1e3 * step_s, 2),
        "raster_and_loss_ms": round(1e3 * alone_s, 2),
        "bars": [bar.to_record()],
    }


def find_capture(scratch: Path) -> Path:
    """The real capture, or a synthetic one where that is not here."""
    shared = SHARED / "data" / CAPTURE
    if shared.is_dir():
        return shared
    settings = SyntheticSettings(kind="aerial", num_views=24, width=640, height=480, seed=0)
    return make_capture(scratch / "synthetic", settings, Quiet())


def run_measured(trainer: Trainer, loader: ImageLoader, parts: dict[str, float]) -> list[float]:
    """Adds the seconds spent in each part to `parts`; returns the seconds of each iteration."""
    steps_s = []
    with (
        timed_calls(loader, "load", parts, "decode"),
        timed_calls(step_module, "rasterization", parts, "raster forward"),
        timed_calls(step_module, "photometric_loss", parts, "loss"),
        timed_calls(torch.Tensor, "backward", parts, "backward"),
        timed_calls(step_module, "apply_gradients", parts, "optimiser"),
        timed_calls(trainer_module, "change_density", parts, "densify"),
    ):
        for _ in range(ITERATIONS_PER_ROUND):
            start_s = time.perf_counter()
            trainer.run(until=trainer.iteration + 1)
            steps_s.append(time.perf_counter() - start_s)
    return steps_s


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


def render_and_compare(field: ExplicitField, photo: TrainingImage) -> float:
    """Seconds of rendering and loss, forward and backward, with nothing around them."""
    gaussians = field.baked(field.sh_degree)
    tensors = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    means, quats, scales, opacities, sh = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    viewmats, Ks = camera_tensors([photo.camera], field.device)
    start_s = time.perf_counter()
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
    return time.perf_counter() - start_s
