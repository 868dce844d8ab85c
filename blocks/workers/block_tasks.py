"""Owns blocks that know nothing of each other, each a Ray task: it is tried again where its process dies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blocks.block_training import STAGE, train_block
from blocks.plan import BlockPlan
from blocks.settings import RunSettings
from blocks.workers.cluster import find_resources, open_cluster
from blocks.workers.order import Orders, make_order
from blocks.workers.relay import EventRelay
from scene3d.errors import Diverged, InputError, LimitExceeded
from scene3d.events import EventLog, Reporter
from scene3d.training.preparation import Prepared, choose_device
from scene3d.training.run_folder import RunFolder

MAX_RETRIES = 8
"""Times that one block is begun again after its process died; it goes on from its last checkpoint."""


def train_blocks_by_tasks(
    run: RunFolder,
    prepared: Prepared,
    plan: BlockPlan,
    settings: RunSettings,
    indices: Sequence[int],
    reporter: Reporter,
) -> dict[int, str]:
    """Train blocks side by side, in this order, each from its last checkpoint on.

    Args:
        run: Every worker sees it, and the capture, in the same place.
        prepared: The capture.
        plan: Written to the run folder already.
        settings: `workers` and `ray` say where.
        indices: Of the blocks.
        reporter: Hears of the progress of all.

    Returns:
        Why blocks failed, by number.

    Raises:
        MissingPart: Ray is not installed.
        InputError: There is no cluster.
    """
    order = make_order(run, prepared, settings)
    logs = {index: run.blocks / plan.blocks[index].block_id / "events.jsonl" for index in indices}
    progress = _TaskProgress(reporter, list(logs.values()), settings.iterations)
    failures: dict[int, str] = {}
    with open_cluster(settings.ray, settings.workers) as ray:
        use_gpu = choose_device(settings).type == "cuda"
        resources = find_resources(ray, settings.workers, use_gpu=use_gpu)
        options = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0), "max_retries": MAX_RETRIES}
        task = ray.remote(**options)(_train_one)
        with EventRelay(reporter, list(logs.values()), progress.tell):
            waiting = {task.remote(order, index, str(logs[index])): index for index in indices}
            while waiting:
                (done,), _ = ray.wait(list(waiting), num_returns=1)
                index = waiting.pop(done)
                try:
                    reason = ray.get(done)
                except ray.exceptions.WorkerCrashedError:
                    reason = f"its process died {MAX_RETRIES + 1} times"
                if reason is not None:
                    failures[index] = reason
                    block_id = plan.blocks[index].block_id
                    reporter.note(f"block {block_id} failed: {reason}; the others go on", level="warning")
    progress.close()
    return failures


def _train_one(order: dict[str, Any], index: int, log: str) -> str | None:
    """Runs in a worker: trains one block; why it failed, or None."""
    try:
        orders = Orders.read(order)
        job = orders.block_job(index)
        train_block(job, resume=True, reporter=EventLog(Path(log)))
    except (Diverged, LimitExceeded, InputError) as error:
        return str(error)
    except MemoryError:
        return "there is not enough memory"
    return None


class _TaskProgress:
    """Adds up where all blocks stand."""

    def __init__(self, reporter: Reporter, logs: list[Path], iterations: int) -> None:
        self._reporter = reporter
        self._steps = dict.fromkeys(logs, 0)
        reporter.start(STAGE, len(logs) * iterations)

    def close(self) -> None:
        """All blocks are done."""
        self._reporter.finish(STAGE, block=f"{len(self._steps)} of {len(self._steps)}")

    def tell(self, path: Path, event: dict[str, Any]) -> None:
        """Passes on what one block has to say."""
        block = path.parent.name
        if event["event"] == "note":
            self._reporter.note(f"block {block}: {event['message']}", level=str(event["level"]))
        elif event["event"] == "advance":
            self._steps[path] = int(event["step"])
            figures = {name: event[name] for name in ("loss", "gaussians") if name in event}
            self._reporter.advance(STAGE, sum(self._steps.values()), block=block, **figures)
