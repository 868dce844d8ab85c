"""Owns what a person is told about a partition."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int

from blocks.partition_settings import PartitionSettings
from blocks.plan import PlannedBlock
from blocks.region import Region

MAX_NAMES = 3
"""Views named in one finding."""


def look_at_blocks(
    blocks: Sequence[PlannedBlock], region: Region, *, asked: PartitionSettings, effective: PartitionSettings
) -> list[str]:
    """Where the region came from, what a block had to have, and why there are so many blocks.

    Args:
        blocks: At least one.
        region: What was divided.
        asked: The person's settings.
        effective: The same with the minima of this capture.
    """
    findings = []
    if asked.region_file is not None:
        findings.append(f"the region is that of {asked.region_file.name}")
    elif region.num_left_out:
        findings.append(f"{region.num_left_out:,} lone or far points did not count for the region")
    if replace(effective, point_budget=asked.point_budget) != asked:
        lowered = f"{effective.min_views} views and {effective.min_points:,} points"
        usual = f"{asked.min_views} and {asked.min_points:,}"
        findings.append(f"the capture is small: {lowered} are enough for a block, instead of {usual}")
    largest = max(block.load for block in blocks)
    if asked.blocks is not None:
        findings.append(f"{asked.blocks} blocks were asked for")
    elif largest > asked.point_budget:
        reason = f"no more than {asked.max_blocks} blocks are made"
        if len(blocks) < asked.max_blocks:
            reason = "no cut makes the largest one smaller"
        findings.append(f"the largest load is {largest:,}, over the budget of {asked.point_budget:,}: {reason}")
    return findings


def look_at_views(names: Sequence[str], num_seen: Int[np.ndarray, "v"], assigned: Bool[np.ndarray, "b v"]) -> list[str]:
    """Training views that no block has.

    Args:
        names: Of all training views.
        num_seen: Points that each sees.
        assigned: Which blocks have which.
    """
    blind = num_seen == 0
    unused = ~assigned.any(axis=0) & ~blind
    findings = []
    for views, what in ((blind, "see no sparse point"), (unused, "see no point of any block")):
        found = [names[index] for index in np.flatnonzero(views).tolist()]
        if found:
            shown = ", ".join(found[:MAX_NAMES]) + (", ..." if len(found) > MAX_NAMES else "")
            findings.append(f"{len(found)} of {len(names)} training views {what} and belong to no block: {shown}")
    return findings
