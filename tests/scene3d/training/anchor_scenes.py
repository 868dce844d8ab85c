"""Small anchor fields and photographs that the tests of anchors share."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from scene3d.cameras.camera import Camera
from scene3d.data.loader import TrainingImage
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view
from scene3d.training.anchor_field import AnchorField
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.first_field import make_first_field, make_shared_decoder
from scene3d.training.hooks import Surroundings, TrainingHooks
from scene3d.training.settings import DensitySettings, LossSettings, ReconstructSettings
from scene3d.training.shared_decoder import SharedDecoder
from scene3d.training.trainer import Trainer

SETTINGS = ReconstructSettings(
    iterations=60,
    sh_degree=1,
    eval_every=0,
    checkpoint_every=10,
    coarse_share=0.0,
    background="black",
    field="anchors",
    anchors=AnchorSettings(features=8, hidden=16, offsets=3, teacher="off", grow_gradient=1e-6),
    density=DensitySettings(start=10, every=10, stop_share=0.9, max_gaussians=240),
    loss=LossSettings(drop_share=0.1),
)


def with_anchors(settings: ReconstructSettings, **changes: object) -> ReconstructSettings:
    """The settings with other settings of anchors."""
    return replace(settings, anchors=replace(settings.anchors, **changes))


class Photographs:
    """Stands where the image loader stands."""

    def __init__(self, photos: Sequence[TrainingImage]) -> None:
        self.photos = list(photos)

    def load(self, index: int) -> TrainingImage:
        return self.photos[index]

    def prefetch(self, indices: Iterable[int]) -> None:
        assert all(0 <= index < len(self.photos) for index in indices)

    def view_name(self, index: int) -> str:
        return self.photos[index].name


def make_gaussians(seed: int, num: int = 60) -> Gaussians:
    """A cloud of coloured blobs."""
    generator = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(num, 3, generator=generator) * 0.4,
        quats=torch.randn(num, 4, generator=generator),
        log_scales=torch.full((num, 3), -2.2),
        opacity_logits=torch.full((num,), 1.0),
        sh=torch.randn(num, 1, 3, generator=generator) * 0.8,
    )


def make_cameras(num: int, width: int = 40, height: int = 32) -> list[Camera]:
    """Cameras on a circle around the cloud."""
    cameras = []
    for i in range(num):
        angle = 2 * math.pi * i / num
        cam_from_world = np.eye(4)
        cam_from_world[0, [0, 2]] = math.cos(angle), math.sin(angle)
        cam_from_world[2, [0, 2]] = -math.sin(angle), math.cos(angle)
        cam_from_world[2, 3] = 2.5
        K = np.array([[40.0, 0, width / 2], [0, 40, height / 2], [0, 0, 1]])
        cameras.append(Camera(width=width, height=height, K=K, cam_from_world=cam_from_world))
    return cameras


def make_photographs(num: int = 8, seed: int = 0) -> list[TrainingImage]:
    """What the cameras see of a cloud."""
    truth = make_gaussians(seed)
    return [
        TrainingImage(image=render_view(truth, camera).image.clamp(0, 1), mask=None, camera=camera, name=f"{i}.png")
        for i, camera in enumerate(make_cameras(num))
    ]


def make_field(
    settings: ReconstructSettings = SETTINGS, *, num: int = 40, shared: SharedDecoder | None = None
) -> tuple[AnchorField, SharedDecoder]:
    """An untrained field and its decoder."""
    shared = shared or make_shared_decoder(settings, steps=settings.iterations)
    assert shared is not None
    field = make_first_field(make_gaussians(5, num), settings, shared=shared)
    assert isinstance(field, AnchorField)
    return field, shared


def make_trainer(
    photos: Sequence[TrainingImage],
    settings: ReconstructSettings = SETTINGS,
    hooks: TrainingHooks | None = None,
    surroundings: Surroundings | None = None,
) -> Trainer:
    """A trainer of a fresh field on some of the photographs."""
    field, shared = make_field(settings, shared=surroundings.shared if surroundings else None)
    surroundings = replace(surroundings or Surroundings(), shared=shared)
    return Trainer(
        field,
        Photographs(photos),
        (1, 2, 3, 5, 6, 7),
        settings,
        scene_scale=1.0,
        surroundings=surroundings,
        hooks=hooks,
    )
