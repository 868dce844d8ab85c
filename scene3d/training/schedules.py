"""Owns how step sizes, colour degree and image size change over a run; all are pure functions of the iteration."""

from scene3d.training.settings import ReconstructSettings


def log_linear(start: float, end: float, progress: float) -> float:
    """From `start` to `end` on a straight line in the logarithm; `progress` runs from 0 to 1."""
    progress = min(max(progress, 0.0), 1.0)
    return float(start ** (1 - progress) * end**progress) if start > 0 and end > 0 else 0.0


def learning_rates(settings: ReconstructSettings, iteration: int, scene_scale: float) -> dict[str, float]:
    """Adam step of each parameter group at one iteration."""
    progress = iteration / settings.iterations
    rates = settings.optimizer
    arrived = iteration / min(settings.iterations, rates.means_settled_at)
    start = min(rates.settle_from, rates.settle_after / settings.iterations)
    settle = log_linear(1.0, rates.other_lr_final_ratio, (progress - start) / (1 - start))
    return {
        "means": scene_scale * log_linear(rates.means_lr, rates.means_lr * rates.means_lr_final_ratio, arrived),
        "quats": rates.quats_lr * settle,
        "log_scales": rates.scales_lr * settle,
        "opacity_logits": rates.opacities_lr * settle,
        "sh": rates.sh_lr * settle,
    }


def anchor_rates(settings: ReconstructSettings, iteration: int) -> dict[str, float]:
    """Adam step of what is private to anchors; the decoder's own steps fall with its own count."""
    rates, progress = settings.anchors, iteration / settings.iterations
    settle = log_linear(1.0, rates.final_ratio, progress)
    return {
        "features": rates.features_lr * settle,
        "offsets": log_linear(rates.offsets_lr, rates.offsets_lr * rates.offsets_final_ratio, progress),
        "log_scales": rates.scales_lr * settle,
    }


FEW_VIEWS = 32
"""Fewer training views than this see a place from too few sides to tell shine from error."""

FEW_VIEWS_SH_DEGREE = 1


def sh_degree_at(settings: ReconstructSettings, iteration: int, num_views: int) -> int:
    """Degree of view-dependent colour in use: short runs reach the full degree at half their length.

    With few views the degree stays at 1: at 2 and 3 the held-out quality of such captures fell while training went on.
    """
    limit = settings.sh_degree if num_views >= FEW_VIEWS else min(settings.sh_degree, FEW_VIEWS_SH_DEGREE)
    every = max(1, min(settings.sh_every, settings.iterations // (2 * max(settings.sh_degree, 1))))
    return min(limit, iteration // every)


def image_downscale_at(settings: ReconstructSettings, iteration: int) -> int:
    """2 while coarse structure settles, then 1."""
    return 2 if iteration < settings.coarse_share * settings.iterations else 1


def is_density_round(settings: ReconstructSettings, iteration: int) -> bool:
    """Whether Gaussians are added and removed after this iteration."""
    density = settings.density
    stop = min(int(density.stop_share * settings.iterations), density.stop_at)
    return density.start <= iteration < stop and iteration % density.every == 0


DROP_IN_FULL_UP_TO = 16
"""Training views up to which drop-out applies in full."""


def drop_share_at(settings: ReconstructSettings, num_views: int) -> float:
    """Share of Gaussians left out: few views over-fit without it, many views only learn more slowly with it."""
    return settings.loss.drop_share * min(1.0, DROP_IN_FULL_UP_TO / max(num_views, 1))


def growth_cap(settings: ReconstructSettings, num_gaussians: int, num_pixels: int) -> int:
    """Most Gaussians a run may have: what the training pixels determine, never fewer than it starts with."""
    affordable = int(num_pixels / settings.density.pixels_per_gaussian)
    return min(settings.density.max_gaussians, max(num_gaussians, affordable))
