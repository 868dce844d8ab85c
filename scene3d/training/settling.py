"""Owns the settings of a run that only settles what another run made."""

from dataclasses import replace
from typing import TypeVar

from scene3d.training.settings import ReconstructSettings

Settings = TypeVar("Settings", bound=ReconstructSettings)


def settling(settings: Settings, *, iterations: int, num_gaussians: int) -> Settings:
    """Final step sizes throughout, no growth, nothing left out, explicit Gaussians."""
    steps = settings.optimizer
    share = steps.other_lr_final_ratio
    optimizer = replace(
        steps,
        means_lr=steps.means_lr * steps.means_lr_final_ratio,
        means_lr_final_ratio=1.0,
        quats_lr=steps.quats_lr * share,
        scales_lr=steps.scales_lr * share,
        opacities_lr=steps.opacities_lr * share,
        sh_lr=steps.sh_lr * share,
        other_lr_final_ratio=1.0,
    )
    return replace(
        settings,
        iterations=iterations,
        coarse_share=0.0,
        eval_every=0,
        field="explicit",
        optimizer=optimizer,
        density=replace(settings.density, stop_share=0.0, max_gaussians=num_gaussians),
        loss=replace(settings.loss, drop_share=0.0),
    )
