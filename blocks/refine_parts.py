"""Owns refining the seams of a whole merge in bounded memory: block after block, amid the nearest neighbours."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from blocks.block_folder import save_gaussians
from blocks.global_stage import Shared, block_exposure, load_shared
from blocks.merge_parts import Crop, pad_sh
from blocks.plan import FAR, BlockPlan
from blocks.refine import SeamJob, refine_seam
from blocks.run_progress import BlockProgress
from blocks.settings import RunSettings
from scene3d.data.capture import Capture
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.atomic import make_folder
from scene3d.training.memory import release_memory
from scene3d.training.preparation import choose_device
from scene3d.training.run_folder import RunFolder

STAGE = "seams"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeamContext:
    """What refining needs beside the parts."""

    run: RunFolder
    plan: BlockPlan
    capture: Capture
    settings: RunSettings
    """How the blocks were trained."""


def refine_parts(
    context: SeamContext, parts: Sequence[Crop], kept: Mapping[int, Bool[Tensor, "_"]], reporter: Reporter
) -> list[Crop]:
    """The blocks' parts with refined seams, each in a file of its own whose Gaussians all belong into the scene.

    Later blocks see what earlier ones have become. Of the neighbours the nearest are loaded, as many as
    `max_resident_blocks` allows; for the others, and for holes, stands what the block itself was trained amid.

    Args:
        context: Run, plan, capture and settings.
        parts: The blocks that exist.
        kept: Which of each file's Gaussians belong into the scene.
        reporter: Hears of the progress.
    """
    degree = max(part.sh_degree for part in parts)
    folder = context.run.merged_scene.parent / "seams"
    make_folder(folder)
    refined = {part.owner: part for part in parts}
    marks = {owner: kept[owner] for owner in refined}
    shared = load_shared(context.run, context.plan) or Shared.nothing()
    progress = BlockProgress(reporter, STAGE, len(parts), context.settings.merge.refine_iterations)
    for place, part in enumerate(parts):
        progress.enter(place)
        release_memory()
        job = _make_job(context, shared, part, refined, marks)
        core = _refine(job, context.settings, progress)
        path = folder / f"{context.plan.blocks[part.owner].block_id}.safetensors"
        refined[part.owner] = replace(part, path=path, sha256=save_gaussians(path, core), sh_degree=degree)
        marks[part.owner] = torch.ones(len(core), dtype=torch.bool)
    progress.close()
    return [replace(part, core=marks[part.owner]) for part in refined.values()]


def _make_job(
    context: SeamContext,
    shared: Shared,
    part: Crop,
    current: Mapping[int, Crop],
    marks: Mapping[int, Bool[Tensor, "_"]],
) -> SeamJob:
    plan, degree = context.plan, max(each.sh_degree for each in current.values())
    whole = part.load(degree)
    near = find_nearest(plan, part.owner, current, context.settings.merge.max_resident_blocks - 1)
    owners = plan.owners(whole.means.double().numpy())
    stand_in = torch.from_numpy(~np.isin(owners, [part.owner, *near, FAR])) & ~part.core
    around = [whole.select(stand_in), pad_sh(shared.far, degree)]
    around += [current[owner].load(degree).select(marks[owner]) for owner in near]
    return SeamJob(
        plan=plan,
        index=part.owner,
        capture=context.capture,
        views=plan.find_views(part.owner, context.capture),
        core=whole.select(marks[part.owner]),
        around=Gaussians.concatenate(around),
        exposure=block_exposure(shared, plan, part.owner, choose_device(context.settings)),
    )


def _refine(job: SeamJob, settings: RunSettings, reporter: Reporter) -> Gaussians:
    refined = refine_seam(job, settings, reporter=reporter)
    # What would change its owner stays what it was: the neighbour does not know of it.
    before, after = (job.plan.owners(each.means.double().numpy()) for each in (job.core, refined))
    stays = torch.from_numpy(before == after)
    return _choose(stays, refined, job.core)


def find_nearest(plan: BlockPlan, block: int, others: Collection[int], most: int) -> list[int]:
    """The blocks whose cells' middles are nearest to that of a block, itself left out."""
    middles = np.array([np.add(each.cell.low, each.cell.high) / 2 for each in plan.blocks])
    distances = np.linalg.norm(middles - middles[block], axis=1)
    return sorted((owner for owner in others if owner != block), key=lambda owner: (distances[owner], owner))[:most]


def _choose(first: Bool[Tensor, "n"], yes: Gaussians, no: Gaussians) -> Gaussians:
    """Row by row from one of two sets."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(first.reshape(-1, *[1] * (a.dim() - 1)), a, b)

    return Gaussians(
        means=pick(yes.means, no.means),
        quats=pick(yes.quats, no.quats),
        log_scales=pick(yes.log_scales, no.log_scales),
        opacity_logits=pick(yes.opacity_logits, no.opacity_logits),
        sh=pick(yes.sh, no.sh),
    )
