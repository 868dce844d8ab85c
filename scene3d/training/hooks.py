"""Owns what a trainer is given beside its field: photographs, a run folder's help, and the scene around."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from scene3d.data.loader import TrainingImage
from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.exposure import Exposure
from scene3d.training.field import Field, Region
from scene3d.training.shared_decoder import SharedDecoder
from scene3d.training.terms import LossTerm

TrainingState = tuple[dict[str, Tensor], dict[str, Any]]


@runtime_checkable
class PhotoSupply(Protocol):
    """What the trainer needs of an image loader."""

    def load(self, index: int) -> TrainingImage:
        """Photograph, mask and scaled camera of one view."""

    def prefetch(self, indices: Iterable[int]) -> None:
        """These views will be loaded next."""

    def view_name(self, index: int) -> str:
        """What a person calls the view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingHooks:
    """What the run folder does for the trainer; every hook may be left out."""

    save: Callable[[dict[str, Tensor], dict[str, Any]], object] | None = None
    """Keeps one state durably."""

    load: Callable[[], TrainingState | None] | None = None
    """The last state kept."""

    look: Callable[[int, Field], Mapping[str, float]] | None = None
    """Measures held-out views at `eval_every`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surroundings:
    """What a part of a larger scene is trained amid; the defaults suit a scene of its own."""

    region: Region | None = None
    """Where Gaussians may be added; those elsewhere are auxiliary."""

    backdrop: Gaussians | None = None
    """Gaussians that are drawn and not trained."""

    exposure: Exposure | None = None
    """Exposures to begin with, one per training view; trained on only if they are trainable."""

    terms: tuple[LossTerm, ...] = ()
    """Further terms of the loss."""

    num_views: int | None = None
    """Training views of the whole scene, by which rules for few views go; those of the trainer if not given."""

    shared: SharedDecoder | None = None
    """The decoder of an anchor field."""

    steps_shared: bool = True
    """Whether the trainer steps and saves the decoder; else whoever owns it does both."""

    block_weight: float = 1.0
    """Weight of the loss except distillation, at the start."""

    stage: str = "train"
    """Name under which progress is reported."""
