"""Owns refining the seams of a whole merge in bounded memory: block after block, amid its neighbours' side of them."""

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
from blocks.refine import SeamJob, find_reaching, refine_seam
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

    Later blocks see what earlier ones have become. Neighbours are loaded one at a time, and only what lies at the seam
    is kept of them; farther away, and for holes, stands what the block itself was trained amid.

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
        core = _refine(make_job(context, shared, part, refined, marks), context.settings, progress)
        path = folder / f"{context.plan.blocks[part.owner].block_id}.safetensors"
        refined[part.owner] = replace(part, path=path, sha256=save_gaussians(path, core), sh_degree=degree)
        marks[part.owner] = torch.ones(len(core), dtype=torch.bool)
    progress.close()
    return [replace(part, core=marks[part.owner]) for part in refined.values()]


def make_job(
    context: SeamContext,
    shared: Shared,
    part: Crop,
    current: Mapping[int, Crop],
    marks: Mapping[int, Bool[Tensor, "_"]],
) -> SeamJob:
    """What refining one block's seam needs.

    Args:
        context: Run, plan, capture and settings.
        shared: What all blocks were trained amid.
        part: The block.
        current: What each block has become so far.
        marks: Which Gaussians of each of these belong into the scene.
    """
    plan, degree = context.plan, max(each.sh_degree for each in current.values())
    whole = part.load(degree)
    around = _find_around(context, part, whole, current, marks)
    return SeamJob(
        plan=plan,
        index=part.owner,
        capture=context.capture,
        views=plan.find_views(part.owner, context.capture),
        core=whole.select(marks[part.owner]),
        around=Gaussians.concatenate([*around, pad_sh(shared.far, degree)]),
        exposure=block_exposure(shared, plan, part.owner, choose_device(context.settings)),
    )


def _find_around(
    context: SeamContext,
    part: Crop,
    whole: Gaussians,
    current: Mapping[int, Crop],
    marks: Mapping[int, Bool[Tensor, "_"]],
) -> list[Gaussians]:
    """What neighbours have at the seams of a block, and what the block itself was trained amid elsewhere."""
    plan, block = context.plan, part.owner
    neighbours = find_neighbours(plan, block, current)
    owners = plan.owners(whole.means.double().numpy())
    replaced = torch.from_numpy(np.isin(owners, neighbours)) & find_reaching(plan, whole, block)
    # A Gaussian of an anchor on this side of a face may lie on the other: it is the block's own all the same.
    others = torch.from_numpy((owners != block) & (owners != FAR)) & ~part.core
    around = [whole.select(others & ~replaced)]
    for owner in neighbours:
        other = current[owner].load(whole.sh_degree)
        around.append(other.select(marks[owner] & find_reaching(plan, other, block)))
    return around


def _refine(job: SeamJob, settings: RunSettings, reporter: Reporter) -> Gaussians:
    refined = refine_seam(job, settings, reporter=reporter)
    # What would change its owner stays what it was: the neighbour does not know of it.
    before, after = (job.plan.owners(each.means.double().numpy()) for each in (job.core, refined))
    stays = torch.from_numpy(before == after)
    return _choose(stays, refined, job.core)


def find_neighbours(plan: BlockPlan, block: int, others: Collection[int]) -> list[int]:
    """The blocks whose rectangle, margin included, touches that of a block, itself left out."""
    boxes = [np.array([each.cell.low, each.cell.high]) for each in plan.blocks]
    margins = [np.array(each.cell.margin) for each in plan.blocks]

    def touches(other: int) -> bool:
        reach = margins[block] + margins[other]
        (low, high), (start, end) = boxes[block], boxes[other]
        return bool((start <= high + reach).all() and (low <= end + reach).all())

    return sorted(owner for owner in others if owner != block and touches(owner))


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
