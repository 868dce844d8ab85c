"""Owns the last step of view-dependent anchors: a standard set is fitted to what they show, and the loss measured."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from scene3d.data.capture import Capture
from scene3d.data.loader import TrainingImage
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.metrics import psnr_db
from scene3d.render import render_view
from scene3d.training.anchor_field import AnchorField
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.hooks import Surroundings
from scene3d.training.preparation import Prepared, find_scene_scale, open_photos
from scene3d.training.settings import ExposureSettings, ReconstructSettings
from scene3d.training.settling import settling
from scene3d.training.trainer import Trainer

STAGE = "bake"


class FieldPhotos:
    """Stands where the image loader stands, and shows what a field shows."""

    def __init__(self, field: AnchorField, capture: Capture, settings: ReconstructSettings) -> None:
        self._field = field
        self._views = capture.views
        self._settings = settings

    @torch.no_grad()
    def load(self, index: int) -> TrainingImage:
        """The field's image of one view."""
        camera = self._views[index].camera.scaled(self._settings.image_scale)
        backend = None if self._settings.backend == "auto" else self._settings.backend
        image = render_view(self._field.gaussians(camera), camera, backend=backend).image.clamp(0, 1)
        return TrainingImage(image=image.cpu(), mask=None, camera=camera, name=self.view_name(index))

    def prefetch(self, indices: Iterable[int]) -> None:
        """Nothing lies anywhere to be fetched."""

    def view_name(self, index: int) -> str:
        """The name of the photograph."""
        return self._views[index].name


def bake_view_field(
    field: AnchorField,
    capture: Capture,
    views: Sequence[int],
    settings: ReconstructSettings,
    reporter: Reporter,
) -> Gaussians:
    """A standard set that shows the training views as nearly as it can as the anchors show them.

    What `bake_anchors` gives is the start of a short training of explicit Gaussians, in which the field's own images
    are the photographs.
    """
    cameras = [capture.views[view].camera for view in views]
    start = field.baked(settings.sh_degree, cameras)
    rounds = settings.anchors.bake_iterations
    if rounds == 0:
        return start
    scene = settling(settings, iterations=rounds, num_gaussians=len(start))
    # The field's images are black where nothing is, and every one is exposed alike.
    scene = replace(scene, background="black", exposure=ExposureSettings(enabled=False))
    trainer = Trainer(
        ExplicitField(start, sh_degree=settings.sh_degree),
        FieldPhotos(field, capture, settings),
        views,
        scene,
        scene_scale=find_scene_scale(capture, views),
        surroundings=Surroundings(stage=STAGE),
        reporter=reporter,
    )
    reporter.start(STAGE, rounds, gaussians=len(start))
    trainer.run()
    reporter.finish(STAGE)
    return trainer.field.baked(settings.sh_degree)


def measure_bake(
    field: AnchorField, gaussians: Gaussians, prepared: Prepared, settings: ReconstructSettings
) -> dict[str, float]:
    """What the fit costs, on the held-out views, or on the training views where none is held out.

    Returns:
        Means in decibels: `psnr_to_field_db` between the set and the field, and how much nearer the field is to the
        photographs than the set (`drop_db`).
    """
    capture, split = prepared.capture, prepared.split
    views = split.test or split.train
    shown, photos = FieldPhotos(field, capture, settings), open_photos(capture, views, settings)
    backend = None if settings.backend == "auto" else settings.backend
    to_field, drop = 0.0, 0.0
    try:
        for view in views:
            photo, original = photos.load(view), shown.load(view).image
            baked = render_view(gaussians, photo.camera, backend=backend).image.detach().clamp(0, 1).cpu()
            to_field += psnr_db(baked, original) / len(views)
            drop += psnr_db(original, photo.image, mask=photo.mask) / len(views)
            drop -= psnr_db(baked, photo.image, mask=photo.mask) / len(views)
    finally:
        photos.close()
    return {"psnr_to_field_db": to_field, "drop_db": drop}
