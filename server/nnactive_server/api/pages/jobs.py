"""Jobs as the operator's page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnactive_server.api.learning import CYCLE
from nnactive_server.api.pages import words
from nnactive_server.jobs.layout import model_name
from nnactive_server.store import Job, JobState, Store

ENDED = 5
"""So many ended jobs are shown."""
_LINES = 5
_SILENT_SECONDS = 60.0
_UNFINISHED = (JobState.RUNNING, JobState.QUEUED, JobState.INTERRUPTED)
_STATES = {
    JobState.QUEUED: "waiting",
    JobState.RUNNING: "running",
    JobState.SUCCEEDED: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "stopped on request",
    JobState.INTERRUPTED: "interrupted",
}


@dataclass(frozen=True, slots=True)
class JobView:
    """A job.

    Attributes:
        title: what it does.
        project: name.
        running: it has a process.
        failed: it ended in an error.
        state: in words.
        doing: its stage in words; empty before the first report.
        done: steps of the stage; likewise `total`.
        detail: one short phrase.
        left: the time left in words; empty when nobody knows.
        attempt: how often it was started.
        took: seconds of the newest attempt so far; None before the first.
        ended: seconds since 1970.
        error: why it does not go on.
        lines: the last of its log.
    """

    title: str
    project: str
    running: bool
    failed: bool
    state: str
    doing: str
    done: int
    total: int
    detail: str
    left: str
    attempt: int
    took: float | None
    ended: float | None
    error: str
    lines: tuple[str, ...]


def unfinished(store: Store, projects: Mapping[str, str]) -> tuple[JobView, ...]:
    """Jobs that run, wait or go on later, in this order; `projects` are names by id."""
    found = store.jobs.list(states=_UNFINISHED)
    found = tuple(sorted(found, key=lambda job: _UNFINISHED.index(job.state)))
    return tuple(_view(store, job, projects) for job in found)


def ended(store: Store, projects: Mapping[str, str]) -> tuple[JobView, ...]:
    """The last jobs that ended, the newest first."""
    return tuple(_view(store, job, projects) for job in store.jobs.ended(ENDED))


def _view(store: Store, job: Job, projects: Mapping[str, str]) -> JobView:
    progress, now = job.progress, store.database.now()
    running = job.state == JobState.RUNNING
    age = now - (job.heartbeat or now) if running else 0.0
    # The estimate was made at the last sign of life.
    seconds = None if progress is None or progress.eta is None else max(progress.eta - age, 0.0)
    until = job.finished if job.finished is not None else now
    return JobView(
        title=_title(job),
        project=projects.get(job.project, ""),
        running=running,
        failed=job.state == JobState.FAILED,
        state=_state(store, job, age),
        doing="" if progress is None else words.stage(progress.stage),
        done=0 if progress is None else progress.done,
        total=0 if progress is None else progress.total,
        detail="" if progress is None else progress.detail,
        left=words.left(seconds) if running else "",
        attempt=job.attempt,
        took=None if job.started is None else until - job.started,
        ended=job.finished,
        error=job.error,
        lines=job.log[-_LINES:],
    )


def _title(job: Job) -> str:
    if job.kind == CYCLE and "cycle" in job.params:
        return f"Training of {model_name(job.params['cycle'])}"
    return "Adding images from a folder" if job.kind == "import" else job.kind


def _state(store: Store, job: Job, age: float) -> str:
    if job.state == JobState.QUEUED:
        return f"waiting, number {store.jobs.position(job)} in the queue"
    if job.state == JobState.RUNNING and job.cancel_requested:
        return "stopping as asked"
    if age > _SILENT_SECONDS:
        return f"running, but silent for {words.duration(age)}"
    return _STATES[job.state]
