"""Keeps the plain folders of the projects complete while cases come in."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from nnactive_server.core.errors import NNActiveError
from nnactive_server.jobs.tasks import run_task

_log = logging.getLogger(__name__)
_TASK_SECONDS = 600.0
_PAUSE_SECONDS = 1.0
"""Cases often come in a row; their project's folder is brought up to date once for several."""


class Folders:
    """Brings projects' folders up to date in a thread.

    Every job does the same when it begins, so a folder that is behind is no harm.

    Args:
        data: the server's folder.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._behind: set[str] = set()
        self._lock = threading.Lock()
        self._stirred, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="folders", daemon=True)
        self._thread.start()

    def refresh(self, project: str) -> None:
        """Have a project's folder brought up to date soon; asking often is cheap."""
        with self._lock:
            self._behind.add(project)
        self._stirred.set()

    def close(self) -> None:
        """End the thread after the task in work."""
        self._closed.set()
        self._stirred.set()
        self._thread.join()

    def _work(self) -> None:
        while self._stirred.wait() and not self._closed.wait(_PAUSE_SECONDS):
            self._stirred.clear()
            with self._lock:
                projects, self._behind = sorted(self._behind), set()
            try:
                params = {"data": str(self._data), "projects": projects}
                run_task("project-folders", params, data=self._data, seconds=_TASK_SECONDS)
            except NNActiveError as problem:
                _log.warning("the folders of %d projects are not complete: %s", len(projects), problem)
