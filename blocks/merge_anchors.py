"""Owns the merged anchors: those of all blocks that own their places, with the one decoder that all agree on."""

import shutil
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from blocks.merge_parts import Crop
from blocks.plan import BlockPlan
from scene3d.errors import InputError
from scene3d.gaussians.anchors import Anchors
from scene3d.gaussians.decoder import Decoder
from scene3d.io.anchor_file import read_anchors, write_anchors
from scene3d.io.atomic import make_folder
from scene3d.training.run_folder import RunFolder


def merge_anchors(run: RunFolder, plan: BlockPlan, crops: Sequence[Crop]) -> dict[str, Any] | None:
    """Write `merged/anchors.safetensors`, as trained: before the audit and the refinement of seams.

    One block is in memory at a time; what is gathered lies in files that are mapped into memory.

    Args:
        run: Whose blocks were trained with one decoder.
        plan: Of the run.
        crops: Of these blocks.

    Returns:
        For the manifest; None where the blocks have no anchors.

    Raises:
        InputError: Blocks do not share their decoder, or a file has changed.
    """
    if not crops or any(crop.anchor_core is None for crop in crops):
        return None
    checksums = {str(crop.record.get("decoder_sha256")) for crop in crops}
    if len(checksums) > 1:
        remedy = "their anchors mean nothing to each other's decoder; train them together in a new folder"
        raise InputError(
            f"the blocks were finished with {len(checksums)} different decoders", where=run.blocks, remedy=remedy
        )
    path, facts = run.merged_anchors, {"world_from_capture": plan.world_from_capture.to_record()}
    scratch = path.with_name("anchors-parts")
    try:
        anchors, decoder = _gather(crops, scratch)
        sha256 = write_anchors(path, anchors, decoder, facts=facts)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {
        "file": path.name,
        "sha256": sha256,
        "size_bytes": path.stat().st_size,
        "num_anchors": len(anchors),
        "offsets_per_anchor": anchors.num_offsets,
        "decoder_sha256": checksums.pop(),
    }


def _gather(crops: Sequence[Crop], scratch: Path) -> tuple[Anchors, Decoder]:
    """The owned anchors of all blocks one after another, in mapped files."""
    shutil.rmtree(scratch, ignore_errors=True)
    make_folder(scratch)
    count = sum(int(crop.anchor_core.sum()) for crop in crops if crop.anchor_core is not None)
    gathered: dict[str, torch.Tensor] = {}
    position = 0
    for crop in crops:
        assert crop.anchor_core is not None, "only blocks with anchors come here"
        anchors, decoder = read_anchors(crop.path.with_name("anchors.safetensors"))
        owned = anchors.select(crop.anchor_core)
        for part in fields(Anchors):
            values = getattr(owned, part.name)
            if part.name not in gathered:
                size = count * values[0].numel()
                file = str(scratch / part.name)
                gathered[part.name] = torch.from_file(file, shared=True, size=size).reshape(count, *values.shape[1:])
            gathered[part.name][position : position + len(owned)] = values
        position += len(owned)
    return Anchors(**gathered), decoder
