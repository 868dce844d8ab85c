"""Owns the queue of jobs: one heavy one works at a time, and all are remembered on disk."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Condition, Thread

from app.viewer.job_process import find_unseen_end, interrupt, judge, kill, resumed_words, start_process
from app.viewer.job_record import (
    ENDED,
    PAUSABLE_KINDS,
    RESUMABLE,
    RESUMABLE_KINDS,
    Job,
    Kind,
    State,
    is_alive,
    process_start,
    read_job,
    write_job,
)
from scene3d.errors import InputError, LimitExceeded
from scene3d.io.atomic import make_folder

MAX_WAITING = 8
MAX_KEPT = 60
"""Records of jobs; the oldest ended ones are forgotten."""

MERCY_S = 60.0
"""So long a job has for keeping what it did after it was asked to stop."""

POLL_S = 0.5
LOG_TAIL_BYTES = 4000


class Jobs:
    """Starts, stops and remembers jobs. Safe to use from several threads.

    Args:
        folder: Where records and logs lie; jobs of an earlier server are found there, those still alive are adopted.
        command: What runs a job; its words follow.
    """

    def __init__(self, folder: Path, command: Sequence[str] = (sys.executable, "-m", "app.viewer.child")) -> None:
        self.folder = folder
        self._command = tuple(command)
        make_folder(folder)
        self._changed = Condition()
        self._jobs: dict[str, Job] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted: State | None = None
        self._closing = False
        self._recall()
        self._worker = Thread(target=self._work, name="jobs", daemon=True)
        self._worker.start()

    def list(self) -> list[Job]:
        """All jobs, the newest first."""
        with self._changed:
            return sorted(self._jobs.values(), key=lambda job: -job.created_s)

    def find(self, job_id: str) -> Job:
        """One job.

        Raises:
            InputError: There is none of this id.
        """
        with self._changed:
            if job_id not in self._jobs:
                raise InputError("there is no such job")
            return self._jobs[job_id]

    def active(self, run: str) -> Job | None:
        """The job that waits for or works on a run."""
        return next((job for job in self.list() if job.run == run and job.state in ("waiting", "running")), None)

    def submit(
        self,
        kind: Kind,
        title: str,
        words: Sequence[str],
        *,
        run: str | None = None,
        root: Path | None = None,
        product: str | None = None,
    ) -> Job:
        """Put a job into the queue.

        Raises:
            LimitExceeded: The queue is full.
            InputError: Another job waits for or works on the same run.
        """
        with self._changed:
            waiting = [job for job in self._jobs.values() if job.state == "waiting"]
            if len(waiting) >= MAX_WAITING:
                remedy = "wait until one has ended, or cancel one"
                raise LimitExceeded(f"{len(waiting)} jobs are waiting already", remedy=remedy)
            busy = [job for job in self._jobs.values() if job.state in ("waiting", "running") and job.run == run]
            if run is not None and busy:
                raise InputError(f"'{busy[0].title}' is at work on this run", remedy="wait for it, or stop it first")
            job = Job(
                id=secrets.token_hex(16),
                kind=kind,
                title=title,
                words=tuple(words),
                run=run,
                run_root=None if root is None else str(root),
                product=product,
                created_s=time.time(),
            )
            make_folder(self.folder / job.id)
            self._keep(job)
            self._changed.notify_all()
        return job

    def stop(self, job_id: str, wanted: State) -> Job:
        """Pause or cancel a job; a running one is interrupted and keeps what it has finished.

        Args:
            wanted: `paused` or `cancelled`.

        Raises:
            InputError: It cannot be stopped like this.
        """
        with self._changed:
            job = self.find(job_id)
            if wanted == "paused" and job.kind not in PAUSABLE_KINDS:
                raise InputError("this job cannot be paused", remedy="cancel it and start it again later")
            if job.state == "waiting" or (job.state in RESUMABLE and wanted == "cancelled"):
                self._keep(replace(job, state=wanted, ended_s=time.time(), message=""))
            elif job.state == "running":
                self._wanted = wanted
                self._keep(replace(job, message="stopping: what it has done is being kept"))
                interrupt(job)
            else:
                raise InputError(f"this job is {job.state} already")
            self._changed.notify_all()
            return self._jobs[job_id]

    def resume(self, job_id: str) -> Job:
        """Put a paused, killed or failed job back into the queue; it goes on from its last checkpoint.

        Raises:
            InputError: It cannot be resumed.
        """
        with self._changed:
            job = self.find(job_id)
            if job.state not in RESUMABLE or job.kind not in RESUMABLE_KINDS:
                raise InputError(f"a job that is {job.state} cannot be resumed")
            self._keep(replace(job, state="waiting", pid=None, exit_code=None, ended_s=None, message=""))
            self._changed.notify_all()
            return self._jobs[job_id]

    def close(self) -> None:
        """End the server's part: the running job is paused, and can be resumed by the next server."""
        with self._changed:
            self._closing = True
            running = [job for job in self._jobs.values() if job.state == "running"]
            if running:
                self._wanted = "paused"
                interrupt(running[0])
            self._changed.notify_all()
        self._worker.join(timeout=MERCY_S + 10)

    def log_tail(self, job_id: str) -> str:
        """The last lines a job has printed."""
        path = self.folder / self.find(job_id).id / "output.log"
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return stream.read().decode("utf-8", errors="replace")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._next() is not None)
                job = self._next()
                if job is None or (self._closing and job.state != "running"):
                    return
            if job.state == "running":
                self._watch(job, lambda job=job: None if is_alive(job) else find_unseen_end(job))  # type: ignore[misc]
            else:
                self._run(job)

    def _next(self) -> Job | None:
        """An adopted job that runs already, else the one that waits longest."""
        jobs = sorted(self._jobs.values(), key=lambda job: job.created_s)
        running = [job for job in jobs if job.state == "running"]
        return next(iter([*running, *(job for job in jobs if job.state == "waiting")]), None)

    def _run(self, job: Job) -> None:
        try:
            process = start_process(self.folder / job.id, [*self._command, *resumed_words(job)])
        except OSError as error:
            self._end(job, "failed", None, str(error))
            return
        with self._changed:
            self._process, self._wanted = process, self._wanted if self._closing else None
            started = process_start(process.pid)
            job = replace(job, state="running", pid=process.pid, pid_started=started, started_s=time.time(), message="")
            self._keep(job)
            self._changed.notify_all()
        self._watch(job, process.poll)
        self._process = None

    def _watch(self, job: Job, poll: Callable[[], int | None]) -> None:
        """Waits for the end of a running job; one that does not stop when asked is killed."""
        asked_s: float | None = None
        while (code := poll()) is None:
            with self._changed:
                self._changed.wait(timeout=POLL_S)
                if self._wanted is not None and asked_s is None:
                    asked_s = time.monotonic()
            if asked_s is not None and time.monotonic() - asked_s > MERCY_S:
                kill(job)
        with self._changed:
            wanted, self._wanted = self._wanted, None
        self._end(job, *judge(code, wanted, self.log_tail(job.id)))

    def _end(self, job: Job, state: State, code: int | None, message: str) -> None:
        with self._changed:
            ended = replace(
                self._jobs[job.id], state=state, exit_code=code, message=message, ended_s=time.time(), pid=None
            )
            self._keep(ended)
            self._forget_old()
            self._changed.notify_all()

    def _keep(self, job: Job) -> None:
        self._jobs[job.id] = job
        write_job(self.folder, job)

    def _recall(self) -> None:
        for path in sorted(self.folder.glob("*/job.json"))[: 4 * MAX_KEPT]:
            job = read_job(path)
            if job is None:
                continue
            self._jobs[job.id] = job
            if job.state == "running" and not is_alive(job):
                message = "it was killed, or the machine was restarted; it can go on from its last checkpoint"
                self._keep(replace(job, state="killed", pid=None, message=message, ended_s=time.time()))

    def _forget_old(self) -> None:
        ended = sorted((job for job in self._jobs.values() if job.state in ENDED), key=lambda job: -job.created_s)
        for job in ended[MAX_KEPT:]:
            del self._jobs[job.id]
            for path in (self.folder / job.id).iterdir():
                path.unlink()
            (self.folder / job.id).rmdir()
