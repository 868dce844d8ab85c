"""Owns what a further term of the loss sees of one training step: photograph, rendering, and a way to render again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scene3d.cameras.camera import Camera
from scene3d.data.loader import TrainingImage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedView:
    """One differentiable image with its geometry."""

    image: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"]
    """Expected depth along z, divided by alpha; 0 where nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepView:
    """One training step as a term sees it."""

    photo: TrainingImage
    """The photograph at the step's size, and its camera."""

    rendered: RenderedView
    """What the scene shows there, before any exposure."""

    render: Callable[[Camera], Float[Tensor, "h w 3"]]
    """The image of the same scene from another camera, which may be of another size."""

    expose: Callable[[Float[Tensor, "h w 3"]], Float[Tensor, "h w 3"]]
    """A rendered image as this photograph was exposed."""

    iteration: int
    iterations: int
    """Of the whole run."""

    generator: torch.Generator
    """Drives everything random in the step; part of the checkpoint."""


@runtime_checkable
class LossTerm(Protocol):
    """A term beside the photometric one. It keeps no state: a resumed run meets it as an uninterrupted one does."""

    def is_due(self, iteration: int, iterations: int) -> bool:
        """Whether the term has something to say at this iteration."""

    def __call__(self, step: StepView) -> Float[Tensor, ""]:
        """Its share of the loss, weighted; exactly 0 where it has nothing to compare."""
