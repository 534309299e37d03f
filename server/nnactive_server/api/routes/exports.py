"""Taking a project's model and labels home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from nnactive_server.api.access import Annotator
from nnactive_server.api.description import BINARY
from nnactive_server.api.learning import EXPORT, learning
from nnactive_server.api.once import OnceOnly
from nnactive_server.api.problems import MEDIA_TYPE, Problem
from nnactive_server.api.replies import JobOut
from nnactive_server.api.server import Here, Server
from nnactive_server.api.views import job_out
from nnactive_server.core.errors import Conflict
from nnactive_server.jobs.layout import export_file
from nnactive_server.store import Job

router = APIRouter(prefix="/v1", tags=["export"])
_ZIP = "application/zip"
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A zip file.", "content": {_ZIP: {"schema": BINARY}}},
    206: {"description": "The bytes of the range that was asked for.", "content": {_ZIP: {"schema": BINARY}}},
    416: {"description": "A range past the end.", "content": {MEDIA_TYPE: {}}},
}


@router.post("/projects/{project}/export", status_code=202, response_model=JobOut)
def start_export(project: str, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """Gather model, labels and list of patches in a file; a job. One that goes on already is taken."""

    def work() -> JobOut:
        if learning(server.store, project).model is None:
            raise Problem(409, "no-model", "There is no model yet; train first.")
        job = _job(server, project)
        return job_out(job, server.store.jobs.position(job))

    reply = once(202, work)
    server.supervisor.wake()
    return reply


@router.get("/jobs/{job}/file", response_class=Response, responses=_FILE)
def read_export(job: str, server: Here, caller: Annotator) -> Response:
    """What an export gathered; the newest of a project is kept."""
    found = server.store.jobs.get(job)
    path = export_file(server.settings.data, found.project, found.id)
    if found.kind != EXPORT or not path.is_file():
        raise Problem(404, "not-found", "There is no file of this job, or no longer; export again.")
    # Here, where a refusal can still be sent.
    server.transfers.check(caller.id)
    return _Counted(server, caller.id, path)


def _job(server: Server, project: str) -> Job:
    try:
        return server.store.jobs.enqueue(project, EXPORT, {})
    except Conflict as conflict:
        if isinstance(conflict.current, Job):
            return conflict.current
        raise


class _Counted(FileResponse):
    """A file that counts among the transfers of its caller while it is sent."""

    def __init__(self, server: Server, caller: str, path: Path) -> None:
        super().__init__(path, media_type=_ZIP, headers={"Cache-Control": "private, no-cache"})
        self._server, self._caller = server, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it (ASGI)."""
        with self._server.transfers.one_more(self._caller):
            await super().__call__(scope, receive, send)
