"""Owns the partition: from a levelled capture to a plan of blocks."""

import logging
import time

import numpy as np
from jaxtyping import Bool, Float, Int

from blocks.cells import Cell, Tree, find_leaves, leaves_of
from blocks.coverage import add_needed_views
from blocks.cut_choices import Ground, OpenCell
from blocks.cutting import cut_ground, divide_at_middle, divide_by_load
from blocks.grid import cut_into_grid
from blocks.partition_findings import look_at_blocks, look_at_views
from blocks.partition_settings import PartitionSettings
from blocks.plan import BlockPlan, PlannedBlock
from blocks.rectangle import Rectangle, rectangles_of
from blocks.region import Region, find_region, make_region
from blocks.region_file import place_corners, read_region_file
from blocks.survey import Survey, survey_capture
from blocks.visibility import count_loads, count_seen, views_of_spans
from scene3d.data.capture import Capture
from scene3d.data.split import Split
from scene3d.errors import InputError
from scene3d.geometry.similarity import Similarity

logger = logging.getLogger(__name__)

HEIGHT_PERCENTILES = (1.0, 99.0)
HEIGHT_MARGIN = 0.2
"""How far a cell reaches above and below its points, as a share of their span."""

LEAST_HEIGHT_SHARE = 0.01
"""The least of that margin, as a share of the region's radius: flat ground is not flat to the last digit."""


def make_plan(capture: Capture, split: Split, settings: PartitionSettings) -> BlockPlan:
    """Divide a capture into blocks.

    Only the training views count, for anything: points that held-out views alone saw do not exist here.

    Args:
        capture: In the normalised world: z up, median depth 1.
        split: Says which views are trained on.
        settings: How to divide.

    Raises:
        InputError: The number of blocks asked for is not possible, or the region file cannot be used.
    """
    start_s = time.perf_counter()
    survey = survey_capture(capture, split)
    region = choose_region(survey, settings, capture.world_from_capture)
    names = tuple(capture.views[index].name for index in split.train)
    plan = divide(survey, region, settings, names, capture.world_from_capture)
    seconds = time.perf_counter() - start_s
    figures = f"{len(plan.blocks)} blocks from {len(names)} views and {len(survey.positions)} points"
    logger.info("partition by %s: %s in %.1f s", plan.method, figures, seconds)
    return plan


def choose_region(survey: Survey, settings: PartitionSettings, world_from_capture: Similarity) -> Region:
    """The region of the settings' file, or the one that the well-seen points cover."""
    trusted = survey.positions[survey.trusted]
    if settings.region_file is None:
        return find_region(trusted[:, :2])
    corners = read_region_file(settings.region_file)
    placed = place_corners(corners, world_from_capture, np.median(trusted, axis=0), settings.region_file)
    region = make_region(placed, trusted[:, :2])
    if not region.rectangle.covers(region.frame.from_world(survey.positions), 0.0).any():
        remedy = "give its corners in the capture's own coordinates"
        what = f"none of the {len(survey.positions):,} sparse points lies in this region"
        raise InputError(what, where=settings.region_file, remedy=remedy)
    return region


def divide(
    survey: Survey,
    region: Region,
    settings: PartitionSettings,
    names: tuple[str, ...],
    world_from_capture: Similarity,
) -> BlockPlan:
    """The plan of a surveyed scene whose region is known.

    Args:
        survey: Who sees what.
        region: What is divided.
        settings: How.
        names: Of the training views.
        world_from_capture: Kept in the plan.

    Raises:
        InputError: The number of blocks asked for is not possible.
    """
    uv = region.frame.from_world(survey.positions)
    inside = region.rectangle.covers(uv, settings.expand_ratio)
    effective = settings.for_capture(len(names), int(np.count_nonzero(inside)), survey.thinning)
    ground = Ground(uv=uv, observations=survey.observations, settings=effective)
    tree = cut_region(ground, region.rectangle)
    blocks, assigned, uncovered = _make_blocks(survey, ground, region, tree)
    trusted = survey.positions[survey.trusted]
    x, y = region.frame.center
    return BlockPlan(
        method=settings.method,
        frame=region.frame,
        region=region.corners,
        tree=tree,
        middle=(x, y, float(np.median(trusted[:, 2]))),
        radius=region.radius,
        views=names,
        blocks=blocks,
        num_uncovered_points=uncovered * survey.thinning,
        world_from_capture=world_from_capture,
        findings=(
            *survey.findings,
            *look_at_blocks(blocks, region, asked=settings, effective=effective),
            *look_at_views(names, survey.observations.num_seen, assigned),
        ),
    )


def cut_region(ground: Ground, rectangle: Rectangle) -> Tree:
    """The cuts that the settings ask for.

    Without a number of blocks, the other methods make as many as cutting by load would, so that they compare.
    """
    settings = ground.settings
    num_cells = settings.blocks
    if settings.method == "load" or num_cells is None:
        most, enough = (settings.max_blocks, settings.point_budget) if num_cells is None else (num_cells, 0)
        tree = cut_ground(ground, rectangle, divide_by_load, num_cells=most, rank=_load, enough=enough)
        num_cells = num_cells or len(leaves_of(tree))
    if settings.method == "midpoint":
        tree = cut_ground(ground, rectangle, divide_at_middle, num_cells=num_cells, rank=_size)
    elif settings.method == "grid":
        tree = cut_into_grid(ground, rectangle, num_cells)
    found = len(leaves_of(tree))
    if settings.blocks is not None and found < settings.blocks:
        what = (
            f"{settings.blocks} blocks are not possible: each needs {settings.min_views} views and "
            f"{settings.min_points:,} sparse points of its own, and only {found} can be made"
        )
        raise InputError(what, remedy=f"ask for at most {found}, or lower min_views or min_points")
    return tree


def _load(cell: OpenCell) -> int:
    return cell.load


def _size(cell: OpenCell) -> int:
    return len(cell.rows)


def _make_blocks(
    survey: Survey, ground: Ground, region: Region, tree: Tree
) -> tuple[tuple[PlannedBlock, ...], Bool[np.ndarray, "b v"], int]:
    """The blocks of the cells, which views each has, and how many points no block covers."""
    settings, observations = ground.settings, ground.observations
    rectangles = rectangles_of(tree, region.rectangle)
    rows = [np.flatnonzero(each.covers(ground.uv, settings.expand_ratio)).astype(np.int32) for each in rectangles]
    sizes = np.array([len(each) for each in rows])
    counts = count_seen(observations, rows)
    assigned = _assign_views(counts, sizes, observations.num_seen, settings)
    assigned = add_needed_views(observations, find_leaves(tree, ground.uv), assigned)
    loads = count_loads(observations, assigned) * survey.thinning
    shares = counts / np.maximum(observations.num_seen, 1)[:, None]
    pixels = np.where(assigned.T, shares * survey.num_pixels[:, None], 0.0).sum(axis=0)
    blocks = tuple(
        PlannedBlock(
            block_id=f"{number:03d}",
            cell=_make_cell(rectangle, region, settings.expand_ratio, survey.positions[rows[number], 2]),
            views=tuple(np.flatnonzero(assigned[number]).tolist()),
            load=int(loads[number]),
            num_points=int(sizes[number]) * survey.thinning,
            num_pixels=round(float(pixels[number])),
        )
        for number, rectangle in enumerate(rectangles)
    )
    covered = np.zeros(len(ground.uv), bool)
    for each in rows:
        covered[each] = True
    return blocks, assigned, int(np.count_nonzero(~covered))


def _assign_views(
    counts: Int[np.ndarray, "v b"],
    sizes: Int[np.ndarray, "b"],
    num_seen: Int[np.ndarray, "v"],
    settings: PartitionSettings,
) -> Bool[np.ndarray, "b v"]:
    """Which views belong to which blocks; one that would belong to none goes where most of its points are."""
    assigned = views_of_spans(
        counts.T, sizes, num_seen, cover_view=settings.cover_view, cover_block=settings.cover_block
    )
    lost = np.flatnonzero(~assigned.any(axis=0) & counts.any(axis=1))
    assigned[counts[lost].argmax(axis=1), lost] = True
    return assigned


def _make_cell(rectangle: Rectangle, region: Region, expand_ratio: float, heights: Float[np.ndarray, "n"]) -> Cell:
    bottom, top = (0.0, 0.0) if not len(heights) else np.percentile(heights, HEIGHT_PERCENTILES).tolist()
    margin = max(HEIGHT_MARGIN * (top - bottom), LEAST_HEIGHT_SHARE * region.radius)
    whole = region.rectangle
    u, v = rectangle.sides
    return Cell(
        low=rectangle.low,
        high=rectangle.high,
        bottom=bottom - margin,
        top=top + margin,
        margin=(expand_ratio * u, expand_ratio * v),
        shared=(
            rectangle.low[0] > whole.low[0],
            rectangle.low[1] > whole.low[1],
            rectangle.high[0] < whole.high[0],
            rectangle.high[1] < whole.high[1],
        ),
    )
