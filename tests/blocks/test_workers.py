"""Workers: Ray trains what one process trains, bit for bit, though workers are killed; no team waits for ever."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.run import reconstruct_run
from blocks.team import Alone
from blocks.turn_settings import TurnSettings
from blocks.workers import block_tasks, cluster, turn_team
from blocks.workers.cluster import open_cluster, share_cpus
from blocks.workers.order import Orders, make_order
from blocks.workers.relay import EventRelay
from scene3d.errors import InputError, MissingPart
from scene3d.events import EventLog, Figure, Quiet
from scene3d.io.atomic import make_folder, write_json
from scene3d.training.run_folder import RunFolder
from tests.blocks.ray_runs import Program, start_program
from tests.blocks.turn_runs import HAMLET, SETTINGS, final_bytes, make_job, with_turns
from tests.synthetic_captures import shared_capture

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("ray")]
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (extra `cluster`)")

QUICK_MERGE = replace(SETTINGS.merge, refine_iterations=0, audit=False)
TEAM = replace(with_turns(accumulate=2), workers=2, merge=QUICK_MERGE)
TASKS = replace(
    SETTINGS, field="explicit", iterations=150, checkpoint_every=50, workers=2, merge=QUICK_MERGE, turns=TurnSettings()
)


@pytest.fixture(scope="session")
def hamlet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_capture(tmp_path_factory, "hamlet", HAMLET)


@pytest.fixture(scope="module")
def alone(hamlet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process makes of two lanes."""
    settings = replace(TEAM, workers=1)
    return final_bytes(reconstruct_run(hamlet, tmp_path_factory.mktemp("alone") / "run", settings).run)


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Starts programs; none outlives its test."""
    started: list[Program] = []

    def run(*arguments: Any) -> Program:
        started.append(start_program(*arguments))
        return started[-1]

    yield run
    for program in started:
        if program.process.poll() is None:
            program.kill()


@needs_ray
@pytest.mark.parametrize("killed", [False, True])
def test_two_workers_do_what_one_process_does(
    hamlet: Path, tmp_path: Path, alone: dict[str, str], killed: bool, start: Callable[..., Program]
) -> None:
    program = start(hamlet, tmp_path / "run", TEAM)
    if killed:
        assert program.wait_for(lambda: program.num_snapshots() >= 2), program.tail()
        assert program.wait_for_workers(2), program.tail()
        os.kill(program.worker_ids[-1], signal.SIGKILL)
    assert program.wait() == 0, program.tail()
    assert final_bytes(RunFolder(tmp_path / "run")) == alone
    assert not (tmp_path / "run" / "turns").exists()


@needs_ray
def test_independent_blocks_survive_the_death_of_a_worker(
    hamlet: Path, tmp_path: Path, start: Callable[..., Program]
) -> None:
    program = start(hamlet, tmp_path / "run", TASKS)
    begun = (tmp_path / "run" / "blocks").glob
    assert program.wait_for(lambda: any(begun("*/checkpoints/*.json"))), program.tail()
    assert program.wait_for_workers(1), program.tail()
    os.kill(program.worker_ids[0], signal.SIGKILL)
    assert program.wait() == 0, program.tail()
    alone = reconstruct_run(hamlet, tmp_path / "alone", replace(TASKS, workers=1)).run
    assert final_bytes(RunFolder(tmp_path / "run")) == final_bytes(alone)


def test_a_failed_block_says_why_instead_of_ending_the_others(hamlet: Path, tmp_path: Path) -> None:
    settings = replace(TASKS, iterations=2)
    job = make_job(hamlet, tmp_path / "run", settings)
    order = make_order(job.run, job.prepared, job.settings)
    assert block_tasks._train_one(order, 0, str(tmp_path / "events.jsonl")) is None
    starved = {**order, "settings": {**order["settings"], "memory_gb": 1e-6}}
    reason = block_tasks._train_one(starved, 1, str(tmp_path / "events.jsonl"))
    assert reason is not None
    assert "memory" in reason


def test_an_order_leads_a_worker_to_the_same_job(hamlet: Path, tmp_path: Path) -> None:
    job = make_job(hamlet, tmp_path / "run")
    order = json.loads(json.dumps(make_order(job.run, job.prepared, job.settings)))
    assert Orders.read(order).turns_job().identity == job.identity
    assert Orders.read(order).block_job(1).index == 1
    (job.run.shared / "shared.json").unlink()
    with pytest.raises(InputError, match="share"):
        Orders.read(order)


@pytest.fixture
def lonely(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A team of one that a worker finds itself in."""
    made: list[int] = []

    def make(device: object) -> Alone:
        made.append(1)
        return Alone()

    monkeypatch.setattr(turn_team, "TorchTeam", make)
    return made


def test_a_worker_of_a_run_that_is_done_has_nothing_to_wait_for(
    hamlet: Path, tmp_path: Path, lonely: list[int]
) -> None:
    job = make_job(hamlet, tmp_path / "run")
    make_folder(job.run.root / "turns")
    order = make_order(job.run, job.prepared, job.settings)
    turn_team._work(order)
    outcome = job.run.root / "turns" / "outcome.json"
    assert json.loads(outcome.read_text()) == {"error": None, "failures": {}}
    assert lonely == [1]
    turn_team._work(order)
    assert lonely == [1]


def test_an_error_a_person_can_meet_is_told_and_ends_the_next_group_at_once(
    hamlet: Path, tmp_path: Path, lonely: list[int]
) -> None:
    job = make_job(hamlet, tmp_path / "run")
    make_folder(job.run.root / "turns")
    order = make_order(job.run, job.prepared, job.settings)
    job.run.plan.write_text("{}")
    with pytest.raises(InputError):
        turn_team._work(order)
    told = json.loads((job.run.root / "turns" / "outcome.json").read_text())
    assert told["error"] == "InputError"
    assert "plan.json" in told["where"]
    turn_team._work(order)
    assert lonely == []


@pytest.mark.parametrize(
    ("node_cpus", "num_workers", "expected"),
    [([2], 2, 1), ([16], 2, 8), ([4, 4, 4], 2, 4), ([4, 4, 4], 4, 2), ([8, 2], 3, 2), ([1], 1, 1), ([3], 2, 1)],
)
def test_workers_share_cpus_without_reaching_across_machines(
    node_cpus: list[int], num_workers: int, expected: int
) -> None:
    assert share_cpus(node_cpus, num_workers) == expected


@pytest.mark.parametrize("node_cpus", [[], [0], [1, 1]])
def test_more_workers_than_cpus_are_refused_instead_of_waited_for(node_cpus: list[int]) -> None:
    with pytest.raises(InputError, match="a CPU each"):
        share_cpus(node_cpus, 3)


def test_a_gpu_for_each_worker_or_none_begins() -> None:
    node = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}
    fake = SimpleNamespace(nodes=lambda: [node, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}])
    assert cluster.find_resources(fake, 2, use_gpu=True) == {"CPU": 4.0, "GPU": 1.0}
    assert cluster.find_resources(fake, 4, use_gpu=False) == {"CPU": 2.0}
    with pytest.raises(InputError, match="a GPU each"):
        cluster.find_resources(fake, 3, use_gpu=True)


def test_without_ray_the_person_learns_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(MissingPart, match="cluster"), open_cluster(None, 2):
        pass


class FakeRay(SimpleNamespace):
    """Remembers how it was started."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(started=[], ended=0, error=error)

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        if self.error is not None:
            raise self.error
        self.started.append((options, {name: os.environ.get(name) for name in (*cluster.LOOPBACK, "PYTHONPATH")}))

    def shutdown(self) -> None:
        self.ended += 1


def test_a_cluster_of_its_own_is_private_small_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay()
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "ray", fake)
    before = dict(os.environ)
    with pytest.raises(RuntimeError), open_cluster(None, 2):
        raise RuntimeError
    ((options, environment),) = fake.started
    assert options["include_dashboard"] is False
    assert options["num_cpus"] >= 2
    assert options["object_store_memory"] < 100 << 20
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert str(Path(cluster.__file__).parents[2]) in str(environment["PYTHONPATH"]).split(os.pathsep)
    assert fake.ended == 1
    assert dict(os.environ) == before


def test_a_machine_too_busy_for_ray_gets_another_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = [RuntimeError("The current node timed out during startup.")] * 2

    class Slow(FakeRay):
        def init(self, **options: Any) -> None:
            if errors:
                raise errors.pop()
            super().init(**options)

    fake = Slow()
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "ray", fake)
    with open_cluster(None, 1):
        assert len(fake.started) == 1
    errors.append(ValueError("something else"))
    with pytest.raises(ValueError, match="something else"), open_cluster(None, 1):
        pass


def test_no_cluster_at_the_address_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "ray", FakeRay(ConnectionError("nobody answers")))
    with pytest.raises(InputError, match="no Ray cluster"), open_cluster("auto", 2):
        pass


def test_progress_of_workers_reaches_the_person_once(tmp_path: Path) -> None:
    heard: list[tuple[str, Figure]] = []

    class Listener(Quiet):
        def start(self, stage: str, total: int, **figures: Figure) -> None:
            heard.append(("start", total))

        def advance(self, stage: str, step: int, **figures: Figure) -> None:
            heard.append((str(figures["block"]), step))

        def note(self, message: str, *, level: str = "info") -> None:
            heard.append((level, message))

    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "note", "message": "of an earlier run", "level": "info"}\n')
    with EventRelay(Listener(), [path, tmp_path / "never.jsonl"]):
        log = EventLog(path)
        log.start("blocks", 10)
        log.advance("blocks", 3, block="a")
        with path.open("a") as stream:
            stream.write('{"event": "advance", "st')
            stream.write("\n")
        log.note("look out", level="warning")
        with path.open("a") as stream:
            stream.write('{"event": "note", "mess')
    assert heard == [("start", 10), ("a", 3), ("warning", "look out")]
    assert not path.exists()


def test_an_error_of_the_team_is_raised_as_what_it_was(
    hamlet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(hamlet, tmp_path / "run", replace(TEAM))
    told = {"error": "InputError", "what": "no picture", "where": "here", "remedy": "look"}

    def fit(order: dict[str, Any], num_workers: int, resources: dict[str, float]) -> None:
        assert num_workers == 2
        write_json(job.run.root / "turns" / "outcome.json", told)

    fake = FakeRay()
    fake.nodes = lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}]
    monkeypatch.setattr(turn_team, "_fit", fit)
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "ray", fake)
    with pytest.raises(InputError, match="no picture"):
        turn_team.train_turns_by_team(job.run, job.prepared, job.plan, job.settings, Quiet())
