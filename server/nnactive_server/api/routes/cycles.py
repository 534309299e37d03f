"""Training: start a cycle, watch it, stop it."""

from __future__ import annotations

from fastapi import APIRouter, Response

from nnactive_server.api.access import Annotator, Viewer, require
from nnactive_server.api.bodies import CycleIn
from nnactive_server.api.learning import CYCLE, EXPORT, learning
from nnactive_server.api.once import OnceOnly
from nnactive_server.api.problems import Problem
from nnactive_server.api.replies import JobOut
from nnactive_server.api.server import Here, Server
from nnactive_server.api.views import job_out
from nnactive_server.core.errors import Conflict
from nnactive_server.store import Job, JobState, Role, Token

router = APIRouter(prefix="/v1", tags=["training"])


@router.post("/projects/{project}/cycles", status_code=202, response_model=JobOut)
def start_cycle(
    project: str, server: Here, caller: Annotator, once: OnceOnly, body: CycleIn | None = None
) -> Response:
    """Train on all answers, evaluate by cross-validation, and propose the next patches; a job.

    A training that was stopped goes on as it began, if nothing has changed since.
    """
    asked = body or CycleIn()

    def work() -> JobOut:
        known = learning(server.store, project)
        settled = any(one.answer.kind.settles for one in server.store.answers.current(project))
        if not settled:
            raise Problem(409, "nothing-annotated", "Nothing is annotated yet; answer some patches first.")
        return _shown(server, _begin(server, project, known.next_training, asked.early))

    reply = once(202, work)
    server.supervisor.wake()
    return reply


@router.get("/projects/{project}/jobs")
def list_jobs(project: str, server: Here, caller: Viewer) -> list[JobOut]:
    """All jobs of a project, oldest first."""
    server.store.projects.get(project)
    return [_shown(server, job) for job in server.store.jobs.list(project)]


@router.get("/jobs/{job}")
def read_job(job: str, server: Here, caller: Viewer) -> JobOut:
    """One job."""
    return _shown(server, server.store.jobs.get(job))


@router.post("/jobs/{job}/cancel", status_code=202, response_model=JobOut)
def cancel(job: str, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """Ask a job to stop; what it has trained is kept, and starting or resuming goes on from there."""
    _check_role(server, job, caller)
    reply = once(202, lambda: _shown(server, server.store.jobs.cancel(job)))
    server.supervisor.wake()
    return reply


@router.post("/jobs/{job}/resume", status_code=202, response_model=JobOut)
def resume(job: str, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """Queue a cancelled or failed job again; it goes on from its last checkpoint."""
    _check_role(server, job, caller)
    reply = once(202, lambda: _shown(server, server.store.jobs.resume(job)))
    server.supervisor.wake()
    return reply


def _check_role(server: Server, job: str, caller: Token) -> None:
    """Who may stop or go on with a job is who may start one of its kind."""
    needed = Role.ANNOTATOR if server.store.jobs.get(job).kind in (CYCLE, EXPORT) else Role.ADMIN
    require(caller, needed)


def _begin(server: Server, project: str, number: int, early: bool) -> Job:
    """A job for a training: the one that was stopped before, when nothing has changed since, or a new one."""
    stopped = _stopped(server, project, number)
    if stopped is not None:
        return server.store.jobs.resume(stopped.id)
    try:
        return server.store.jobs.enqueue(project, CYCLE, {"cycle": number, "early": early})
    except Conflict as conflict:
        current = conflict.current
        shown = _shown(server, current).model_dump(mode="json") if isinstance(current, Job) else None
        raise Problem(
            409, "running", "A training of this project goes on already.", current=shown
        ) from conflict


def _stopped(server: Server, project: str, number: int) -> Job | None:
    jobs = [
        job for job in server.store.jobs.list(project) if job.kind == CYCLE and job.params["cycle"] == number
    ]
    if not jobs or jobs[-1].state not in (JobState.CANCELLED, JobState.FAILED):
        return None
    began = jobs[-1].created
    answered = any(one.at > began for one in server.store.answers.current(project))
    changed = server.store.projects.get(project).changed > began
    return None if answered or changed else jobs[-1]


def _shown(server: Server, job: Job) -> JobOut:
    return job_out(job, server.store.jobs.position(job))
