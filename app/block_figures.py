"""Owns what the evaluation of a run in blocks adds: regions around the seams, and the figures of each block."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scene3d.errors import InputError

if TYPE_CHECKING:
    from blocks.plan import BlockPlan
    from scene3d.geometry.similarity import Similarity

FROM_MANIFEST = ("num_kept", "num_dropped", "train_seconds", "peak_memory_bytes")
"""Figures of a block that only the merge knows."""


def read_run_plan(path: Path, world_from_capture: "Similarity") -> "BlockPlan | None":
    """The plan of a run in several blocks; None for a scene in one piece.

    Raises:
        InputError: The file is damaged, or the plan of another run.
    """
    from blocks.plan import read_plan

    if not path.is_file():
        return None
    plan = read_plan(path)
    ours, theirs = (
        np.column_stack([each.scale * each.rotation, each.translation])
        for each in (world_from_capture, plan.world_from_capture)
    )
    if not np.allclose(ours, theirs, rtol=1e-6, atol=1e-6 * np.abs(ours).max()):
        remedy = "put the run's own plan back, or remove the file to go without figures of seams"
        raise InputError("lies in another frame than the run", where=path, remedy=remedy)
    return plan if len(plan.blocks) > 1 else None


def collect_blocks(plan: "BlockPlan", manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The figures of each block, as far as plan and manifest have them."""
    listed = manifest.get("blocks")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    known = {str(entry.get("block_id")): entry for entry in entries}
    return [
        {
            "block_id": block.block_id,
            "num_views": len(block.views),
            "num_points": block.num_points,
            "load": block.load,
            **{name: known.get(block.block_id, {}).get(name) for name in FROM_MANIFEST},
        }
        for block in plan.blocks
    ]


def collect_holes(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Blocks that are missing in the merged scene, as the manifest lists them."""
    listed = manifest.get("holes")
    return [hole for hole in listed if isinstance(hole, dict)] if isinstance(listed, list) else []


def explain_missing(blocks: Sequence[Mapping[str, Any]], holes: Sequence[Mapping[str, Any]]) -> str:
    """Why some figures of some blocks are null; empty if none is."""
    why = {str(hole.get("block_id")): f"a hole, {hole.get('reason') or 'nobody said why'}" for hole in holes}
    incomplete = [str(block["block_id"]) for block in blocks if None in block.values()]
    return "; ".join(f"{each}: {why.get(each, 'the manifest lacks some of its figures')}" for each in incomplete)
