"""Owns blocks in turns on several processes: Ray Train forms the group, and forms it anew where a process dies."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

from blocks.plan import BlockPlan
from blocks.run_progress import OnlyNotes
from blocks.settings import RunSettings
from blocks.team import TorchTeam
from blocks.turns import train_in_turns
from blocks.workers.cluster import find_resources, open_cluster
from blocks.workers.order import Orders, make_order
from blocks.workers.relay import EventRelay
from scene3d.errors import Diverged, InputError, LimitExceeded, Scene3dError, SettingsError
from scene3d.events import EventLog, Reporter
from scene3d.io.atomic import make_folder, write_json
from scene3d.io.bounded_json import read_json_object
from scene3d.training.preparation import Prepared, choose_device
from scene3d.training.run_folder import RunFolder

MAX_FAILURES = 8
"""Times that the group is formed again after a process died; it goes on from the last snapshot."""

GROUP_TIMEOUT_S = 1800
"""How long a process waits for the others: theirs may be busy with a large block."""

_ERRORS: dict[str, type[Scene3dError]] = {
    each.__name__: each for each in (Diverged, InputError, LimitExceeded, SettingsError)
}


def train_turns_by_team(
    run: RunFolder, prepared: Prepared, plan: BlockPlan, settings: RunSettings, reporter: Reporter
) -> dict[int, str]:
    """What `train_in_turns` does alone, on `settings.workers` processes; the outcome is the same.

    Args:
        run: Every worker sees it, and the capture, in the same place.
        prepared: The capture.
        plan: Written to the run folder already.
        settings: `workers` and `ray` say where.
        reporter: Hears of the progress.

    Returns:
        Why blocks failed, by number.

    Raises:
        MissingPart: Ray is not installed.
        InputError: There is no cluster, or the run was begun with other settings.
        Diverged: No block could be trained.
        LimitExceeded: Processes died again and again.
    """
    lanes = min(settings.turns.accumulate or settings.workers, len(plan.blocks))
    num_workers = min(settings.workers, lanes)
    if num_workers < settings.workers:
        reporter.note(f"{num_workers} of {settings.workers} workers are used: there are no more blocks at a time")
    folder = run.turns
    make_folder(folder)
    outcome = _outcome_of(run)
    outcome.unlink(missing_ok=True)
    order = make_order(run, prepared, settings)
    with open_cluster(settings.ray, num_workers) as ray:
        resources = find_resources(ray, num_workers, use_gpu=choose_device(settings).type == "cuda")
        with EventRelay(reporter, [_log_of(run, rank) for rank in range(num_workers)]):
            _fit(order, num_workers, resources)
    if not outcome.is_file():
        raise KeyboardInterrupt  # Ray Train has caught it and ended the group in good order
    record = read_json_object(outcome)
    if record["error"] is not None:
        raise _ERRORS.get(record["error"], Scene3dError)(record["what"], where=record["where"], remedy=record["remedy"])
    return {int(index): str(reason) for index, reason in record["failures"].items()}


def _fit(order: dict[str, Any], num_workers: int, resources: dict[str, float]) -> None:
    """Lets Ray Train run the team to its end."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    use_gpu = "GPU" in resources
    scratch = RunFolder(Path(order["run"])).turns / "ray"
    trainer = TorchTrainer(
        _work,
        train_loop_config=order,
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo", timeout_s=GROUP_TIMEOUT_S),
        # The coordinator reserves no CPU by itself: on two cores two workers leave it none.
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=use_gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name=f"{os.getpid()}-{time.time_ns()}",
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except TrainingFailedError as error:
        what = f"the workers failed more than {MAX_FAILURES} times: {str(error).strip().splitlines()[-1]}"
        raise LimitExceeded(what, where=order["run"], remedy="--resume goes on from the last round") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)
        shutil.rmtree(scratch, ignore_errors=True)


def _work(order: dict[str, Any]) -> None:
    """Runs in every process of the group, and again in every one when the group was formed anew.

    What the run has come to stands in its outcome file: a group that finds one has nothing to do. An error that a
    person can meet ends the group, whose other processes wait for this one, and the next group finds its reason.
    """
    run = RunFolder(Path(order["run"]))
    outcome = _outcome_of(run)
    if outcome.is_file():
        return
    try:
        orders = Orders.read(order)
        team = TorchTeam(choose_device(orders.settings))
        log = EventLog(_log_of(run, team.rank))
        reporter = log if team.rank == 0 else OnlyNotes(log)
        failures = train_in_turns(orders.turns_job(), team, reporter=reporter)
    except Scene3dError as error:
        told = {"what": error.what, "where": error.where, "remedy": error.remedy}
        write_json(outcome, {"error": type(error).__name__, **told})
        raise
    if team.rank == 0:
        write_json(outcome, {"error": None, "failures": {str(index): reason for index, reason in failures.items()}})


def _outcome_of(run: RunFolder) -> Path:
    return run.turns / "outcome.json"


def _log_of(run: RunFolder, rank: int) -> Path:
    return run.turns / f"events_{rank}.jsonl"
