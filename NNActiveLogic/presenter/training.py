"""A training as the clinician sees it: started, watched, stopped, gone on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from NNActiveLogic.client.errors import Conflict
from NNActiveLogic.client.values import Event, Job, JobState, PatchState, Progress
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import DONE, Said, refuse
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.records import Records
from NNActiveLogic.presenter.sending import Sending

CYCLE = "cycle"
_STAGES = ("answers", "labels", "plan", "preprocess", "train", "early", "predict", "evaluate", "query")


@dataclass(frozen=True, slots=True)
class TrainingView:
    """What is shown of a training.

    Attributes:
        sentence: how it is.
        fraction: of the present stage, from 0 to 1; None when nothing goes on.
        running: it waits or goes on.
        can_start, can_cancel, can_resume: what may be pressed.
        hint: what to know about it now; empty when nothing.
        log: last lines of the server.
    """

    sentence: str
    fraction: float | None
    running: bool
    can_start: bool
    can_cancel: bool
    can_resume: bool
    hint: str
    log: tuple[str, ...]


class Training:
    """The newest training of a project.

    Args:
        desk: of the project.
        records: know the jobs.
        sending: knows what is unsent.
        finished: called when a training has succeeded.
    """

    def __init__(self, desk: Desk, records: Records, sending: Sending, finished: Callable[[], None]) -> None:
        self.notice = ""
        self._desk, self._records, self._sending = desk, records, sending
        self._finished = finished
        self._asked = False

    @property
    def job(self) -> Job | None:
        """The newest training, if there was one."""
        found = [job for job in self._records.now.jobs if job.kind == CYCLE]
        return max(found, key=lambda job: job.created) if found else None

    @property
    def running(self) -> bool:
        """Whether one waits or goes on."""
        return self.job is not None and not self.job.finished

    def view(self) -> TrainingView:
        """What is shown."""
        job = self.job
        stopped = job is not None and job.state in (JobState.CANCELLED, JobState.FAILED)
        free = not self._asked and not self.running
        return TrainingView(
            sentence=self.notice or self._sentence(job),
            fraction=_fraction(job) if self.running else None,
            running=self.running,
            can_start=free,
            can_cancel=self.running and not self._asked and job is not None and not job.cancelling,
            can_resume=free and stopped,
            hint=self._hint(),
            log=job.log if job else (),
        )

    def start(self, early: bool = False) -> Said:
        """Train on all answers and propose new patches; with `early` the first ones before the end."""
        if self.running:
            return DONE
        if not any(patch.revision for patch in self._records.now.patches) and not self._sending.entries:
            return refuse(words.TRAINING_NOTHING)
        client, project = self._desk.client, self._desk.project.id
        # What the clinician has just answered belongs to it: it is sent on the same lane, before.
        self._sending.flush(now=True)
        return self._ask(lambda: client.start_cycle(project, early), lane="post")

    def cancel(self) -> Said:
        """Stop at the next checkpoint; what was trained is kept."""
        return self._with_job(self._desk.client.cancel)

    def resume(self) -> Said:
        """Go on from the last checkpoint."""
        return self._with_job(self._desk.client.resume)

    def hear(self, events: Sequence[Event]) -> None:
        """Something happened."""
        for event in events:
            if event.kind == "job.progress":
                self._progress(event.subject, event.payload)
            elif event.kind == "job.succeeded" and _kind(event.payload) == CYCLE:
                self.notice = ""
                self._finished()

    def _hint(self) -> str:
        waiting = self._sending.counts.waiting
        if waiting:
            return words.count(waiting, words.TRAINING_UNSENT, words.TRAININGS_UNSENT)
        replaced = any(p.early and p.state == PatchState.OPEN for p in self._records.now.patches)
        return words.say(words.EARLY_BOXES) if self.running and replaced else ""

    def _sentence(self, job: Job | None) -> str:
        if job is not None and job.state == JobState.SUCCEEDED and job.cycle is not None:
            newest = max((patch.cycle for patch in self._records.now.patches), default=0)
            if newest <= job.cycle:
                return words.say(words.TRAINING_DONE_FULL)
        return _sentence(job)

    def _with_job(self, work: Callable[[str], Job]) -> Said:
        job = self.job
        return refuse(words.NO_TRAINING) if job is None else self._ask(lambda: work(job.id))

    def _ask(self, work: Callable[[], Job], lane: str = "front") -> Said:
        if self._asked:
            return DONE
        self._asked, self.notice = True, ""
        self._desk.lanes.submit(lane, lambda _: work(), done=self._told, failed=self._failed)
        self._desk.changed()
        return DONE

    def _told(self, job: Job) -> None:
        self._asked = False
        others = tuple(one for one in self._records.now.jobs if one.id != job.id)
        self._records.now = replace(self._records.now, jobs=(*others, job))
        self._desk.changed()

    def _failed(self, problem: Exception) -> None:
        self._asked = False
        code = problem.code if isinstance(problem, Conflict) else ""
        if not self._desk.connection.failed(problem):
            self.notice = words.say(words.TRAINING_NOTHING) if code == "nothing-annotated" else str(problem)
            self._records.refresh("jobs")
        self._desk.changed()

    def _progress(self, job: str, payload: Any) -> None:
        if not isinstance(payload, Mapping):
            return
        eta = payload.get("eta")
        now = Progress(
            str(payload.get("stage", "")),
            int(payload.get("done") or 0),
            int(payload.get("total") or 0),
            str(payload.get("detail", "")),
            float(eta) if isinstance(eta, int | float) else None,
        )
        self._records.job_progress(job, lambda one: replace(one, state=JobState.RUNNING, progress=now))


def stage_words(stage: str) -> str:
    """What goes on, in words; stages of repeated work carry a number in front."""
    name = stage.rpartition(": ")[2]
    return words.say(getattr(words.STAGE, name if name in _STAGES else "other"))


def _kind(payload: Any) -> str:
    return str(payload.get("kind", "")) if isinstance(payload, Mapping) else ""


def _fraction(job: Job | None) -> float | None:
    if job is None or job.progress is None or job.progress.total <= 0:
        return 0.0
    return min(1.0, max(0.0, job.progress.done / job.progress.total))


def _sentence(job: Job | None) -> str:
    if job is None:
        return words.say(words.NO_TRAINING)
    if job.cancelling and not job.finished:
        return words.say(words.TRAINING_CANCELLING)
    if job.state == JobState.QUEUED:
        queued = (job.position or 1) > 1
        return (
            words.say(words.TRAINING_QUEUED, n=job.position) if queued else words.say(words.TRAINING_STARTS)
        )
    if job.state == JobState.RUNNING:
        return _running(job)
    if job.state == JobState.FAILED:
        return words.say(words.TRAINING_FAILED, what=job.error or "")
    ended = {
        JobState.SUCCEEDED: words.TRAINING_DONE,
        JobState.CANCELLED: words.TRAINING_CANCELLED,
        JobState.INTERRUPTED: words.TRAINING_INTERRUPTED,
    }
    return words.say({str(state): text for state, text in ended.items()}.get(job.state, words.NO_TRAINING))


def _running(job: Job) -> str:
    if job.progress is None:
        return words.say(words.TRAINING_STARTS)
    stage, percent = stage_words(job.progress.stage), round(100 * (_fraction(job) or 0.0))
    left = job.progress.eta_seconds
    if left is None:
        return words.say(words.TRAINING_NO_ETA, stage=stage, percent=percent)
    return words.say(words.TRAINING, stage=stage, percent=percent, left=words.duration(left))
