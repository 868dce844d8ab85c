"""Owns how much each Gaussian contributes to the photographs: measured once per scene, in the background, and kept."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from app.commands.clean import WEIGHT_IMAGE_WIDTH_PX
from app.viewer.stage import Stage
from scene3d.cameras.camera import Camera
from scene3d.errors import InputError, Scene3dError
from scene3d.io.tensors import file_sha256, read_tensors_with_metadata, write_tensors
from scene3d.render import max_blending_weights

MAX_VIEWS = 32
"""Photographs that are looked through; more would hardly find a Gaussian that these do not show."""

MAX_KEPT = 16
"""Scenes whose weights stay in memory."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Measuring:
    """How far the weights of one scene are."""

    total: int
    done: int = 0
    weights: Float[Tensor, "n"] | None = None
    """Largest blending weight of each Gaussian over the views; None until all have been looked through."""

    error: str | None = None


class Contributions:
    """Measures one scene after another in a thread of its own, so that pictures go on meanwhile."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, Measuring] = OrderedDict()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="contribution")
        self._closing = False

    def ask(self, stage: Stage, folder: Path) -> Measuring:
        """How far a scene is; the first question, and the first after an error, starts it.

        Args:
            stage: Finished, with photographs.
            folder: Where weights of scenes are kept.

        Raises:
            InputError: It has no photographs, or is still in training.
        """
        if not can_be_measured(stage):
            raise InputError("contributions are measured with the photographs of a finished scene")
        name = f"{stage.run.id}/{stage.key}"
        with self._lock:
            measuring = self._known.get(name)
            if measuring is None or measuring.error is not None:
                measuring = Measuring(total=len(choose_cameras(stage)))
                self._known[name] = measuring
                self._worker.submit(self._measure, measuring, stage, folder)
            self._known.move_to_end(name)
            while len(self._known) > MAX_KEPT:
                self._known.popitem(last=False)
            return measuring

    def weights(self, stage: Stage) -> Float[Tensor, "n"]:
        """The weights of a scene.

        Raises:
            InputError: They have not been measured yet.
        """
        with self._lock:
            measuring = self._known.get(f"{stage.run.id}/{stage.key}")
        if measuring is None or measuring.weights is None:
            raise InputError("contributions have not been measured yet", remedy="wait a moment")
        return measuring.weights

    def close(self) -> None:
        """Ends the measuring."""
        self._closing = True
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _measure(self, measuring: Measuring, stage: Stage, folder: Path) -> None:
        gaussians, cameras = stage.scene.gaussians, choose_cameras(stage)
        try:
            path = folder / f"weights-{_identity(stage, cameras)}.safetensors"
            weights = _read(path, len(gaussians))
            if weights is None:
                weights = torch.zeros(len(gaussians))
                for camera in cameras:
                    if self._closing:
                        return
                    weights = torch.maximum(weights, max_blending_weights(gaussians, [camera]))
                    measuring.done += 1
                for old in folder.glob("weights-*.safetensors"):
                    old.unlink(missing_ok=True)
                write_tensors(path, {"weights": weights})
            measuring.done = measuring.total
            measuring.weights = weights
        except Scene3dError as error:
            measuring.error = error.what
        except Exception as error:  # nobody waits for this thread: without a word the page would wait for ever
            logger.exception("contributions of %s", stage.run.name)
            measuring.error = f"contributions could not be measured ({type(error).__name__})"


def can_be_measured(stage: Stage) -> bool:
    """Whether a scene is finished and its photographs are there."""
    return bool(stage.views) and not stage.is_live


def choose_cameras(stage: Stage) -> list[Camera]:
    """Cameras of training views, evenly over their list, in images as `scene3d clean` looks at."""
    trained = [view.camera for view in stage.views if view.name not in stage.held_out]
    trained = trained or [view.camera for view in stage.views]
    places = np.linspace(0, len(trained) - 1, min(MAX_VIEWS, len(trained))).round().astype(int)
    return [trained[i].scaled(min(1.0, WEIGHT_IMAGE_WIDTH_PX / trained[i].width)) for i in places]


def _identity(stage: Stage, cameras: Sequence[Camera]) -> str:
    """Hash of what the weights follow from: the scene file and the cameras."""
    run = stage.scene.run
    digest = sha256(file_sha256(stage.run.root if run is None else run.merged_scene).encode())
    for camera in cameras:
        digest.update(camera.cam_from_world.tobytes() + camera.K.tobytes())
        digest.update(f"{camera.width}x{camera.height}".encode())
    return digest.hexdigest()[:32]


def _read(path: Path, num_gaussians: int) -> Float[Tensor, "n"] | None:
    """Weights that were kept; None where there are none that fit."""
    if not path.is_file():
        return None
    try:
        weights = read_tensors_with_metadata(path)[0].get("weights")
    except Scene3dError:
        return None
    fits = weights is not None and weights.dtype == torch.float32 and weights.shape == (num_gaussians,)
    return weights if fits else None
