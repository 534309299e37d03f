"""The server as a whole, and who asks."""

from __future__ import annotations

import shutil

from fastapi import APIRouter

from nnactive_server import __version__
from nnactive_server.api.access import Viewer
from nnactive_server.api.connection import PROTOCOL
from nnactive_server.api.replies import HealthOut, PersonOut
from nnactive_server.api.server import Here
from nnactive_server.jobs.slots import devices
from nnactive_server.store import JobState

router = APIRouter(prefix="/v1", tags=["server"])


@router.get("/health")
def health(server: Here, caller: Viewer) -> HealthOut:
    """Whether the server works, and how busy it is."""
    counts = server.store.jobs.counts()
    return HealthOut(
        version=__version__,
        protocol=int(PROTOCOL),
        projects=server.store.projects.count(),
        running_jobs=counts.get(JobState.RUNNING, 0),
        queued_jobs=counts.get(JobState.QUEUED, 0),
        disk_free_bytes=shutil.disk_usage(server.data).free,
        devices=list(devices()),
    )


@router.get("/me")
def me(caller: Viewer) -> PersonOut:
    """Whose token this is."""
    return PersonOut(name=caller.name, role=caller.role)
