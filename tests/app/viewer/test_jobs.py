"""Jobs as child processes: queue, pause, resume, kills, and servers that come and go."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.viewer import jobs as jobs_module
from app.viewer.job_record import Job, process_start, read_job, write_job
from app.viewer.jobs import MAX_WAITING, Jobs
from scene3d.errors import InputError, LimitExceeded

SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
print("began", sys.argv[1:], flush=True)
try:
    if "wait" in sys.argv:
        open("ready", "w").close()
        time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
if "fail" in sys.argv:
    print("scene3d: the capture is gone; look for it")
    sys.exit(4)
if "partial" in sys.argv:
    sys.exit(3)
"""
COMMAND = (sys.executable, "-c", SCRIPT)
PATIENCE_S = 60.0


def wait_for(condition, what: str):
    """Waits until something is so; nobody knows how long a crowded machine takes."""
    end_s = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end_s, f"waited in vain for {what}"
        time.sleep(0.02)  # between two looks at another process
    return value


def wait_for_state(jobs: Jobs, job: Job, state: str) -> Job:
    wait_for(lambda: jobs.find(job.id).state == state, f"{state}; it is {jobs.find(job.id)}")
    return jobs.find(job.id)


def wait_until_ready(jobs: Jobs, job: Job) -> Job:
    wait_for(lambda: (jobs.folder / job.id / "ready").exists(), "the job")
    return wait_for_state(jobs, job, "running")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    jobs = Jobs(tmp_path / "jobs", COMMAND)
    yield jobs
    jobs.close()


def test_a_job_runs_and_is_remembered_on_disk(jobs: Jobs) -> None:
    job = wait_for_state(jobs, jobs.submit("partition", "Plan", ["words"]), "done")
    assert job.exit_code == 0
    assert read_job(jobs.folder / job.id / "job.json") == job
    assert "began ['words']" in jobs.log_tail(job.id)


def test_a_job_that_fails_says_why_in_the_words_of_the_command_line(jobs: Jobs) -> None:
    job = wait_for_state(jobs, jobs.submit("partition", "Plan", ["fail"]), "failed")
    assert (job.exit_code, job.message) == (4, "the capture is gone; look for it")


def test_a_job_that_leaves_gaps_is_told_apart(jobs: Jobs) -> None:
    assert wait_for_state(jobs, jobs.submit("reconstruct", "R", ["partial"]), "partial").exit_code == 3


def test_one_job_runs_at_a_time_and_a_full_queue_refuses(jobs: Jobs) -> None:
    first = wait_until_ready(jobs, jobs.submit("reconstruct", "long", ["wait"]))
    waiting = [jobs.submit("partition", f"{number}", ["x"]) for number in range(MAX_WAITING)]
    with pytest.raises(LimitExceeded, match=f"{MAX_WAITING} jobs are waiting"):
        jobs.submit("partition", "one too many", ["x"])
    assert [jobs.find(job.id).state for job in waiting] == ["waiting"] * MAX_WAITING
    assert jobs.stop(waiting[0].id, "cancelled").state == "cancelled"
    jobs.stop(first.id, "cancelled")
    wait_for_state(jobs, waiting[-1], "done")
    assert jobs.find(first.id).state == "cancelled"


def test_two_jobs_never_work_on_one_run(jobs: Jobs) -> None:
    job = jobs.submit("reconstruct", "first", ["wait"], run="town")
    with pytest.raises(InputError, match="'first' is at work on this run"):
        jobs.submit("evaluate", "second", ["x"], run="town")
    jobs.stop(wait_until_ready(jobs, job).id, "cancelled")
    wait_for_state(jobs, job, "cancelled")


def test_a_paused_run_goes_on_with_resume(jobs: Jobs, tmp_path: Path) -> None:
    root = tmp_path / "town"
    root.mkdir()
    job = jobs.submit("reconstruct", "town", ["wait"], run="town", root=root)
    wait_until_ready(jobs, job)
    (root / "config.yaml").touch()
    jobs.stop(job.id, "paused")
    assert wait_for_state(jobs, job, "paused").exit_code == 130
    (jobs.folder / job.id / "ready").unlink()
    jobs.resume(job.id)
    wait_until_ready(jobs, job)
    assert "began ['wait', '--resume']" in jobs.log_tail(job.id)
    jobs.stop(job.id, "cancelled")
    assert wait_for_state(jobs, job, "cancelled").state == "cancelled"
    with pytest.raises(InputError, match="cannot be resumed"):
        jobs.resume(job.id)


def test_a_killed_job_says_so_and_can_be_resumed(jobs: Jobs) -> None:
    import os

    job = wait_until_ready(jobs, jobs.submit("reconstruct", "town", ["wait"]))
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    killed = wait_for_state(jobs, job, "killed")
    assert "out of memory is the usual reason" in killed.message
    (jobs.folder / job.id / "ready").unlink()  # of the first process: the second must be waited for
    jobs.resume(job.id)
    jobs.stop(wait_until_ready(jobs, job).id, "cancelled")
    wait_for_state(jobs, job, "cancelled")


def test_a_server_that_ends_pauses_its_job_and_the_next_one_resumes_it(tmp_path: Path) -> None:
    first = Jobs(tmp_path, COMMAND)
    job = wait_until_ready(first, first.submit("reconstruct", "town", ["wait"]))
    first.close()
    assert first.find(job.id).state == "paused"
    second = Jobs(tmp_path, COMMAND)
    try:
        second.resume(job.id)
        wait_for_state(second, job, "running")
    finally:
        second.close()


def test_jobs_of_a_dead_server_are_found_dead_or_adopted_alive(tmp_path: Path) -> None:
    first = Jobs(tmp_path, COMMAND)
    alive = wait_until_ready(first, first.submit("reconstruct", "alive", ["wait"]))
    assert alive.pid is not None
    dead = Job(
        id="d" * 32, kind="reconstruct", title="dead", words=("x",), state="running", pid=alive.pid, pid_started="1"
    )
    (tmp_path / dead.id).mkdir()
    write_job(tmp_path, dead)
    second = Jobs(tmp_path, COMMAND)  # as if the first had been killed without a word
    try:
        found = second.find(dead.id)
        assert (found.state, "it was killed" in found.message) == ("killed", True)
        assert second.find(alive.id).state == "running"
        second.stop(alive.id, "paused")
        wait_for(lambda: process_start(alive.pid) is None, "the end of the adopted process")
        wait_for(lambda: second.find(alive.id).state in ("paused", "killed"), "its state")
    finally:
        second.close()
        first.close()


def test_a_job_that_will_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MERCY_S", 0.2)
    deaf = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); open('ready', 'w').close(); time.sleep(600)"
    )
    jobs = Jobs(tmp_path, (sys.executable, "-c", deaf))
    job = wait_until_ready(jobs, jobs.submit("reconstruct", "deaf", []))
    jobs.stop(job.id, "cancelled")
    assert wait_for_state(jobs, job, "cancelled").exit_code == -signal.SIGKILL
    jobs.close()


def test_damaged_records_are_passed_over(tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", "{}"), ("c", '{"schema_version": 1, "words": [], "state": "odd"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.json").write_text(text)
    jobs = Jobs(tmp_path, COMMAND)
    assert jobs.list() == []
    jobs.close()
