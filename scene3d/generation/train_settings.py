"""Owns how a generator is trained: presets and settings, importable without torch."""

from dataclasses import dataclass, field, replace
from typing import Literal

from scene3d.errors import SettingsError
from scene3d.generation.spec import GeneratorSpec, ModelConfig, NetworkSizes

PresetName = Literal["nano", "tiny", "short", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """One training of a generator."""

    config: ModelConfig = field(default_factory=ModelConfig)
    """Block and networks."""

    seed: int = 0
    """Of data, weights and noise."""

    sites: int = 96
    """Places that blocks are cropped out of."""

    held_out: int = 8
    """Of these, kept for measuring."""

    autoencoder_steps: int = 450
    """Training steps of the auto-encoder; 0 keeps the one that the training starts from."""

    autoencoder_batch: int = 12
    """Blocks in each."""

    points: int = 1536
    """Places of each block where distance and colour are compared."""

    autoencoder_rate: float = 2e-3
    """Its learning rate, which falls to a twentieth along a cosine."""

    divergence_weight: float = 2e-3
    """How much the codes are held to a normal distribution."""

    denoiser_steps: int = 1500
    """Training steps of the denoiser."""

    denoiser_batch: int = 16
    """Blocks in each."""

    denoiser_rate: float = 8e-4
    """Its learning rate, which falls likewise."""

    ema_decay: float = 0.995
    """Of the averaged weights that are kept in the end."""

    layout_dropped: float = 0.3
    """Share of blocks whose layout is withheld, so that guidance has something to compare with."""

    checkpoint_steps: int = 50
    """A checkpoint so often."""

    def __post_init__(self) -> None:
        if not 0 < self.held_out < self.sites:
            raise SettingsError(f"{self.held_out} sites held out of {self.sites}; there must be some of both")
        if min(self.denoiser_steps, self.checkpoint_steps) < 1 or self.autoencoder_steps < 0:
            raise SettingsError("steps must be at least 1; those of the auto-encoder may be 0")
        if not (self.autoencoder_rate > 0 and self.denoiser_rate > 0):
            raise SettingsError("learning rates must be positive")
        if min(self.autoencoder_batch, self.denoiser_batch, self.points) < 1:
            raise SettingsError("batches and points must be at least 1")


def make_preset(name: PresetName, classes: tuple[str, ...]) -> TrainSettings:
    """The settings of a preset for a list of layout classes.

    nano learns next to nothing, in half a minute; tiny is what comes with the program, trained on one CPU core; short
    and full are for a GPU, minutes and hours.
    """
    if name == "nano":
        return _nano(classes)
    if name == "tiny":
        return TrainSettings(config=ModelConfig(spec=GeneratorSpec(classes=classes)))
    spec = GeneratorSpec(block_voxels=64, stride_voxels=48, classes=classes)
    sizes = NetworkSizes(
        encoder_width=96, decoder_width=128, plane_channels=24, head_width=128, code_channels=8,
        condition_channels=48, denoiser_width=128, attention=False,
    )  # fmt: skip
    short = TrainSettings(
        config=ModelConfig(spec=spec, sizes=sizes), sites=640, held_out=40, autoencoder_steps=6000,
        autoencoder_batch=32, points=4096, autoencoder_rate=1e-3, denoiser_steps=9000, denoiser_batch=128,
        denoiser_rate=3e-4, ema_decay=0.9995, checkpoint_steps=1000,
    )  # fmt: skip
    if name == "short":
        return short
    large = replace(sizes, encoder_width=128, decoder_width=192, denoiser_width=224)
    return replace(
        short, config=ModelConfig(spec=spec, sizes=large), sites=4000, held_out=200, autoencoder_steps=60_000,
        denoiser_steps=150_000, denoiser_rate=2e-4, ema_decay=0.9999, checkpoint_steps=2000,
    )  # fmt: skip


def _nano(classes: tuple[str, ...]) -> TrainSettings:
    spec = GeneratorSpec(block_voxels=16, stride_voxels=12, truncation_voxels=3.0, classes=classes)
    sizes = NetworkSizes(
        code_channels=4, plane_channels=8, encoder_width=16, decoder_width=16, head_width=32, condition_channels=8,
        denoiser_width=16,
    )  # fmt: skip
    return TrainSettings(
        config=ModelConfig(spec=spec, sizes=sizes), sites=6, held_out=1, autoencoder_steps=150, autoencoder_batch=8,
        points=512, autoencoder_rate=4e-3, denoiser_steps=150, denoiser_batch=8, denoiser_rate=2e-3, ema_decay=0.98,
        checkpoint_steps=50,
    )  # fmt: skip
