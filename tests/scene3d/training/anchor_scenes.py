"""Small anchor fields that the tests of anchors share."""

from collections.abc import Sequence
from dataclasses import replace

from scene3d.data.loader import TrainingImage
from scene3d.training.anchor_field import AnchorField
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.first_field import make_first_field, make_shared_decoder
from scene3d.training.hooks import Surroundings, TrainingHooks
from scene3d.training.settings import DensitySettings, LossSettings, ReconstructSettings
from scene3d.training.shared_decoder import SharedDecoder
from scene3d.training.trainer import Trainer
from tests.scene3d.training.small_scenes import Photographs, make_gaussians

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
