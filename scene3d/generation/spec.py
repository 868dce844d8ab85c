"""Owns what a generator's block is, and the sizes of its networks: plain numbers, importable without torch."""

from dataclasses import dataclass, field

from scene3d.errors import SettingsError

NUM_PLANES = 3
CODE_STRIDE = 2
"""Voxels along one side of a pixel of a latent plane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorSpec:
    """The block that a generator makes: its voxels, its size in the world, the classes that steer it."""

    block_voxels: int = 32
    """Voxels along each edge of a block."""

    stride_voxels: int = 24
    """From one block of a grid to the next; the rest is overlap."""

    metres_per_block: float = 24.0
    """Edge of the blocks that it was trained on, metres."""

    height_range: tuple[float, float] = (-0.15, 0.85)
    """Lowest and highest place of a block relative to the ground, in block edges; they lie one edge apart."""

    truncation_voxels: float = 4.0
    """Signed distances are cut off there."""

    classes: tuple[str, ...] = ()
    """Names of the layout classes; the place in this list is the class id."""

    def __post_init__(self) -> None:
        if self.block_voxels % 4 or not 8 <= self.block_voxels <= 256:
            raise SettingsError(f"a block of {self.block_voxels} voxels; the edge must be 8 to 256 and a multiple of 4")
        if self.stride_voxels % CODE_STRIDE or not 0 < self.stride_voxels <= self.block_voxels:
            raise SettingsError(
                f"a stride of {self.stride_voxels} voxels; it must be even and no more than {self.block_voxels}"
            )
        if not self.metres_per_block > 0 or not self.truncation_voxels > 0:
            raise SettingsError("the edge of a block and the truncation must be positive")
        if abs(self.height_range[1] - self.height_range[0] - 1.0) > 1e-6:
            raise SettingsError(f"the height range {self.height_range} is not one block edge high")

    @property
    def code_side(self) -> int:
        """Pixels along each side of a latent plane."""
        return self.block_voxels // CODE_STRIDE

    @property
    def truncation(self) -> float:
        """Where signed distances are cut off, in halves of a block's edge (the block is the cube [-1, 1]^3)."""
        return self.truncation_voxels * 2.0 / self.block_voxels

    @property
    def voxel_m(self) -> float:
        """Edge of a voxel of the training blocks, metres."""
        return self.metres_per_block / self.block_voxels


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSizes:
    """Widths of the networks."""

    code_channels: int = 6
    """Channels of each latent plane."""

    plane_channels: int = 16
    """Channels of each decoded plane."""

    encoder_width: int = 32
    """Channels inside the encoder, each plane."""

    decoder_width: int = 32
    """Channels inside the decoder, each plane."""

    head_width: int = 64
    """Neurons in each layer of the heads for distance and colour."""

    condition_channels: int = 24
    """Features of the known geometry, each plane."""

    denoiser_width: int = 32
    """Channels of the denoiser at the codes' own resolution, each plane; twice as many at half of it."""

    attention: bool = False
    """Attention over all three planes at half resolution, beside the pooled mixing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything needed to build the networks that fit a file of weights."""

    spec: GeneratorSpec = field(default_factory=GeneratorSpec)
    """The block."""

    sizes: NetworkSizes = field(default_factory=NetworkSizes)
    """The networks."""
