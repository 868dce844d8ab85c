"""Owns reconstructing a large scene: plan, what the blocks share, one block after another, and the merged scene."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from blocks.block_folder import BlockFolder, keep_failure, read_block_record
from blocks.block_training import STAGE, BlockJob, train_block
from blocks.global_stage import Shared, make_shared
from blocks.memory import choose_num_blocks
from blocks.merge import Hole, merge_blocks
from blocks.partition import make_plan
from blocks.plan import BlockPlan, read_plan, write_plan
from blocks.plan_map import draw_plan
from blocks.run_progress import BlockProgress
from blocks.settings import RunSettings
from blocks.team import Alone
from blocks.turn_job import TurnsJob
from blocks.turns import forget_turns, train_in_turns
from blocks.workers.block_tasks import train_blocks_by_tasks
from blocks.workers.cluster import require_ray
from blocks.workers.turn_team import train_turns_by_team
from scene3d.data.capture import describe
from scene3d.errors import Diverged, InputError, LimitExceeded, Scene3dError
from scene3d.events import EventLog, Quiet, Reporter, Tee
from scene3d.training.memory import keep_little, keep_one_heap, peak_memory_bytes
from scene3d.training.preparation import Prepared, prepare_training
from scene3d.training.run import (
    ReconstructResult,
    check_run_folder,
    leave_nothing_behind,
    reconstruct,
    write_run_records,
)
from scene3d.training.run_folder import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult(ReconstructResult):
    """What a reconstruction left behind, and which blocks are missing in it."""

    num_blocks: int = 1
    holes: tuple[Hole, ...] = ()


def reconstruct_run(
    capture_path: Path,
    output: Path,
    settings: RunSettings,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> RunResult:
    """Reconstruct a capture in one piece where the memory given allows it, else in blocks.

    Args:
        capture_path: A folder with poses and photographs.
        output: The run folder; it must be new or empty unless `resume`.
        settings: `settings.blocks` decides, or leaves the decision to the size of the capture.
        resume: Go on where this folder stopped; blocks that failed are tried again.
        reporter: Hears of the progress, besides `events.jsonl`.

    Raises:
        InputError: The capture cannot be used, or the folder is taken.
        Diverged, LimitExceeded: No block could be trained.
    """
    keep_one_heap()
    run = RunFolder(output)
    prepared = prepare_training(capture_path, settings)
    plan = read_plan(run.plan) if resume and run.plan.is_file() else None
    num_blocks = settings.blocks if plan is None else len(plan.blocks)
    if num_blocks == "auto":
        begun_whole = resume and plan is None and run.checkpoints.is_dir()
        num_blocks = 1 if begun_whole else choose_num_blocks(prepared.capture, prepared.split, settings)
    if num_blocks == 1 and plan is None:
        if settings.needs_ray and reporter is not None:
            reporter.note(
                "a scene in one piece is trained by one process; more workers are for blocks", level="warning"
            )
        result = reconstruct(capture_path, output, settings, resume=resume, reporter=reporter, prepared=prepared)
        return RunResult(
            run=result.run,
            num_gaussians=result.num_gaussians,
            train_seconds=result.train_seconds,
            peak_memory_bytes=result.peak_memory_bytes,
        )
    return _reconstruct_blocks(run, prepared, plan, settings.in_blocks(num_blocks), resume, reporter or Quiet())


def _reconstruct_blocks(
    run: RunFolder,
    prepared: Prepared,
    plan: BlockPlan | None,
    settings: RunSettings,
    resume: bool,
    reporter: Reporter,
) -> RunResult:
    if settings.blocks == "auto":
        # Memory is why there are blocks: worth half as much processor time again.
        keep_little()
    was_there = run.root.exists()
    check_run_folder(run, resume=resume)
    if settings.needs_ray:
        require_ray()
    try:
        plan = plan or _make_plan(prepared, settings)
        with run.locked():
            reporter = Tee(EventLog(run.events), reporter)
            _write_records(run, prepared, plan, settings, reporter)
            shared = make_shared(run, prepared, plan, settings, reporter)
            if settings.field == "anchors":
                train_sharing_blocks(run, prepared, plan, shared, settings, reporter=reporter)
            elif settings.needs_ray:
                train_blocks_side_by_side(run, prepared, plan, settings, reporter=reporter)
            else:
                train_blocks(run, prepared, plan, shared, settings, resume=resume, reporter=reporter)
            merged = merge_blocks(run, plan, settings, capture=prepared.capture, reporter=reporter)
    except InputError:
        if not was_there and run.root.exists() and not run.blocks.exists():
            leave_nothing_behind(run)
        raise
    return RunResult(
        run=run,
        num_gaussians=merged.num_gaussians,
        train_seconds=merged.train_seconds,
        # Each block counted its peak anew.
        peak_memory_bytes=max([peak_memory_bytes() or 0, *(block.peak_memory_bytes or 0 for block in merged.blocks)])
        or None,
        num_blocks=len(plan.blocks),
        holes=merged.holes,
    )


def _make_plan(prepared: Prepared, settings: RunSettings) -> BlockPlan:
    exactly = None if settings.blocks == "auto" else settings.blocks
    return make_plan(prepared.capture, prepared.split, replace(settings.partition, blocks=exactly))


def _write_records(
    run: RunFolder, prepared: Prepared, plan: BlockPlan, settings: RunSettings, reporter: Reporter
) -> None:
    write_run_records(run, prepared, settings)
    if not run.plan.is_file():
        write_plan(run.plan, plan)
        draw_plan(plan, prepared.capture, run.plan_map)
    for finding in prepared.findings:
        reporter.note(describe(finding), level=finding.severity.value)
    for text in plan.findings:
        reporter.note(text)


def train_blocks(
    run: RunFolder,
    prepared: Prepared,
    plan: BlockPlan,
    shared: Shared,
    settings: RunSettings,
    *,
    resume: bool,
    reporter: Reporter,
) -> None:
    """Train what is not trained yet, the heaviest block first; one that fails is noted and the others go on.

    Raises:
        Diverged, LimitExceeded, InputError: Every block failed; the last reason.
    """
    order = sorted(range(len(plan.blocks)), key=lambda index: -plan.blocks[index].load)
    progress = BlockProgress(reporter, STAGE, len(order), settings.iterations)
    failure: Scene3dError | None = None
    num_trained = 0
    for place, index in enumerate(order):
        folder = BlockFolder(run.blocks / plan.blocks[index].block_id)
        progress.enter(place)
        if read_block_record(folder, plan.sha256) is None:
            job = BlockJob(folder=folder, prepared=prepared, plan=plan, index=index, shared=shared, settings=settings)
            try:
                train_block(job, resume=resume, reporter=progress)
            except (Diverged, LimitExceeded, InputError, MemoryError) as error:
                failure = _keep_failure(folder, error, reporter)
                continue
        num_trained += 1
    if failure is not None and num_trained == 0:
        raise failure
    progress.close()


def train_blocks_side_by_side(
    run: RunFolder, prepared: Prepared, plan: BlockPlan, settings: RunSettings, *, reporter: Reporter
) -> None:
    """Train what is not trained yet on Ray, the heaviest block first; one that fails is noted and the others go on.

    Raises:
        Diverged: Every block failed; the last reason.
        MissingPart, InputError: There is no Ray.
    """
    order = sorted(range(len(plan.blocks)), key=lambda index: -plan.blocks[index].load)
    folders = {index: BlockFolder(run.blocks / plan.blocks[index].block_id) for index in order}
    left = [index for index in order if read_block_record(folders[index], plan.sha256) is None]
    if not left:
        return
    failures = train_blocks_by_tasks(run, prepared, plan, settings, left, reporter)
    _keep_failures(run, plan, failures)
    if len(failures) == len(order):
        raise Diverged(f"no block could be trained; block {plan.blocks[left[-1]].block_id}: {failures[left[-1]]}")


def train_sharing_blocks(
    run: RunFolder, prepared: Prepared, plan: BlockPlan, shared: Shared, settings: RunSettings, *, reporter: Reporter
) -> None:
    """Train blocks of anchors in turns, from the last round on; here, or on Ray.

    Raises:
        Diverged: Every block failed.
        MissingPart, InputError: There is no Ray.
    """
    if settings.needs_ray:
        failures = train_turns_by_team(run, prepared, plan, settings, reporter)
    else:
        job = TurnsJob(run=run, prepared=prepared, plan=plan, shared=shared, settings=settings)
        failures = train_in_turns(job, Alone(), reporter=reporter)
    _keep_failures(run, plan, failures)
    if not failures:
        forget_turns(run)


def _keep_failures(run: RunFolder, plan: BlockPlan, failures: Mapping[int, str]) -> None:
    for index, reason in failures.items():
        keep_failure(BlockFolder(run.blocks / plan.blocks[index].block_id), reason)


def _keep_failure(folder: BlockFolder, error: Exception, reporter: Reporter) -> Scene3dError:
    """Writes down why a block failed, so that the merged scene can name its hole."""
    spoken = error if isinstance(error, Scene3dError) else LimitExceeded("there is not enough memory")
    keep_failure(folder, str(spoken))
    reporter.note(f"block {folder.root.name} failed: {spoken}; the others go on", level="warning")
    return spoken
