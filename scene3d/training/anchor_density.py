"""Owns where anchors are added and removed: gradients and opacities gathered over views, then one pure round."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scene3d.gaussians.anchors import Anchors
from scene3d.training.field import Region
from scene3d.training.settings import ReconstructSettings


@dataclass(slots=True, eq=False)
class AnchorStatistics:
    """What views said of every anchor since the last round."""

    gradient_sum: Float[Tensor, "a k"]
    view_count: Float[Tensor, "a k"]
    """Views that drew the Gaussian."""

    opacity_sum: Float[Tensor, "a"]
    """Of all the anchor's Gaussians in all the views that drew one of them."""

    visit_count: Float[Tensor, "a"]

    @classmethod
    def zeros(cls, num_anchors: int, num_offsets: int, device: torch.device | str = "cpu") -> "AnchorStatistics":
        """Nothing seen yet."""
        per_offset = torch.zeros(2, num_anchors, num_offsets, device=device)
        per_anchor = torch.zeros(2, num_anchors, device=device)
        return cls(*per_offset.unbind(), *per_anchor.unbind())

    def observe(
        self,
        rows: Int[Tensor, "m"],
        norms: Float[Tensor, "g"],
        visible: Bool[Tensor, "g"],
        opacities: Float[Tensor, "g"],
    ) -> None:
        """Adds one view of some anchors; g = m k."""
        seen = visible.reshape(len(rows), -1)
        visited = seen.any(1)
        self.gradient_sum[rows] += norms.reshape_as(seen) * seen
        self.view_count[rows] += seen.float()
        self.opacity_sum[rows] += opacities.reshape_as(seen).sum(1) * visited
        self.visit_count[rows] += visited.float()

    def capture(self) -> dict[str, Tensor]:
        """Copies of everything that training changes."""
        return {f"density.{name}": getattr(self, name).clone() for name in self.__slots__}

    @classmethod
    def restore(cls, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> "AnchorStatistics":
        """The statistics that `capture` described."""
        return cls(**{name: state[f"density.{name}"].clone().to(device) for name in cls.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnchorRound:
    """What a round goes by."""

    settings: ReconstructSettings
    voxel: float
    """Side of a voxel, world units."""

    scene_scale: float
    region: Region | None = None


def plan_round(
    anchors: Anchors, statistics: AnchorStatistics, plan: AnchorRound, generator: torch.Generator
) -> tuple[Bool[Tensor, "a"], Anchors]:
    """Which anchors stay, and which are new (after Lu et al. 2024, Scaffold-GS, section 3.3).

    Growth is limited to the region, to a share per round and to the cap on Gaussians; where there are more candidates
    than places, the strongest gradients win.
    """
    keep = find_keep(anchors, statistics, plan)
    density = plan.settings.density
    num_kept = int(keep.sum())
    cap = density.max_gaussians // anchors.num_offsets
    places = max(0, min(cap - num_kept, int(density.growth_per_round * num_kept) + 1))
    return keep, grow_anchors(anchors, statistics, plan, places=places, generator=generator)


def find_keep(anchors: Anchors, statistics: AnchorStatistics, plan: AnchorRound) -> Bool[Tensor, "a"]:
    """Anchors that were not seen to be faint, and are not huge; never none."""
    mean_opacity = statistics.opacity_sum / statistics.visit_count.clamp_min(1)
    settings = plan.settings.anchors
    faint = (statistics.visit_count >= settings.grow_min_views) & (mean_opacity < settings.prune_opacity)
    huge = anchors.log_scales[:, 3:].exp().amax(1) > plan.settings.density.prune_scale * plan.scene_scale
    keep = ~(faint | huge)
    if not bool(keep.any()):
        keep[int(mean_opacity.argmax())] = True
    return keep


def grow_anchors(
    anchors: Anchors,
    statistics: AnchorStatistics,
    plan: AnchorRound,
    *,
    places: int,
    generator: torch.Generator,
) -> Anchors:
    """New anchors where Gaussians have strong screen gradients, at most one per empty cell of each level."""
    settings = plan.settings.anchors
    strengths = (statistics.gradient_sum / statistics.view_count.clamp_min(1)).flatten()
    strengths = torch.where(statistics.view_count.flatten() >= settings.grow_min_views, strengths, 0.0)
    means = anchors.means().flatten(0, 1)
    allowed = torch.ones_like(strengths, dtype=torch.bool) if plan.region is None else plan.region(means)
    grown: list[Anchors] = [anchors]
    found: list[Tensor] = []
    for level, cell in enumerate(settings.grow_cells):
        # The finer the level, the stronger the gradient and the more candidates are let through.
        lucky = torch.rand(len(means), generator=generator).to(means.device) < 1 - 0.5 ** (level + 1)
        rows = (allowed & lucky & (strengths > settings.grow_gradient * 2**level)).nonzero()[:, 0]
        rows = _best_per_empty_cell(means, rows, strengths, Anchors.concatenate(grown).positions, cell * plan.voxel)
        grown.append(_spawn(anchors, means, rows, cell * plan.voxel))
        found.append(strengths[rows])
    fresh, strength = Anchors.concatenate(grown[1:]), torch.cat(found)
    if len(fresh) > places:
        # A stable sort: equal gradients are settled by row, so that the same seed gives the same bytes.
        order = strength.sort(descending=True, stable=True).indices[:places]
        fresh = fresh.select(order.sort().values)
    return fresh


def _best_per_empty_cell(
    means: Float[Tensor, "g 3"],
    rows: Int[Tensor, "m"],
    strengths: Float[Tensor, "g"],
    taken: Float[Tensor, "t 3"],
    cell: float,
) -> Int[Tensor, "n"]:
    """Of the candidates in each cell the strongest, where no anchor lies in the cell yet."""
    order = strengths[rows].sort(descending=True, stable=True).indices
    rows = rows[order]
    cells = torch.cat([(taken.double() / cell).round(), (means[rows].double() / cell).round()])
    _, number = torch.unique(cells, dim=0, return_inverse=True)
    first = torch.full((int(number.max()) + 1 if len(number) else 0,), len(number), device=number.device)
    position = torch.arange(len(number), device=number.device)
    first.scatter_reduce_(0, number, position, "amin")
    # Taken places come first: where one lies in a cell, no candidate is the first there.
    is_first = first[number[len(taken) :]] == position[len(taken) :]
    return rows[is_first].sort().values


def _spawn(anchors: Anchors, means: Float[Tensor, "g 3"], rows: Int[Tensor, "n"], cell: float) -> Anchors:
    """Anchors where these Gaussians are, with their parents' features, at most as large as a cell and as the parent."""
    parents = rows // anchors.num_offsets
    # As large as the cell, as published, a new anchor of the coarse level hides what was there.
    log_scales = anchors.log_scales[parents].clamp_max(math.log(cell))
    return Anchors(
        positions=means[rows],
        features=anchors.features[parents],
        offsets=torch.zeros_like(anchors.offsets[parents]),
        log_scales=log_scales,
    )
