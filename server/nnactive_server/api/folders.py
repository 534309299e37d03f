"""Keeps the plain folders of the projects complete while cases come in."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path

from nnactive_server.core.errors import NNActiveError
from nnactive_server.jobs.tasks import run_task

_log = logging.getLogger(__name__)
_SECONDS = 600.0


class Folders:
    """Brings projects' folders up to date, one after the other, in a thread.

    Every job does the same when it begins, so a folder that is behind is no harm.

    Args:
        data: the server's folder.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._asked: set[str] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="folders", daemon=True)
        self._thread.start()

    def refresh(self, project: str) -> None:
        """Have a project's folder brought up to date soon; asking often is cheap."""
        with self._lock:
            if project in self._asked:
                return
            self._asked.add(project)
        self._waiting.put(project)

    def close(self) -> None:
        """Let the thread end after the folder in work."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (project := self._waiting.get()) is not None:
            with self._lock:
                # Before the work: what comes in during it is asked for anew.
                self._asked.discard(project)
            try:
                run_task(
                    "project-folder",
                    {"data": str(self._data), "project": project},
                    data=self._data,
                    seconds=_SECONDS,
                )
            except NNActiveError as problem:
                _log.warning("the folder of project %s is not complete: %s", project, problem)
