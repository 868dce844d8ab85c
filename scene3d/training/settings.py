"""Owns every setting of a reconstruction; their docstrings are the command line's help."""

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Literal

from scene3d.errors import SettingsError
from scene3d.training.anchor_settings import AnchorSettings
from scene3d.training.geometry_settings import DepthPriorSettings, PseudoViewSettings


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """Step sizes of Adam; those of positions are relative to the scene's size."""

    means_lr: float = 3e-3
    """Positions, at the start; falls log-linearly."""

    means_lr_final_ratio: float = 0.01
    """Positions, at the end, as a share of the start."""

    means_settled_at: int = 3000
    """Iterations after which positions step at their final size, if the run is longer: positions that keep moving
    fast cost few-view captures up to 2 dB on held-out views."""

    quats_lr: float = 4e-3
    """Rotations."""

    scales_lr: float = 2e-2
    """Log scales."""

    opacities_lr: float = 5e-2
    """Opacity logits."""

    sh_lr: float = 1e-2
    """Constant colour term."""

    sh_rest_ratio: float = 0.05
    """Step of the view-dependent colour terms, as a share of the constant one."""

    other_lr_final_ratio: float = 0.1
    """All but positions, at the end, as a share of the start: settles the last iterations."""

    settle_from: float = 0.6
    """Share of the iterations after which the steps of all but positions begin to fall, at the latest."""

    settle_after: int = 1200
    """Iterations after which they begin to fall: long runs at full step size wander instead of settling."""

    def __post_init__(self) -> None:
        for name in ("means_lr", "quats_lr", "scales_lr", "opacities_lr", "sh_lr"):
            _require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must be zero or more")
        _require(0 <= self.settle_from < 1, f"settle_from is {self.settle_from}; it lies from 0 to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DensitySettings:
    """When and where Gaussians are added and removed."""

    start: int = 300
    """First iteration that may add Gaussians."""

    stop_share: float = 0.6
    """Share of all iterations after which none are added any more."""

    stop_at: int = 1800
    """Iteration after which none are added, if that is sooner: at the cap, rounds only replace what has settled."""

    every: int = 100
    """Iterations between two rounds."""

    grow_gradient: float = 2e-4
    """Mean screen gradient (in units of half the image) above which a Gaussian is cloned or split."""

    clone_scale: float = 0.01
    """Largest size, as a share of the scene's, that is cloned; larger ones are split."""

    prune_opacity: float = 0.005
    """Gaussians fainter than this are removed."""

    prune_scale: float = 0.5
    """Gaussians larger than this share of the scene are removed."""

    max_gaussians: int = 1_000_000
    """Never more Gaussians than this."""

    pixels_per_gaussian: float = 300.0
    """No growth beyond one Gaussian per this many training pixels; more than the photographs determine over-fits."""

    growth_per_round: float = 0.1
    """At most this share is added in one round, the strongest gradients first."""

    def __post_init__(self) -> None:
        _require(self.every > 0, f"density.every is {self.every}; it must be at least 1")
        _require(0 <= self.stop_share <= 1, f"density.stop_share is {self.stop_share}; it lies between 0 and 1")
        _require(self.max_gaussians > 0, f"density.max_gaussians is {self.max_gaussians}; it must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """What is minimised."""

    ssim_weight: float = 0.2
    """Share of 1 - SSIM beside the absolute difference."""

    opacity_weight: float = 0.0
    """Weight of the mean opacity: fades Gaussians that no photograph needs."""

    scale_weight: float = 0.0
    """Weight of the mean size, as a share of the scene's."""

    size_floor: float = 5e-4
    """Size, as a share of the scene's, below which the thinnest side of a Gaussian counts as too thin."""

    size_floor_weight: float = 0.0
    """Weight of how much too thin Gaussians are: thin ones flicker at sizes they were not trained at (PrismGS)."""

    multiscale_weight: float = 0.0
    """Weight of the absolute difference at half, quarter and eighth of the image's size, summed (PrismGS)."""

    sh_weight: float = 2.0
    """Weight of the squared view-dependent colour: few views may not explain differences by viewing direction."""

    drop_share: float = 0.2
    """Share of Gaussians left out at random in each iteration, so that none relies on a hidden partner.

    It applies in full up to 16 training views and falls in proportion to their number beyond.
    """

    def __post_init__(self) -> None:
        _require(0 <= self.ssim_weight <= 1, f"loss.ssim_weight is {self.ssim_weight}; it lies between 0 and 1")
        _require(self.size_floor > 0, f"loss.size_floor is {self.size_floor}; it must be positive")
        for name in ("size_floor_weight", "multiscale_weight"):
            _require(getattr(self, name) >= 0, f"loss.{name} is {getattr(self, name)}; it must be zero or more")
        _require(0 <= self.drop_share < 1, f"loss.drop_share is {self.drop_share}; it lies between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureSettings:
    """One affine colour transform per photograph, so that changing light does not become geometry."""

    enabled: bool = False
    """Fit one exposure per training photograph; their mean stays the identity.

    For captures whose light or exposure changes. Where it does not, held-out figures fall by 0.3 to 1.6 dB.
    """

    lr: float = 1e-4
    """Adam step, at the start."""

    lr_final_ratio: float = 0.1
    """Step at the end, as a share of the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructSettings:
    """How one scene is reconstructed from a capture."""

    iterations: int = 7000
    """Training iterations; one photograph each."""

    image_scale: float = 1.0
    """Photographs are used at this share of their size: 0.5 is four times as fast."""

    sh_degree: int = 3
    """Degree of view-dependent colour, 0 to 3; with fewer than 32 training views at most 1 is used."""

    sh_every: int = 1000
    """Iterations after which the degree in use rises by one (sooner in short runs)."""

    coarse_share: float = 0.1
    """Share of the iterations at half image size, before the full size."""

    background: Literal["black", "white", "random"] = "black"
    """What stands behind the scene; random forbids see-through surfaces."""

    test_every: int = 8
    """Each n-th photograph by name is held out for evaluation; 0 holds out none."""

    eval_every: int = 500
    """Iterations between two looks at the held-out views; 0 for none."""

    checkpoint_every: int = 1000
    """Iterations between two checkpoints."""

    seed: int = 0
    """Same seed, same scene, byte for byte on a CPU."""

    memory_gb: float = 4.0
    """Memory for everything that grows with the capture: Gaussians, images in work, decoded photographs."""

    backend: Literal["auto", "cpu", "reference", "gsplat"] = "auto"
    """Rasterizer; `scene3d doctor` lists them."""

    field: Literal["explicit", "anchors"] = "explicit"
    """What is trained: explicit Gaussians, or anchors from whose features one shared decoder makes Gaussians."""

    anchors: AnchorSettings = dataclass_field(default_factory=AnchorSettings)
    optimizer: OptimizerSettings = dataclass_field(default_factory=OptimizerSettings)
    density: DensitySettings = dataclass_field(default_factory=DensitySettings)
    loss: LossSettings = dataclass_field(default_factory=LossSettings)
    exposure: ExposureSettings = dataclass_field(default_factory=ExposureSettings)
    pseudo_view: PseudoViewSettings = dataclass_field(default_factory=PseudoViewSettings)
    depth_prior: DepthPriorSettings = dataclass_field(default_factory=DepthPriorSettings)

    def __post_init__(self) -> None:
        _require(self.iterations >= 1, f"iterations is {self.iterations}; it must be at least 1")
        _require(0 < self.image_scale <= 1, f"image_scale is {self.image_scale}; it lies above 0 and up to 1")
        _require(0 <= self.sh_degree <= 3, f"sh_degree is {self.sh_degree}; it is 0, 1, 2 or 3")
        _require(self.test_every == 0 or self.test_every >= 2, f"test_every is {self.test_every}; use 0 or at least 2")
        _require(self.eval_every >= 0, f"eval_every is {self.eval_every}; it must be zero or more")
        _require(self.checkpoint_every >= 1, f"checkpoint_every is {self.checkpoint_every}; it must be at least 1")
        _require(self.memory_gb > 0, f"memory_gb is {self.memory_gb}; it must be positive")
        _require(0 <= self.coarse_share <= 1, f"coarse_share is {self.coarse_share}; it lies between 0 and 1")
