"""Owns `scene3d partition`."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from app.commands.export import resolve_output
from app.errors import ExitCode
from app.settings_flags import OptionalPath
from blocks.partition_settings import PartitionSettings
from scene3d.errors import SettingsError
from scene3d.events import Reporter
from scene3d.training.settings import ReconstructSettings

if TYPE_CHECKING:
    from blocks.plan import BlockPlan
    from scene3d.training.preparation import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFlags(PartitionSettings):
    """The settings of a partition whose number of blocks is not a plain setting on the command line."""

    blocks: Annotated[int | None, tyro.conf.Suppress] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Divide a capture into blocks of equal load, and draw the map of the division.

    Nothing is trained. `scene3d reconstruct` divides by itself; this shows how, before hours are spent.
    """

    capture: Annotated[Path, Positional, arg(metavar="CAPTURE")]
    """Folder with poses (COLMAP or transforms.json) and photographs."""

    output: Annotated[Path, arg(aliases=("-o",))]
    """The plan to write, a .json file."""

    map: OptionalPath = None
    """Where the picture of the plan goes; beside the plan if not given."""

    blocks: Annotated[int | Literal["auto"] | None, arg(metavar="auto|N")] = None
    """Exactly this many blocks, or auto: as many as have to be so that each can be trained in --memory-gb. Without it
    as many as --point-budget asks for."""

    memory_gb: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Memory for training one block, for --blocks auto; without it what `scene3d reconstruct` takes by default."""

    force: bool = False
    """Write over existing files."""

    settings: Annotated[PartitionFlags, arg(name="")] = field(default_factory=PartitionFlags)

    def __post_init__(self) -> None:
        if self.memory_gb is not None and self.blocks != "auto":
            raise SettingsError("--memory-gb says nothing here", remedy="add --blocks auto")


def run(command: Partition, reporter: Reporter) -> int:
    """Divide, write plan and map, and print the blocks."""
    from blocks.partition import make_plan
    from blocks.plan import write_plan
    from blocks.plan_map import draw_plan
    from scene3d.data.capture import describe
    from scene3d.training.preparation import prepare_training

    path = choose_output(command.output, ".json", force=command.force)
    picture = choose_output(command.map or path.with_suffix(".png"), ".png", force=command.force)
    prepared = prepare_training(command.capture, ReconstructSettings())
    for finding in prepared.findings:
        reporter.note(describe(finding), level=finding.severity.value)
    settings = replace(command.settings, blocks=find_num_blocks(command, prepared))
    plan = make_plan(prepared.capture, prepared.split, settings)
    write_plan(path, plan)
    draw_plan(plan, prepared.capture, picture)
    print(format_table(plan))
    print(summarise(plan))
    for text in plan.findings:
        print(f"note: {text}")
    print(f"plan in {path}, map in {picture}")
    return ExitCode.DONE


def choose_output(path: Path, suffix: str, *, force: bool) -> Path:
    """The file to write; one without a suffix gets it.

    Raises:
        SettingsError: It has another suffix.
        InputError: The file is there already and may not be replaced.
    """
    path = path if path.suffix else path.with_suffix(suffix)
    if path.suffix.lower() != suffix:
        raise SettingsError(f"this is written as {suffix}, but the file ends with '{path.suffix}'", where=path)
    return resolve_output(path, None, force=force)


def find_num_blocks(command: Partition, prepared: "Prepared") -> int | None:
    """The number of blocks asked for; None where the point budget decides."""
    if command.blocks != "auto":
        return command.blocks
    from blocks.memory import choose_num_blocks

    settings = ReconstructSettings()
    if command.memory_gb is not None:
        settings = replace(settings, memory_gb=command.memory_gb)
    return choose_num_blocks(prepared.capture, prepared.split, settings)


def format_table(plan: "BlockPlan") -> str:
    """One line for each block: its views, points, load, and share of the ground."""
    areas = [_area(block.cell.low, block.cell.high) for block in plan.blocks]
    rows: list[tuple[str, ...]] = [("block", "views", "points", "load", "area")]
    for block, area in zip(plan.blocks, areas, strict=True):
        counts = (len(block.views), block.num_points, block.load)
        rows.append((block.block_id, *(f"{count:,}" for count in counts), f"{area / sum(areas):.1%}"))
    return "\n".join(f"{row[0]:<10}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)


def summarise(plan: "BlockPlan") -> str:
    """Balance and coverage in one line."""
    from blocks.plan_map import find_holes, load_variation

    holes = find_holes(plan)
    parts = [
        f"coefficient of variation of the load {load_variation(plan):.2f}",
        f"{plan.num_uncovered_points:,} points uncovered",
        f"views in {count_memberships(plan)}",
        f"holes: {', '.join(holes)}" if holes else "no holes",
    ]
    return "; ".join(parts)


def count_memberships(plan: "BlockPlan") -> str:
    """How many views are trained in one block, in two, in more; those in none only where there are any."""
    blocks_of_view = Counter(view for block in plan.blocks for view in block.views)
    counts = Counter(min(blocks_of_view[view], 3) for view in range(len(plan.views)))
    shown = f"1 block {counts[1]}, 2 blocks {counts[2]}, 3 or more {counts[3]}"
    return shown + (f", none {counts[0]}" if counts[0] else "")


def _area(low: tuple[float, float], high: tuple[float, float]) -> float:
    return (high[0] - low[0]) * (high[1] - low[1])
