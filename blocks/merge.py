"""Owns making one scene of trained blocks: each gives what it owns, one is in memory at a time, holes have names."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from blocks.audit import AuditReport, audit_blocks
from blocks.merge_anchors import merge_anchors
from blocks.merge_parts import Crop, crop_blocks, crop_far
from blocks.plan import BlockPlan
from blocks.refine_parts import SeamContext, refine_parts
from blocks.settings import RunSettings
from scene3d.data.capture import Capture
from scene3d.errors import InputError
from scene3d.events import Quiet, Reporter
from scene3d.exporting import write_scene_parts
from scene3d.gaussians.gaussians import Gaussians
from scene3d.io.atomic import write_json
from scene3d.training.memory import release_memory
from scene3d.training.run_folder import RUN_SCHEMA_VERSION, RunFolder

ROWS_AT_ONCE = 1 << 16
"""Gaussians handed on at once, so that little more than one block is ever in memory."""

_RETRAIN = "train it with `scene3d reconstruct --resume`"
_BEGIN_ANEW = "reconstruct into a new folder: the decoder that it would share has moved on without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A block that is missing in the merged scene."""

    block_id: str
    reason: str
    area_share: float
    """Of the ground of the region of interest."""

    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedBlock:
    """What one block gave to the merged scene."""

    block_id: str
    num_views: int
    num_points: int
    load: int
    num_kept: int
    num_dropped: int
    """Not its own: `num_margin` and `num_auxiliary` together."""

    num_margin: int
    num_auxiliary: int
    num_removed: int
    """Its own, and taken away by the audit."""

    train_seconds: float | None
    peak_memory_bytes: int | None
    iterations: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """What a merge left behind, as its manifest tells."""

    num_gaussians: int
    num_far: int
    """Of them: sky and horizon, which no block owns."""

    blocks: tuple[MergedBlock, ...]
    holes: tuple[Hole, ...]
    audit: AuditReport
    train_seconds: float
    """Of all blocks together."""


def merge_blocks(
    run: RunFolder,
    plan: BlockPlan,
    settings: RunSettings,
    *,
    capture: Capture | None,
    reporter: Reporter | None = None,
) -> MergeResult:
    """Write `merged/scene.ply` and its manifest from the blocks that are finished.

    A Gaussian goes where its centre lies, or its anchor, so each is in exactly one block's part. Blocks that are
    missing, failed or hold numbers that are not finite leave a hole; sky and horizon come from the set that all blocks
    share.

    Args:
        run: Its blocks were trained under this plan.
        settings: How they were trained, and how they are merged.
        capture: In the plan's world frame; without it nothing can be audited, and no seam refined.
        reporter: Hears of the progress.

    Raises:
        InputError: No block can be used, or one belongs to another plan.
    """
    reporter = reporter or Quiet()
    crops, failures = crop_blocks(run, plan, reporter)
    holes = tuple(_hole_of(plan, index, reason, settings) for index, reason in sorted(failures.items()))
    for hole in holes:
        reporter.note(f"block {hole.block_id} leaves a hole: {hole.reason}; {hole.remedy}", level="warning")
    if not crops:
        raise InputError(f"none of the {len(plan.blocks)} blocks can be used", where=run.root, remedy=_RETRAIN)
    far = crop_far(run, plan)
    if far is None:
        reporter.note("the run has no set of far Gaussians: the scene ends with its blocks", level="warning")
    parts = crops if far is None else [*crops, far]
    release_memory()
    removed, audit = audit_blocks(crops, plan, settings.merge, capture=capture, far=far, reporter=reporter)
    kept = {part.owner: part.core & ~removed[part.owner] if part.owner in removed else part.core for part in parts}
    num_removed = {crop.owner: int((crop.core & ~kept[crop.owner]).sum()) for crop in crops}
    refined = crops
    if capture is not None and settings.merge.refine_iterations > 0 and len(crops) > 1:
        context = SeamContext(run=run, plan=plan, capture=capture, settings=settings)
        release_memory()
        refined = refine_parts(context, crops, kept, reporter)
        kept |= {part.owner: part.core for part in refined}
    anchors = merge_anchors(run, plan, crops)
    record = _write_scene(run, plan, [*refined, *parts[len(crops) :]], kept, reporter)
    shutil.rmtree(run.merged_scene.parent / "seams", ignore_errors=True)
    result = MergeResult(
        num_gaussians=record["num_gaussians"],
        num_far=0 if far is None else int(far.core.sum()),
        blocks=tuple(_describe(plan, crop, num_removed[crop.owner]) for crop in crops),
        holes=holes,
        audit=audit,
        train_seconds=sum(float(crop.record.get("train_seconds") or 0) for crop in crops),
    )
    write_json(run.manifest, _manifest(plan, result, record) | _describe_field(anchors))
    return result


def _write_scene(
    run: RunFolder, plan: BlockPlan, parts: Sequence[Crop], kept: Mapping[int, Bool[Tensor, "_"]], reporter: Reporter
) -> dict[str, Any]:
    """Writes what is kept of all parts, in their order; returns the record of the file."""
    num_gaussians = sum(int(mask.sum()) for mask in kept.values())
    sh_degree = max(part.sh_degree for part in parts)
    reporter.start("write", num_gaussians)
    record = write_scene_parts(
        run.merged_scene,
        # A generator each: its local names, and the block with them, are gone when the next block is loaded.
        (rows for part in parts for rows in _rows_of(part, kept[part.owner], plan, sh_degree)),
        plan.world_from_capture,
        num_gaussians=num_gaussians,
        sh_degree=sh_degree,
        middle=plan.middle,
        radius=plan.radius,
    )
    reporter.finish("write", gaussians=num_gaussians)
    return record


def _rows_of(part: Crop, kept: Bool[Tensor, "n"], plan: BlockPlan, sh_degree: int) -> Iterator[Gaussians]:
    gaussians = part.load(sh_degree)
    for rows in torch.split(kept.nonzero()[:, 0], ROWS_AT_ONCE):
        chosen = gaussians.select(rows)
        if part.anchor_core is None:
            owners = plan.owners(chosen.means.double().numpy())
            assert (owners == part.owner).all(), "a Gaussian in another owner's part"
        yield chosen


def _hole_of(plan: BlockPlan, index: int, reason: str, settings: RunSettings) -> Hole:
    areas = [float(np.prod(np.subtract(block.cell.high, block.cell.low))) for block in plan.blocks]
    block_id = plan.blocks[index].block_id
    remedy = _RETRAIN if settings.field == "explicit" else _BEGIN_ANEW
    return Hole(block_id=block_id, reason=reason, area_share=areas[index] / sum(areas), remedy=remedy)


def _describe(plan: BlockPlan, crop: Crop, num_removed: int) -> MergedBlock:
    block = plan.blocks[crop.owner]
    return MergedBlock(
        block_id=block.block_id,
        num_views=len(block.views),
        num_points=block.num_points,
        load=block.load,
        num_kept=int(crop.core.sum()) - num_removed,
        num_dropped=crop.num_margin + crop.num_auxiliary,
        num_margin=crop.num_margin,
        num_auxiliary=crop.num_auxiliary,
        num_removed=num_removed,
        train_seconds=crop.record.get("train_seconds"),
        peak_memory_bytes=crop.record.get("peak_memory_bytes"),
        iterations=crop.record.get("iterations"),
    )


def _describe_field(anchors: dict[str, Any] | None) -> dict[str, Any]:
    """As of a scene in one piece."""
    return {"field": "explicit"} if anchors is None else {"field": "anchors", "anchors": anchors}


def _manifest(plan: BlockPlan, result: MergeResult, scene: Mapping[str, Any]) -> dict[str, Any]:
    """As of a scene in one piece, and what is known of the blocks."""
    blocks = [asdict(block) for block in result.blocks]
    return {
        "schema_version": RUN_SCHEMA_VERSION,
        "num_gaussians": result.num_gaussians,
        "num_far": result.num_far,
        # Of the block that was trained longest: it is the figure that a scene in one piece is compared by.
        "iterations": max((block["iterations"] for block in blocks if block["iterations"] is not None), default=None),
        "train_seconds": result.train_seconds,
        "peak_memory_bytes": max(block["peak_memory_bytes"] or 0 for block in blocks) or None,
        "world_from_capture": plan.world_from_capture.to_record(),
        **scene,
        "plan_sha256": plan.sha256,
        "blocks": blocks,
        "holes": [asdict(hole) for hole in result.holes],
        "audit": asdict(result.audit),
    }
