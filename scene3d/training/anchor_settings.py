"""Owns the settings of the anchor field and of its shared decoder."""

from dataclasses import dataclass
from typing import Literal

from scene3d.errors import SettingsError
from scene3d.gaussians.decoder_shape import DecoderMode, DecoderShape

TeacherMode = Literal["auto", "step", "round", "off"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorSettings:
    """Anchors with features, a few Gaussians each, and one decoder that all of them share."""

    features: int = 32
    """Numbers that describe an anchor."""

    offsets: int = 5
    """Gaussians per anchor."""

    hidden: int = 32
    """Hidden units of each of the decoder's heads."""

    mode: DecoderMode = "static"
    """static: opacity, size and rotation do not depend on the view, and the .ply is exact; view: everything does, and
    the .ply is a fit."""

    voxel_ratio: float = 1.0
    """Side of a voxel as a multiple of the median distance between neighbouring points; one anchor per voxel."""

    features_lr: float = 2e-2
    """Adam step of the features."""

    offsets_lr: float = 0.5
    """Adam step of the offsets at the start, in the anchor's own size."""

    offsets_final_ratio: float = 0.1
    """Offsets, at the end, as a share of the start."""

    scales_lr: float = 2e-2
    """Adam step of the log sizes."""

    opacity_lr: float = 6e-3
    """Adam step of the decoder's opacity head."""

    covariance_lr: float = 1e-2
    """Adam step of the decoder's head of sizes and rotations."""

    color_lr: float = 1.6e-2
    """Adam step of the decoder's colour head."""

    final_ratio: float = 0.1
    """Steps of all but offsets at the end, as a share of those at the start."""

    teacher: TeacherMode = "auto"
    """Momentum teacher of the decoder: follows it after every step, after every round, or not at all; auto has one for
    blocks, which share the decoder, and none for a scene in one piece."""

    teacher_momentum: float = 0.9
    """Share of the teacher that stays at each update (Momentum-GS)."""

    distill_weight: float | None = None
    """Weight of the difference between decoder and teacher; by default 50 (Momentum-GS) in long runs, and less in
    proportion where the decoder takes fewer than 100,000 steps: what calms a long run only brakes a short one."""

    grow_gradient: float = 2e-4
    """Mean screen gradient (in units of half the image) of a Gaussian above which the coarsest level grows an anchor;
    each finer level asks for twice as much."""

    grow_cells: tuple[float, ...] = (4.0, 1.0, 0.25)
    """Cell sizes of the growing levels, in voxels, coarse to fine: at most one anchor is added per empty cell."""

    grow_min_views: int = 3
    """A Gaussian must have been seen this often since the last round to grow an anchor."""

    prune_opacity: float = 0.005
    """Anchors whose Gaussians' opacities sum up to less than this are removed."""

    bake_iterations: int = 300
    """View mode: iterations in which the exported Gaussians are fitted to what the anchors show."""

    def __post_init__(self) -> None:
        self.decoder_shape(0)
        _require(self.bake_iterations >= 0, f"anchors.bake_iterations is {self.bake_iterations}; it must be 0 or more")
        for name in ("features_lr", "offsets_lr", "scales_lr", "opacity_lr", "covariance_lr", "color_lr"):
            _require(getattr(self, name) >= 0, f"anchors.{name} is {getattr(self, name)}; it must be zero or more")
        _require(self.voxel_ratio > 0, f"anchors.voxel_ratio is {self.voxel_ratio}; it must be positive")
        momentum = self.teacher_momentum
        _require(0 <= momentum <= 1, f"anchors.teacher_momentum is {momentum}; it lies from 0 to 1")
        weight = self.distill_weight
        _require(weight is None or weight >= 0, f"anchors.distill_weight is {weight}; it must be zero or more")
        _require(all(cell > 0 for cell in self.grow_cells), "anchors.grow_cells must be positive")
        _require(self.teacher in ("auto", "step", "round", "off"), f"anchors.teacher is {self.teacher!r}")

    def decoder_shape(self, sh_degree: int) -> DecoderShape:
        """The decoder these settings ask for, for colour of a degree."""
        return DecoderShape(
            num_features=self.features,
            num_offsets=self.offsets,
            num_hidden=self.hidden,
            sh_degree=sh_degree,
            mode=self.mode,
        )
