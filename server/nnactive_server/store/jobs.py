"""Long work for projects: who may run it, how far it is, and how it ended.

    queued ──► running ──► succeeded
      ▲  │        ├──────► failed ───────┐
      │  │        ├──────► cancelled ────┤ resume
      │  │        └──────► interrupted ──┤
      │  └───────────────► cancelled     │
      └──────────────────────────────────┘

Each start of a job is an attempt with a number. A worker reports under the number of its attempt, so one that
was given up and is still alive cannot disturb the next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from nnactive_server.core.errors import Conflict, NotFound
from nnactive_server.store.database import Database
from nnactive_server.store.events import emit, forget
from nnactive_server.store.ids import new_id
from nnactive_server.store.projects import find_project
from nnactive_server.store.texts import from_text, to_text

LOG_LINES = 200
"""How many of the last lines are kept; longer ones are cut."""
_LINE_LENGTH = 500


class JobState(StrEnum):
    """Where a job is; `interrupted` means that its process is gone and that it can go on."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


_NEXT: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}
    ),
    JobState.INTERRUPTED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
}
_UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        stage: what it does, e.g. `train`.
        done: steps of the stage that are finished.
        total: steps of the stage.
        detail: one short phrase.
        eta: seconds until the job is done, as far as anybody knows.
    """

    stage: str
    done: int
    total: int
    detail: str = ""
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes:
        id: opaque.
        project: id.
        kind: what is done, e.g. `cycle`.
        params: plain JSON values, checked by the caller.
        state: where it is.
        attempt: how often it was started.
        pid: process of the newest attempt.
        created: seconds since 1970; likewise `started` and `heartbeat` of the newest attempt, and `finished`.
        progress: of the newest attempt.
        log: its last lines.
        cancel_requested: somebody asked to stop.
        result: what it returned, plain JSON values.
        error: why it did not succeed, for people.
    """

    id: str
    project: str
    kind: str
    params: Mapping[str, Any]
    state: JobState
    attempt: int
    pid: int | None
    created: float
    started: float | None
    heartbeat: float | None
    finished: float | None
    progress: Progress | None
    log: tuple[str, ...]
    cancel_requested: bool
    result: Any
    error: str


class Jobs:
    """The jobs of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enqueue(self, project: str, kind: str, params: Mapping[str, Any]) -> Job:
        """Ask for work.

        Raises:
            Conflict: work of this kind is queued, running or interrupted in the project; carries that job.
            NotFound: no such project.
            InvalidInput: params that are no JSON.
        """
        now, job, text = self._database.now(), new_id(), to_text(params, "job params")
        with self._database.write() as connection:
            find_project(connection, project)
            for other in _select(connection, "project = ? AND kind = ?", project, kind):
                if other.state in _UNFINISHED:
                    raise Conflict(
                        f"project {project}: a job '{kind}' is {other.state} already; wait for it, resume or "
                        "cancel it",
                        other,
                    )
            connection.execute(
                "INSERT INTO jobs (id, project, kind, params, state, created) VALUES (?, ?, ?, ?, ?, ?)",
                (job, project, kind, text, JobState.QUEUED, now),
            )
            return _tell(connection, job, now)

    def get(self, job: str) -> Job:
        """A job by id; raises NotFound."""
        with self._database.read() as connection:
            return _find(connection, job)

    def list(self, project: str | None = None, states: Collection[JobState] = ()) -> tuple[Job, ...]:
        """Jobs, oldest first: all, or only those of a project or in some states."""
        condition = "(? IS NULL OR project = ?) AND (? = '[]' OR state IN (SELECT value FROM json_each(?)))"
        wanted = to_text(list(states), "job states")
        with self._database.read() as connection:
            return _select(connection, condition, project, project, wanted, wanted)

    def ended(self, limit: int) -> tuple[Job, ...]:
        """The `limit` jobs of all projects that succeeded, failed or were cancelled last, newest first."""
        condition = (
            "id IN (SELECT id FROM jobs WHERE state IN ('succeeded', 'failed', 'cancelled') "
            "ORDER BY finished DESC, id DESC LIMIT ?)"
        )
        with self._database.read() as connection:
            found = _select(connection, condition, limit)
        return tuple(sorted(found, key=lambda job: (job.finished or 0.0, job.id), reverse=True))

    def counts(self) -> dict[JobState, int]:
        """How many jobs of all projects are in each state; states without jobs are left out."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT state, count(*) FROM jobs GROUP BY state")
            return {JobState(state): count for state, count in rows}

    def position(self, job: Job) -> int | None:
        """Place in the queue, from 1; None for a job that does not wait in it."""
        if job.state != JobState.QUEUED:
            return None
        with self._database.read() as connection:
            query = "SELECT count(*) FROM jobs WHERE state = 'queued' AND id <= ?"
            return int(connection.execute(query, (job.id,)).fetchone()[0])

    def results(self, project: str, kind: str) -> tuple[tuple[JobState, Any], ...]:
        """State and result of a project's jobs of a kind, oldest first; without their logs."""
        query = "SELECT state, result FROM jobs WHERE project = ? AND kind = ? ORDER BY id"
        with self._database.read() as connection:
            rows = connection.execute(query, (project, kind))
            return tuple((JobState(row["state"]), from_text(row["result"])) for row in rows)

    def claim(self, pid: int, kinds: Collection[str] | None = None) -> Job | None:
        """Start the oldest queued job whose project has none running; only one caller ever gets it.

        Args:
            pid: of the process that does the work, or of its supervisor until `beat` tells a better one.
            kinds: only jobs of these; None for any.

        Returns:
            The job, running, with a new attempt; None when there is nothing to do.
        """
        now = self._database.now()
        with self._database.write() as connection:
            queued = _select(
                connection,
                "state = 'queued' AND project NOT IN (SELECT project FROM jobs WHERE state = 'running')",
            )
            job = next((j for j in queued if kinds is None or j.kind in kinds), None)
            if job is None:
                return None
            connection.execute(
                "UPDATE jobs SET state = 'running', attempt = attempt + 1, pid = ?, started = ?,"
                " heartbeat = ?, finished = NULL, progress = NULL, cancel_requested = 0, result = NULL,"
                " error = '' WHERE id = ?",
                (pid, now, now, job.id),
            )
            return _tell(connection, job.id, now)

    def beat(
        self,
        job: str,
        attempt: int,
        progress: Progress | None = None,
        lines: Sequence[str] = (),
        pid: int | None = None,
    ) -> bool:
        """A worker's sign of life, with what is new since the last one; once a second is enough.

        Returns:
            Whether somebody asked to stop.

        Raises:
            Conflict: this attempt is over, the worker must stop at once; carries the job.
            NotFound: no such job.
        """
        now = self._database.now()
        with self._database.write() as connection:
            known = _running(connection, job, attempt)
            log = [*known.log, *(line[:_LINE_LENGTH] for line in lines)][-LOG_LINES:]
            newest = progress or known.progress
            text = None if newest is None else to_text(asdict(newest), "job progress")
            connection.execute(
                "UPDATE jobs SET heartbeat = ?, progress = ?, log = ?, pid = coalesce(?, pid) WHERE id = ?",
                (now, text, to_text(log, "job log"), pid, job),
            )
            if progress is not None and progress != known.progress:
                forget(connection, "job.progress", job)
                emit(
                    connection,
                    now,
                    known.project,
                    "job.progress",
                    job,
                    {"attempt": attempt, **asdict(progress)},
                )
        return known.cancel_requested

    def finish(self, job: str, attempt: int, state: JobState, error: str = "", result: Any = None) -> Job:
        """End an attempt.

        Args:
            job: id.
            attempt: that ends.
            state: succeeded, failed, cancelled, or interrupted when its process is gone.
            error: why it did not succeed, for people.
            result: plain JSON values.

        Raises:
            Conflict: this attempt is over already, or a job cannot end like this; carries the job.
            NotFound: no such job.
        """
        now = self._database.now()
        with self._database.write() as connection:
            _check_step(_running(connection, job, attempt), state)
            connection.execute(
                "UPDATE jobs SET state = ?, finished = ?, error = ?, result = ? WHERE id = ?",
                (state, now, error, None if result is None else to_text(result, "job result"), job),
            )
            return _tell(connection, job, now)

    def cancel(self, job: str) -> Job:
        """Ask a job to stop: one that runs is told at its next beat, one that waits ends now.

        Raises:
            Conflict: it has ended already; carries it.
            NotFound: no such job.
        """
        now = self._database.now()
        with self._database.write() as connection:
            known = _find(connection, job)
            if known.state == JobState.RUNNING:
                connection.execute("UPDATE jobs SET cancel_requested = 1 WHERE id = ?", (job,))
                emit(connection, now, known.project, "job.cancelling", job, {"attempt": known.attempt})
                return _find(connection, job)
            _check_step(known, JobState.CANCELLED)
            connection.execute("UPDATE jobs SET state = 'cancelled', finished = ? WHERE id = ?", (now, job))
            return _tell(connection, job, now)

    def resume(self, job: str) -> Job:
        """Queue an interrupted, failed or cancelled job again; it goes on from what is on disk.

        Raises:
            Conflict: it is in another state, or another job of its kind is unfinished; carries that job.
            NotFound: no such job.
        """
        now = self._database.now()
        with self._database.write() as connection:
            known = _find(connection, job)
            _check_step(known, JobState.QUEUED)
            for other in _select(connection, "project = ? AND kind = ?", known.project, known.kind):
                if other.id != job and other.state in _UNFINISHED:
                    raise Conflict(f"job {job}: another one of its kind is {other.state}", other)
            connection.execute("UPDATE jobs SET state = 'queued', finished = NULL WHERE id = ?", (job,))
            return _tell(connection, job, now)

    def interrupt_orphans(
        self, silent_seconds: float = 0.0, alive: Callable[[Job], bool] = lambda _: False
    ) -> tuple[Job, ...]:
        """Mark running jobs whose process is gone as interrupted, e.g. when the server starts.

        Args:
            silent_seconds: only those whose last sign of life is at least so old.
            alive: tells whether a job's process is still there; nobody's is, unless given.

        Returns:
            The jobs that were running.
        """
        now = self._database.now()
        with self._database.write() as connection:
            running = _select(connection, "state = 'running' AND heartbeat <= ?", now - silent_seconds)
            orphans = [job for job in running if not alive(job)]
            for job in orphans:
                connection.execute(
                    "UPDATE jobs SET state = 'interrupted', finished = ?, error = ? WHERE id = ?",
                    (now, "its process ended without a word; resume it to go on", job.id),
                )
            return tuple(_tell(connection, job.id, now) for job in orphans)


def _find(connection: sqlite3.Connection, job: str) -> Job:
    found = _select(connection, "id = ?", job)
    if not found:
        raise NotFound(f"job {job[:80]}: there is none of this id")
    return found[0]


def _running(connection: sqlite3.Connection, job: str, attempt: int) -> Job:
    known = _find(connection, job)
    if known.state != JobState.RUNNING or known.attempt != attempt:
        raise Conflict(f"job {job}: attempt {attempt} is over; stop working on it", known)
    return known


def _check_step(job: Job, state: JobState) -> None:
    if state not in _NEXT[job.state]:
        raise Conflict(f"job {job.id}: is {job.state} and cannot become {state}", job)


def _tell(connection: sqlite3.Connection, job: str, now: float) -> Job:
    """The job as it is now, after an event that says so."""
    known = _find(connection, job)
    about = {"kind": known.kind, "attempt": known.attempt, "error": known.error}
    emit(connection, now, known.project, f"job.{known.state}", job, about)
    return known


def _select(connection: sqlite3.Connection, condition: str, *values: object) -> tuple[Job, ...]:
    rows = connection.execute(f"SELECT * FROM jobs WHERE {condition} ORDER BY id", values)
    return tuple(_job(row) for row in rows)


def _job(row: sqlite3.Row) -> Job:
    progress = from_text(row["progress"])
    return Job(
        id=row["id"],
        project=row["project"],
        kind=row["kind"],
        params=from_text(row["params"]),
        state=JobState(row["state"]),
        attempt=row["attempt"],
        pid=row["pid"],
        created=row["created"],
        started=row["started"],
        heartbeat=row["heartbeat"],
        finished=row["finished"],
        progress=None if progress is None else Progress(**progress),
        log=tuple(from_text(row["log"])),
        cancel_requested=bool(row["cancel_requested"]),
        result=from_text(row["result"]),
        error=row["error"],
    )
