"""Owns the free-space audit: Gaussians of one block that hang in air which its neighbours look through.

What a block leaves in the air where few of its own views look costs it little; in the merged scene it hangs before the
neighbour's ground. Views that two or more blocks were trained with can tell, in two steps.

1. *Suspects.* Such a view is rendered from what its blocks own, merged, and from each block's full model with all its
   surroundings. A Gaussian is suspect where the merged surface lies more than `audit_tolerance` before the nearest
   surface that any other of these blocks sees, and so does its own centre (what lies behind a floater is not blamed for
   it); with weight above `audit_weight` in at least `audit_min_views` views; and with over half of its weight at pixels
   of which another block says anything. Its own block is no witness: it confirms what it made. Witnesses speak of all
   they see, not only of surfaces they own: on blocks trained from 65 real aerial photographs that found 17 of 20
   planted floaters that shared views show, and the stricter rule none.
2. *Judgement.* A block sees its surroundings coarsely, so it also looks through real things. Photographs decide: views
   are rendered with and without all suspects, and the change of error at each pixel is laid on them by their weight
   there. Who makes photographs worse is removed. If all of these together make the views worse by more than
   `MAX_LOSS_DB`, nothing is.

Measured on a town of 5,349 Gaussians with 80 floaters planted near the face, half of them half-transparent: all 80 and
no other are removed. With two buildings missing in the neighbour's model there are 183 real suspects, of whom 159 are
acquitted; the first-order effect of opacity on the error, as judge, finds 69 floaters and condemns 113 real Gaussians,
because a slope does not tell how far it is to the next surface. In four blocks trained from 63 photographs of a
synthetic town 33 of 40 planted floaters are found, and 28 if three views have to agree.

Without photographs two cautious rules stand in: blocks speak only of surfaces that they own, for there they saw best;
and what makes up half of any pixel of its own block's images counts as a surface, which saves opaque floaters too.

What no shared view shows is not audited. Blocks are loaded view by view, a few at a time; of all blocks together ten
bytes per Gaussian are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from blocks.audit_evidence import AuditScene, Evidence, Marks, gather_evidence
from blocks.audit_judge import Verdict, judge_suspects
from blocks.audit_views import find_image_scale, find_shared_views
from blocks.merge_parts import BlockShelf, Crop
from blocks.merge_settings import MergeSettings
from blocks.plan import BlockPlan
from scene3d.data.capture import Capture
from scene3d.data.loader import ImageLoader
from scene3d.events import Reporter
from scene3d.gaussians.gaussians import Gaussians
from scene3d.training.evaluation import PhotoSource

MAX_LOSS_DB = 0.05
"""Where the views get worse by more than this, nothing is removed."""

SURFACE_WEIGHT = 0.5
"""Without photographs, what makes up this much of any pixel of its own block's images is taken for a surface."""

PHOTO_BYTES = 64 << 20
"""Memory for decoded photographs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What was found and removed, and why not more."""

    num_views: int = 0
    """Training views of two or more blocks."""

    num_suspects: int = 0
    num_removed: int = 0
    removed_share: float = 0.0
    """Of all Gaussians that the blocks own."""

    judge: str = ""
    """`photographs`, or `weights` where there are none."""

    psnr_before_db: float | None = None
    """Mean over the views that show what was to be removed; None where nothing was, or without photographs."""

    psnr_after_db: float | None = None
    note: str = ""
    """Why there was no audit, or why nothing came of it."""


def audit_blocks(
    crops: Sequence[Crop],
    plan: BlockPlan,
    settings: MergeSettings,
    *,
    capture: Capture | None,
    far: Crop | None = None,
    photos: PhotoSource | None = None,
    reporter: Reporter,
) -> tuple[Marks, AuditReport]:
    """Find the Gaussians that shall not reach the merged scene; see above how.

    Args:
        crops: The blocks that exist.
        capture: In the plan's world frame.
        far: What stands behind all blocks.
        photos: In the order of `capture.views`; the capture's own if not given.

    Returns:
        What to remove of each block's Gaussians (no entry where nothing was looked at), and a report.
    """
    if not settings.audit:
        return {}, AuditReport(note="not asked for")
    if capture is None:
        return {}, _refuse("the capture is not at hand", reporter)
    views = find_shared_views(plan, capture, [crop.owner for crop in crops], settings.audit_max_side_px)
    if not views:
        return {}, _refuse("no two blocks have a view in common", reporter)
    degree = max(crop.sh_degree for crop in (crops if far is None else [*crops, far]))
    shelf = BlockShelf(crops, sh_degree=degree, max_resident=settings.max_resident_blocks)
    scene = AuditScene(plan=plan, crops={crop.owner: crop for crop in crops}, shelf=shelf, views=views)
    with_photos = photos is not None or any(capture.views[view.index].image_path.is_file() for view in views)
    evidence = gather_evidence(scene, settings, cautious=not with_photos, reporter=reporter)
    suspects = {owner: each.suspects(settings.audit_min_views) for owner, each in evidence.items()}
    if not with_photos:
        reporter.note("there are no photographs: only what is no surface anywhere is removed", level="warning")
        return _report(scene, suspects, _spare_surfaces(suspects, evidence), None)
    backdrop = None if far is None else far.load(degree).select(far.core)
    if photos is not None:
        return _convict(scene, suspects, photos, backdrop, reporter)
    scale = find_image_scale(capture, [view.index for view in views], settings.audit_max_side_px)
    with ImageLoader(capture.views, image_scale=scale, memory_bytes=PHOTO_BYTES) as loader:
        return _convict(scene, suspects, loader, backdrop, reporter)


def _convict(
    scene: AuditScene, suspects: Marks, photos: PhotoSource, backdrop: Gaussians | None, reporter: Reporter
) -> tuple[Marks, AuditReport]:
    """Removes the suspects that photographs speak against, if the photographs are the better for it."""
    if not _count(suspects):
        return _report(scene, suspects, suspects, Verdict(gains={}))
    verdict = judge_suspects(scene, suspects, photos, backdrop, reporter)
    guilty = {owner: marks & (verdict.gains[owner] > 0) for owner, marks in suspects.items()}
    if not _count(guilty):
        return _report(scene, suspects, guilty, Verdict(gains={}))
    if _count(guilty) < _count(suspects):
        # With the acquitted back in place the rest is measured anew, for that is what will be written.
        verdict = judge_suspects(scene, guilty, photos, backdrop, reporter)
    return _report(scene, suspects, guilty, verdict)


def _spare_surfaces(suspects: Marks, evidence: Mapping[int, Evidence]) -> Marks:
    """The suspects that make up half of no pixel of their own block's images."""
    spared = {}
    for owner, marks in suspects.items():
        strongest = evidence[owner].strongest
        assert strongest is not None
        spared[owner] = marks & (strongest < SURFACE_WEIGHT)
    return spared


def _report(scene: AuditScene, suspects: Marks, removed: Marks, verdict: Verdict | None) -> tuple[Marks, AuditReport]:
    """What is removed in the end: nothing where photographs would be the worse for it."""
    before, after, note = None, None, ""
    if verdict is not None:
        before, after = verdict.psnr_before_db, verdict.psnr_after_db
        if before is not None and after is not None and after < before - MAX_LOSS_DB:
            note = f"without {_count(removed):,} suspects the views would be {before - after:.2f} dB worse: all stay"
            removed = {owner: torch.zeros_like(marks) for owner, marks in removed.items()}
    num_owned = sum(int(crop.core.sum()) for crop in scene.crops.values())
    return removed, AuditReport(
        num_views=len(scene.views),
        num_suspects=_count(suspects),
        num_removed=_count(removed),
        removed_share=_count(removed) / num_owned,
        judge="weights" if verdict is None else "photographs",
        psnr_before_db=before,
        psnr_after_db=after,
        note=note,
    )


def _refuse(why: str, reporter: Reporter) -> AuditReport:
    reporter.note(f"the seams are not audited: {why}", level="warning")
    return AuditReport(note=why)


def _count(marks: Marks) -> int:
    return sum(int(each.sum()) for each in marks.values())
