"""Owns one training step: render a view, compare it with its photograph, move what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rasterizer import l1_ssim
from scene3d.cameras.camera import Camera
from scene3d.data.loader import TrainingImage
from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.density import screen_norms
from scene3d.training.exposure import Exposure
from scene3d.training.field import Drawn, Field
from scene3d.training.regularisation import multiscale_l1, regularisation
from scene3d.training.schedules import image_downscale_at, log_linear
from scene3d.training.settings import ReconstructSettings
from scene3d.training.splats import make_splats
from scene3d.training.terms import LossTerm, StepView


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepContext:
    """What every step of a run shares, and where the run stands."""

    settings: ReconstructSettings
    iteration: int

    scene_scale: float
    """Radius of the cameras, in world units; positions step in proportion to it."""

    generator: torch.Generator
    """Drives background, drop-out and the further terms."""

    drop_share: float = 0.0
    """Share of Gaussians left out of this step."""

    backdrop: Gaussians | None = None
    """Gaussians that are drawn and not trained."""

    terms: Sequence[LossTerm] = ()
    """Further terms of the loss."""

    held: Bool[Tensor, "n"] | None = None
    """Rows of the field that this step draws and does not move."""

    block_weight: float = 1.0
    """Weight of everything in the loss but distillation; density statistics do not feel it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step measured."""

    loss: float
    is_finite: bool
    num_visible: int


def training_step(
    field: Field,
    exposure: Exposure,
    photo: TrainingImage,
    view: int,
    context: StepContext,
) -> StepResult:
    """Renders `photo`'s camera, steps field and exposure, and gathers density statistics.

    The gradient of a shared decoder stays with it, for its owner to step.

    Nothing is changed when the loss is not finite: the caller rolls back or skips the view.

    Args:
        field: What is trained.
        exposure: Colour transforms of the training views.
        photo: The photograph and its camera.
        view: Row of `exposure` that belongs to the photograph.
        context: Settings and state of the run.
    """
    settings = context.settings
    photo = _downscaled(photo, image_downscale_at(settings, context.iteration))
    photo = _on_device(photo, field.device)
    drawn = field.draw(photo.camera)
    splats = make_splats(drawn.gaussians, context.backdrop, drop_share=context.drop_share, generator=context.generator)
    background = make_background(settings, context.generator).to(field.device)
    backend = None if settings.backend == "auto" else settings.backend
    due = [term for term in context.terms if term.is_due(context.iteration, settings.iterations)]
    rendered = splats.render(photo.camera, background, depth=bool(due), backend=backend)
    exposed = exposure.apply(rendered.image, view)
    loss = photometric_loss(exposed, photo, settings)
    if settings.loss.multiscale_weight > 0:
        loss = loss + settings.loss.multiscale_weight * multiscale_l1(exposed, photo.image, photo.mask)
    loss = loss + regularisation(drawn.gaussians, settings, context.scene_scale)
    if due:
        seen = StepView(
            photo=photo,
            rendered=rendered.as_view(),
            render=lambda camera: splats.render(camera, background, backend=backend).image,
            expose=lambda image: exposure.apply(image, view),
            iteration=context.iteration,
            iterations=settings.iterations,
            generator=context.generator,
        )
        loss = loss + torch.stack([term(seen) for term in due]).sum()
    loss = context.block_weight * loss
    if drawn.distillation is not None:
        # Outside the block's weight: blocks that lag behind are not pulled harder towards the teacher.
        loss = loss + drawn.distillation
    value = float(loss.detach())
    if not torch.isfinite(loss.detach()):
        return StepResult(loss=value, is_finite=False, num_visible=int(rendered.visible.sum()))
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    gradient = rendered.means2d.grad
    if gradient is not None:
        norms = screen_norms(gradient[0, : len(drawn.gaussians)], rendered.width, rendered.height)
        field.observe(drawn, norms / context.block_weight, rendered.visible)
    apply_gradients(field, exposure, view, (drawn, rendered.visible), context)
    return StepResult(loss=value, is_finite=True, num_visible=int(rendered.visible.sum()))


def make_background(settings: ReconstructSettings, generator: torch.Generator) -> Float[Tensor, "3"]:
    """The colour behind the scene; a new one per iteration when it is random."""
    if settings.background == "random":
        return torch.rand(3, generator=generator)
    return torch.full((3,), 1.0 if settings.background == "white" else 0.0)


def photometric_loss(
    image: Float[Tensor, "h w 3"], photo: TrainingImage, settings: ReconstructSettings
) -> Float[Tensor, ""]:
    """(1 - w) L1 + w (1 - SSIM) over the pixels that the mask allows (Kerbl et al. 2023, eq. 7)."""
    backend = None if settings.backend == "auto" else settings.backend
    target = photo.image
    if photo.mask is not None:
        # Windows of SSIM reach across the border of the mask: what lies there must be nothing, not the photograph.
        target = target * photo.mask[..., None]
    return l1_ssim(image, target, ssim_weight=settings.loss.ssim_weight, mask=photo.mask, backend=backend)


def apply_gradients(
    field: Field,
    exposure: Exposure,
    view: int,
    seen: tuple[Drawn, Bool[Tensor, "g"]],
    context: StepContext,
) -> None:
    """One optimiser step of what was drawn and visible, and of the view's exposure."""
    settings = context.settings
    field.step(*seen, settings, held=context.held, iteration=context.iteration, scene_scale=context.scene_scale)
    progress = context.iteration / settings.iterations
    rate = settings.exposure.lr
    exposure.step(view, log_linear(rate, rate * settings.exposure.lr_final_ratio, progress))


def _on_device(photo: TrainingImage, device: torch.device) -> TrainingImage:
    if device.type == "cpu":
        return photo
    mask = None if photo.mask is None else photo.mask.to(device, non_blocking=True)
    return replace(photo, image=photo.image.to(device, non_blocking=True), mask=mask)


def _downscaled(photo: TrainingImage, factor: int) -> TrainingImage:
    """The photograph at 1/factor of its size, by averaging; a small pixel is usable if all it covers is."""
    height, width = photo.image.shape[0] // factor, photo.image.shape[1] // factor
    if factor == 1 or min(height, width) < 16:
        return photo
    stacked = photo.image[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    mask = photo.mask
    if mask is not None:
        mask = mask[: height * factor, : width * factor].reshape(height, factor, width, factor).all(3).all(1)
    # The cut-off margin must be cut from the camera too: first crop, then scale.
    cropped = Camera(
        width=width * factor, height=height * factor, K=photo.camera.K, cam_from_world=photo.camera.cam_from_world
    )
    return TrainingImage(image=stacked.mean((1, 3)), mask=mask, camera=cropped.resized(width, height), name=photo.name)
