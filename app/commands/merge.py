"""Owns `scene3d merge`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from app.errors import ExitCode
from app.settings_flags import OptionalPath
from blocks.merge_settings import MergeSettings
from blocks.settings import RunSettings
from scene3d.config import load_settings
from scene3d.errors import InputError
from scene3d.events import EventLog, Reporter, Tee

if TYPE_CHECKING:
    from blocks.merge import MergeResult
    from blocks.plan import BlockPlan
    from scene3d.data.capture import Capture


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Merge the blocks of a run into one scene once more, with other settings or after more blocks were trained.

    Writes RUN/merged anew. Each block gives the Gaussians that lie in its own cell. The audit then removes what hangs
    in air that a neighbouring block looks through, as far as photographs agree, and what lies at the seams is trained
    for a short while amid the merged scene. Ends with 3 when blocks are missing.
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The --output folder of `scene3d reconstruct`."""

    capture: OptionalPath = None
    """Where the capture lies now, if it was moved; audit and refinement need it."""

    settings: Annotated[MergeSettings, arg(name="")] = field(default_factory=MergeSettings)


def run(command: Merge, reporter: Reporter) -> int:
    """Merge, and print what each block gave and which are missing."""
    from blocks.merge import merge_blocks
    from blocks.plan import read_plan
    from scene3d.training.run_folder import read_run

    folder, record = read_run(command.run)
    if not folder.plan.is_file():
        remedy = "`scene3d reconstruct` has written its scene already"
        raise InputError("this run has no blocks to merge", where=command.run, remedy=remedy)
    plan = read_plan(folder.plan)
    with folder.locked():
        reporter = Tee(EventLog(folder.events), reporter)
        needs_capture = command.settings.audit or command.settings.refine_iterations > 0
        capture = find_capture(record, command.capture, plan, reporter) if needs_capture else None
        trained = replace(load_settings(RunSettings, folder.config), merge=command.settings)
        result = merge_blocks(folder, plan, trained, capture=capture, reporter=reporter)
    print(format_table(result))
    print(f"{describe_audit(result)}; {result.num_far:,} of {result.num_gaussians:,} Gaussians lie far outside")
    for hole in result.holes:
        print(f"hole: block {hole.block_id} ({hole.area_share:.1%} of the ground): {hole.reason}; {hole.remedy}")
    print(f"scene in {folder.merged_scene}; measure it with `scene3d evaluate {command.run}`")
    return ExitCode.PARTIAL if result.holes else ExitCode.DONE


def find_capture(
    record: dict[str, Any], folder: Path | None, plan: "BlockPlan", reporter: Reporter
) -> "Capture | None":
    """The capture of a run in the plan's frame; None, and a word, where it is gone and no other was given.

    Raises:
        InputError: There is no capture in the folder given.
    """
    from scene3d.data.reading import read_capture

    place = folder or Path(str(record.get("capture", "")))
    try:
        return read_capture(place).transformed(plan.world_from_capture)
    except InputError as error:
        if folder is not None:
            raise
        reporter.note(f"the run's capture cannot be read ({error}); give --capture FOLDER", level="warning")
        return None


def format_table(result: "MergeResult") -> str:
    """One line for each block that was merged."""
    rows: list[tuple[str, ...]] = [("block", "views", "points", "load", "kept", "dropped", "removed", "seconds")]
    for block in result.blocks:
        counts = (block.num_views, block.num_points, block.load, block.num_kept, block.num_dropped, block.num_removed)
        seconds = "-" if block.train_seconds is None else f"{block.train_seconds:,.0f}"
        rows.append((block.block_id, *(f"{count:,}" for count in counts), seconds))
    return "\n".join(f"{row[0]:<10}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in rows)


def describe_audit(result: "MergeResult") -> str:
    """What the audit did, in one line."""
    audit = result.audit
    if not audit.judge:
        return f"not audited: {audit.note}"
    line = f"audit of {audit.num_views} shared views: {audit.num_removed:,} of {audit.num_suspects:,} suspects removed"
    if audit.num_removed and audit.psnr_before_db is not None and audit.psnr_after_db is not None:
        line += f", PSNR of the views that showed them {audit.psnr_before_db:.2f} -> {audit.psnr_after_db:.2f} dB"
    return f"{line} ({audit.note})" if audit.note else line
