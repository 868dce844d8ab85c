"""Owns the published way to codes of blocks: planes fitted to each, then an auto-encoder of planes; geometry only.

The amortised auto-encoder takes the place of both. This one is kept to measure it against, on the same blocks.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from scene3d.errors import SettingsError
from scene3d.events import Quiet, Reporter
from scene3d.generation.model import reset_weights
from scene3d.generation.plane_autoencoder import PlaneAutoEncoder, code_divergence
from scene3d.generation.plane_fit import FitSettings, PlaneHead, fit_loss, fit_planes, query_planes
from scene3d.generation.plane_samples import PlaneSamples, sample_blocks
from scene3d.generation.spec import GeneratorSpec, NetworkSizes
from scene3d.generation.train_settings import TrainSettings
from scene3d.seeding import make_generator, make_numpy_generator

_DIVERGENCE_WEIGHT = 1e-3
_PLANES_ONLY = 0.25
"""Share of the auto-encoder's steps that compare planes; the others compare the fields that are read from them."""

_LARGEST_STEP = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSettings:
    """One training of the published way."""

    spec: GeneratorSpec = field(default_factory=GeneratorSpec)
    """The block."""

    sizes: NetworkSizes = field(default_factory=NetworkSizes)
    """Widths of the auto-encoder of planes."""

    fit: FitSettings = field(default_factory=FitSettings)
    """How planes are fitted."""

    seed: int = 0
    """Of points, weights and noise."""

    head_blocks: int = 16
    """The shared network is trained on so many of the first blocks, and then frozen."""

    fit_batch: int = 16
    """Blocks that are fitted at once."""

    samples: int = 4096
    """Points kept of each block."""

    steps: int = 300
    """Of the auto-encoder of planes."""

    batch: int = 8
    """Blocks in each."""

    rate: float = 2e-3
    """Its learning rate."""

    def __post_init__(self) -> None:
        if min(self.head_blocks, self.fit_batch, self.samples, self.steps, self.batch) < 1 or not self.rate > 0:
            raise SettingsError("blocks, samples, steps and rates of the published way must be positive")
        if self.fit.side != self.spec.block_voxels:
            raise SettingsError(f"planes of {self.fit.side} pixels do not fit blocks of {self.spec.block_voxels}")


def published_settings(settings: TrainSettings, *, fit_steps: int = 200, steps: int = 300) -> PublishedSettings:
    """The published way with the block, codes and seed of an amortised training."""
    config = settings.config
    fit = FitSettings(
        channels=config.sizes.plane_channels, side=config.spec.block_voxels, width=config.sizes.head_width,
        steps=fit_steps,
    )  # fmt: skip
    return PublishedSettings(
        spec=config.spec, sizes=config.sizes, fit=fit, seed=settings.seed, steps=steps,
        batch=settings.autoencoder_batch, rate=settings.autoencoder_rate,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class PublishedCodec:
    """What the training leaves: the network that reads planes, and their auto-encoder."""

    settings: PublishedSettings
    head: PlaneHead
    autoencoder: PlaneAutoEncoder

    def fit(self, tsdf: Float[Tensor, "b k k k"]) -> Float[Tensor, "b 3 f r r"]:
        """Planes of blocks it never saw; the network stays as it is."""
        settings = self.settings
        samples = _sample(tsdf, settings, "new blocks")
        return fit_planes(samples, self.head, settings.spec, settings.fit, make_generator(settings.seed, "new planes"))

    def encode(self, planes: Float[Tensor, "b 3 f r r"]) -> Float[Tensor, "b 3 z s s"]:
        """Codes of fitted planes."""
        with torch.no_grad():
            return self.autoencoder.encode(planes).mean

    def decode(self, codes: Float[Tensor, "b 3 z s s"]) -> Float[Tensor, "b k k k"]:
        """Distances over the truncation at the voxels' centres."""
        with torch.no_grad():
            return self.read(self.autoencoder.decode(codes))

    def read(self, planes: Float[Tensor, "b 3 f r r"]) -> Float[Tensor, "b k k k"]:
        """The same, of planes."""
        return query_planes(planes, self.head, self.settings.spec)


def train_published(
    tsdf: Float[Tensor, "b k k k"], settings: PublishedSettings, *, reporter: Reporter | None = None
) -> PublishedCodec:
    """Fit planes to all blocks, and train their auto-encoder.

    Args:
        tsdf: Blocks in the block's axes, distances over the truncation.
        settings: How.
        reporter: Told about each batch that is fitted, and each step.
    """
    reporter = reporter or Quiet()
    samples = _sample(tsdf, settings, "blocks")
    head = PlaneHead(settings.fit, make_generator(settings.seed, "plane head"))
    planes = _fit_all(samples, head, settings, reporter)
    autoencoder = PlaneAutoEncoder(settings.fit, settings.sizes)
    reset_weights(autoencoder, make_generator(settings.seed, "plane auto-encoder"))
    autoencoder.set_ranges(planes)
    _train_autoencoder(autoencoder, head, planes, samples, settings, reporter)
    return PublishedCodec(settings, head, autoencoder.eval().requires_grad_(False))


def _sample(tsdf: Tensor, settings: PublishedSettings, stream: str) -> PlaneSamples:
    return sample_blocks(tsdf, settings.spec, settings.samples, make_numpy_generator(settings.seed, stream))


def _fit_all(samples: PlaneSamples, head: PlaneHead, settings: PublishedSettings, reporter: Reporter) -> Tensor:
    """Planes of all blocks; the head learns from the first ones, whose planes are then fitted again with it frozen."""
    count = len(samples.surface)
    reporter.start("fit planes", count)
    generator = make_generator(settings.seed, "planes")
    first = samples.select(torch.arange(min(settings.head_blocks, count)))
    fit_planes(first, head, settings.spec, settings.fit, generator, train_head=True)
    fitted = []
    for start in range(0, count, settings.fit_batch):
        rows = torch.arange(start, min(start + settings.fit_batch, count))
        fitted.append(fit_planes(samples.select(rows), head, settings.spec, settings.fit, generator))
        reporter.advance("fit planes", start + len(rows))
    reporter.finish("fit planes")
    return torch.cat(fitted)


def _train_autoencoder(
    autoencoder: PlaneAutoEncoder,
    head: PlaneHead,
    planes: Tensor,
    samples: PlaneSamples,
    settings: PublishedSettings,
    reporter: Reporter,
) -> None:
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=settings.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps, eta_min=0.05 * settings.rate)
    reporter.start("plane auto-encoder", settings.steps)
    for step in range(settings.steps):
        generator = make_generator(settings.seed, f"plane auto-encoder step {step}")
        rows = torch.randint(len(planes), (settings.batch,), generator=generator)
        posterior = autoencoder.encode(planes[rows])
        found = autoencoder.decode(posterior.sample(generator))
        if step < _PLANES_ONLY * settings.steps:
            loss = (autoencoder.normalise(found) - autoencoder.normalise(planes[rows])).abs().mean()
        else:
            part = samples.select(rows).choose(settings.fit.points, generator)
            loss = fit_loss(found, head, part, settings.spec, generator)
        loss = loss + _DIVERGENCE_WEIGHT * code_divergence(posterior)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(autoencoder.parameters(), _LARGEST_STEP)
        optimizer.step()
        schedule.step()
        reporter.advance("plane auto-encoder", step + 1, loss=float(loss.detach()))
    reporter.finish("plane auto-encoder")
