"""Owns the refinement of seams: the Gaussians near a face learn to fit what the neighbour has put beside them.

A block was trained amid its own idea of the neighbours' ground. The crop replaces that by what the neighbours made of
it, and where Gaussians are large the two do not match. One block after another therefore takes up training for a short
while amid the merged scene, moving only what lies at its seams. Measured on Caliterra (quarter size, 4 blocks, 200
iterations each): held-out views gain 0.4 dB, training views 0.5 dB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from blocks.plan import FAR, BlockPlan
from blocks.settings import RunSettings
from scene3d.data.capture import Capture
from scene3d.events import Quiet, Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.explicit_field import ExplicitField
from scene3d.training.exposure import Exposure
from scene3d.training.hooks import Surroundings
from scene3d.training.preparation import choose_device, find_scene_scale, make_terms, open_photos
from scene3d.training.schedules import sh_degree_at
from scene3d.training.settling import settling
from scene3d.training.trainer import Trainer

REACH_SIGMAS = 2.0
"""So many standard deviations from its centre a Gaussian still shows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeamJob:
    """One block's seam, amid what the merged scene has around it."""

    plan: BlockPlan
    index: int
    capture: Capture
    views: Sequence[int]
    """Indices of the block's views in the capture."""

    core: Gaussians
    """What the block owns; the part near shared faces is refined."""

    around: Gaussians
    """What its neighbours own at the seam, and stand-ins for the rest of them; not changed."""

    exposure: Exposure | None = None


def refine_seam(job: SeamJob, settings: RunSettings, *, reporter: Reporter | None = None) -> Gaussians:
    """The block's core with its seam refined, row by row as given: nothing is added or removed.

    The steps are as small as those at the end of training, so that what had settled stays so where it was right.
    """
    near = find_seam(job.plan, job.core)
    if not bool(near.any()) or settings.merge.refine_iterations == 0:
        return job.core
    device = choose_device(settings)
    scene = _refining(settings, int(near.sum()))
    # Colours of a degree that the blocks' training never reached are zero, and stay so.
    degree = min(job.core.sh_degree, sh_degree_at(settings, settings.iterations, len(job.plan.views)))
    field = ExplicitField(job.core.select(near).to(device), sh_degree=degree)
    backdrop = Gaussians.concatenate([job.core.select(~near), job.around]).to(device)
    loader = open_photos(job.capture, job.views, scene)
    trainer = Trainer(
        field,
        loader,
        job.views,
        scene,
        scene_scale=find_scene_scale(job.capture, job.views),
        surroundings=Surroundings(
            backdrop=backdrop,
            exposure=job.exposure,
            terms=make_terms(job.capture, job.views, scene, Quiet()),
            num_views=len(job.plan.views),
            stage="seams",
        ),
        reporter=reporter,
    )
    try:
        trainer.run()
    finally:
        loader.close()
    return _put_back(job.core, near, trainer.field.baked(job.core.sh_degree).to("cpu"))


def find_seam(plan: BlockPlan, gaussians: Gaussians) -> Bool[Tensor, "n"]:
    """Which lie within a margin of another block's ground, or reach into it.

    Those that reach across matter as much as those that lie near: where points are sparse Gaussians are large, and
    what the block's own training had beside them is gone after the crop.
    """
    owners = plan.owners(gaussians.means.double().cpu().numpy())
    near = torch.zeros(len(owners), dtype=torch.bool)
    for there in _owners_around(plan, gaussians, owners):
        near |= torch.from_numpy((there != owners) & (there != FAR))
    return near & torch.from_numpy(owners != FAR)


def find_reaching(plan: BlockPlan, gaussians: Gaussians, block: int) -> Bool[Tensor, "n"]:
    """Which of other owners' Gaussians lie within a margin of a block's ground, or reach into it."""
    owners = plan.owners(gaussians.means.double().cpu().numpy())
    near = np.zeros(len(owners), bool)
    for there in _owners_around(plan, gaussians, owners):
        near |= there == block
    return torch.from_numpy(near & (owners != block))


def _owners_around(
    plan: BlockPlan, gaussians: Gaussians, owners: Int[np.ndarray, "n"]
) -> Iterator[Int[np.ndarray, "n"]]:
    """Who owns the places a margin away from each Gaussian, or as far as it shows, in each direction of the ground."""
    means = gaussians.means.double().cpu().numpy()
    margins = np.array([block.cell.margin for block in plan.blocks] + [(0.0, 0.0)])[owners]  # FAR, -1, has none
    extents = REACH_SIGMAS * gaussians.scales.amax(dim=1).double().cpu().numpy()
    reach = np.maximum(margins, extents[:, None])
    axes = plan.frame.to_world(np.eye(2)) - plan.frame.center
    for number, axis in enumerate(axes):
        for sign in (-1.0, 1.0):
            moved = means.copy()
            moved[:, :2] += sign * reach[:, number : number + 1] * axis
            yield plan.owners(moved)


def _refining(settings: RunSettings, num_gaussians: int) -> RunSettings:
    """Settings of a run that only settles, without pseudo views: a second rendering would need the most memory."""
    settled = settling(settings, iterations=settings.merge.refine_iterations, num_gaussians=num_gaussians)
    return replace(settled, pseudo_view=replace(settled.pseudo_view, every=0))


def _put_back(core: Gaussians, near: Bool[Tensor, "n"], refined: Gaussians) -> Gaussians:
    """The core with the rows of a mask replaced."""
    rows = near.nonzero()[:, 0]

    def replaced(whole: Tensor, part: Tensor) -> Tensor:
        return whole.index_copy(0, rows, part)

    return Gaussians(
        means=replaced(core.means, refined.means),
        quats=replaced(core.quats, refined.quats),
        log_scales=replaced(core.log_scales, refined.log_scales),
        opacity_logits=replaced(core.opacity_logits, refined.opacity_logits),
        sh=replaced(core.sh, refined.sh),
    )
