"""What the routes work with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from nnactive_server.api.crowd import Crowd
from nnactive_server.api.folders import Folders
from nnactive_server.api.settings import Settings
from nnactive_server.api.upkeep import Upkeep
from nnactive_server.jobs.layout import project_root
from nnactive_server.jobs.supervisor import Supervisor
from nnactive_server.jobs.tasks import run_task
from nnactive_server.store import Store

TASK_SECONDS = 600.0
"""A task that takes longer is given up."""


class Server:
    """A server while it runs.

    Attributes:
        settings: how it runs.
        store: its durable state.
        supervisor: runs the jobs.
        folders: keeps the projects' plain folders complete.
        streams: counts who waits for events.
        transfers: counts large arrays on their way.
        closing: set when the server is asked to end, so that waiting requests come to an end.
    """

    def __init__(self, settings: Settings, store: Store, supervisor: Supervisor) -> None:
        self.settings, self.store, self.supervisor = settings, store, supervisor
        self.folders = Folders(settings.data)
        limits = settings.limits
        self.streams = Crowd(limits.streams, limits.streams_each, "wait for events")
        self.transfers = Crowd(limits.transfers, limits.transfers_each, "load large arrays")
        self._tasks = Crowd(limits.tasks, limits.tasks, "read files")
        self.closing = asyncio.Event()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run jobs and keep the files tidy while the block lasts.

        Raises:
            NNActiveError: another server works in the data folder.
        """
        self.supervisor.start()
        upkeep = Upkeep(self.store)
        try:
            yield
        finally:
            self.closing.set()
            upkeep.close()
            self.supervisor.stop()
            self.folders.close()

    @property
    def data(self) -> Path:
        """The folder of all data."""
        return self.settings.data

    def root(self, project: str) -> Path:
        """The folder of a project."""
        return project_root(self.data, project)

    def task(self, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Short work in a process of its own; see `jobs.tasks.run_task`.

        Raises:
            Problem: too many wait already (429).
        """
        # Each waits in a thread; those that are left answer everybody else.
        with self._tasks.one_more(name):
            return run_task(
                name,
                params,
                data=self.data,
                seconds=TASK_SECONDS,
                memory_bytes=self.settings.limits.task_bytes,
            )

    def known_size(self, sha256: str) -> int | None:
        """Bytes of a file that need not be sent: it is stored, or a case was made of it; None otherwise."""
        if self.store.blobs.refresh(sha256):
            return self.store.blobs.size(sha256)
        found = self.store.cases.of_source(sha256)
        return None if found is None else found.size


async def _server(request: Request) -> Server:  # no function, which would run in another thread
    server: Server = request.app.state.server
    return server


Here = Annotated[Server, Depends(_server)]
