"""A small cloud of blobs, cameras around it and their photographs, for the tests of training."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from scene3d.cameras.camera import Camera
from scene3d.data.loader import TrainingImage
from scene3d.gaussians.gaussians import Gaussians
from scene3d.render import render_view
from scene3d.training.hooks import TrainingState


class Photographs:
    """Stands where the image loader stands; remembers which views were asked for."""

    def __init__(self, photos: Sequence[TrainingImage]) -> None:
        self.photos = list(photos)
        self.asked: list[int] = []

    def load(self, index: int) -> TrainingImage:
        self.asked.append(index)
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


def same_state(a: TrainingState, b: TrainingState) -> bool:
    """Whether two states of a trainer are the same, but for the seconds they took."""
    plain = {key: value for key, value in a[1].items() if key != "seconds"}
    other = {key: value for key, value in b[1].items() if key != "seconds"}
    return plain == other and a[0].keys() == b[0].keys() and all(torch.equal(a[0][name], b[0][name]) for name in a[0])
