"""Owns where Gaussians are added and removed: screen gradients gathered over views, then one pure round."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scene3d.training.field import DensityReport, Region
from scene3d.training.settings import DensitySettings

SPLIT_SHRINK = 1.6
"""Each half of a split Gaussian is this much smaller (Kerbl et al. 2023, section 5.2)."""


@runtime_checkable
class GaussianRows(Protocol):
    """Raw Gaussian parameters whose rows can be rearranged together with their optimiser."""

    parameters: dict[str, Tensor]

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""

    def __len__(self) -> int:
        """Gaussians."""

    def take(self, index: Int[Tensor, "m"], fresh: Bool[Tensor, "m"]) -> None:
        """Row i becomes the old row `index[i]`; fresh rows forget their moments."""


@dataclass(slots=True, eq=False)
class DensityStatistics:
    """Screen gradients seen since the last round."""

    gradient_sum: Float[Tensor, "n"]
    view_count: Float[Tensor, "n"]

    @classmethod
    def zeros(cls, num_gaussians: int, device: torch.device | str = "cpu") -> "DensityStatistics":
        """Nothing seen yet."""
        return cls(torch.zeros(num_gaussians, device=device), torch.zeros(num_gaussians, device=device))

    def observe(self, norms: Float[Tensor, "n"], visible: Bool[Tensor, "n"]) -> None:
        """Adds one view; `norms` are what `screen_norms` gives."""
        self.gradient_sum += norms * visible
        self.view_count += visible

    def mean(self) -> Float[Tensor, "n"]:
        """Mean gradient over the views that saw each Gaussian."""
        return self.gradient_sum / self.view_count.clamp_min(1)

    def capture(self) -> dict[str, Tensor]:
        """Copies of everything that training changes."""
        return {"density.gradient_sum": self.gradient_sum.clone(), "density.view_count": self.view_count.clone()}

    @classmethod
    def restore(cls, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> "DensityStatistics":
        """The statistics that `capture` described."""
        # `.to` copies only between devices; the clone keeps the state apart on one device too.
        return cls(state["density.gradient_sum"].clone().to(device), state["density.view_count"].clone().to(device))


def screen_norms(means2d_gradient: Float[Tensor, "n 2"], width: int, height: int) -> Float[Tensor, "n"]:
    """Lengths of gradients of screen positions, in half images, so that thresholds do not depend on the size."""
    half_image = torch.tensor([width / 2, height / 2], device=means2d_gradient.device)
    return (means2d_gradient * half_image).norm(dim=-1)


def change_density(
    field: GaussianRows,
    statistics: DensityStatistics,
    settings: DensitySettings,
    *,
    scene_scale: float,
    generator: torch.Generator,
    region: Region | None = None,
    grow: bool = True,
) -> DensityReport:
    """Removes faint and giant Gaussians, clones small and splits large ones with strong screen gradients.

    Growth is limited to `region`, to a share per round and to a cap on the count; where there are more candidates
    than places, the strongest gradients win (after Kerbl et al. 2023 and the budget of Mallick et al. 2024).

    Returns:
        Counts of what changed. The caller starts new statistics afterwards: the rows are others.
    """
    keep = find_keep(field, settings, scene_scale)
    chosen = torch.zeros(len(field), dtype=torch.bool, device=field.device)
    if grow:
        chosen[find_candidates(field, statistics, settings, keep, region)] = True
    largest = field.parameters["log_scales"].detach().exp().max(1).values
    split = chosen & (largest > settings.clone_scale * scene_scale)
    clone = chosen & ~split
    index = torch.cat([(keep & ~split).nonzero()[:, 0], clone.nonzero()[:, 0], split.nonzero()[:, 0].repeat(2)])
    num_split, num_clone = int(split.sum()), int(clone.sum())
    num_kept = len(index) - 2 * num_split - num_clone
    fresh = torch.arange(len(index), device=field.device) >= num_kept
    num_before = len(field)
    field.take(index, fresh)
    # The parents of clones are anywhere among the kept rows; their copies carry the same old row in `index`.
    shared = torch.isin(index[:num_kept], index[num_kept : len(index) - 2 * num_split]).nonzero()[:, 0]
    _share_opacity(field, torch.cat([shared, fresh.nonzero()[:, 0]]))
    _scatter_halves(field, len(index) - 2 * num_split, generator)
    return DensityReport(cloned=num_clone, split=num_split, pruned=num_before - num_kept - num_split)


def find_keep(field: GaussianRows, settings: DensitySettings, scene_scale: float) -> Bool[Tensor, "n"]:
    """Gaussians that are neither too faint nor too large; never none."""
    opacity = field.parameters["opacity_logits"].detach().sigmoid()
    largest = field.parameters["log_scales"].detach().exp().max(1).values
    keep = (opacity >= settings.prune_opacity) & (largest <= settings.prune_scale * scene_scale)
    if not bool(keep.any()):
        keep[int(opacity.argmax())] = True
    return keep


def find_candidates(
    field: GaussianRows,
    statistics: DensityStatistics,
    settings: DensitySettings,
    keep: Bool[Tensor, "n"],
    region: Region | None = None,
) -> Int[Tensor, "m"]:
    """Rows to clone or split: above the threshold, inside the region, within the share and the cap."""
    gradient = statistics.mean()
    allowed = keep & (gradient > settings.grow_gradient)
    if region is not None:
        allowed &= region(field.parameters["means"].detach())
    candidates = allowed.nonzero()[:, 0]
    num_kept = int(keep.sum())
    places = min(settings.max_gaussians - num_kept, int(settings.growth_per_round * num_kept) + 1)
    if len(candidates) > max(places, 0):
        # A stable sort: equal gradients are settled by row, so that the same seed gives the same bytes.
        order = gradient[candidates].sort(descending=True, stable=True).indices[: max(places, 0)]
        candidates = candidates[order].sort().values
    return candidates


@torch.no_grad()
def _share_opacity(field: GaussianRows, rows: Int[Tensor, "m"]) -> None:
    """Gives each of two that were one the opacity 1 - sqrt(1 - o): together they cover what the one covered.

    Without it every round brightens and thickens the scene, and training spends the next hundred iterations undoing
    that (Rota Bulo et al. 2024, section 3.3).
    """
    logits = field.parameters["opacity_logits"]
    # 1 - sqrt(sigmoid(-x)); its logit is log(1 / sqrt(sigmoid(-x)) - 1).
    half = 0.5 * torch.nn.functional.logsigmoid(-logits[rows])
    logits[rows] = torch.log(torch.expm1(-half).clamp_min(1e-12))


@torch.no_grad()
def _scatter_halves(field: GaussianRows, start: int, generator: torch.Generator) -> None:
    """Moves the rows from `start` on, each a half of a split Gaussian, to random places inside their parent."""
    means, quats, log_scales = (field.parameters[name] for name in ("means", "quats", "log_scales"))
    if start == len(means):
        return
    noise = torch.randn(len(means) - start, 3, generator=generator).to(field.device)
    offset = noise * log_scales[start:].exp()
    means[start:] += rotate(quats[start:], offset)
    log_scales[start:] -= math.log(SPLIT_SHRINK)


def rotate(quats: Float[Tensor, "n 4"], vectors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Vectors turned by wxyz quaternions of any length."""
    unit = torch.nn.functional.normalize(quats, dim=-1)
    w, axis = unit[:, :1], unit[:, 1:]
    twice = 2 * torch.linalg.cross(axis, vectors)
    return vectors + w * twice + torch.linalg.cross(axis, twice)
