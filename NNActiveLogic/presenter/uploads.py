"""Images to the server, one case after the other, with progress and a way to stop."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.errors import Cancelled
from NNActiveLogic.client.values import Case
from NNActiveLogic.client.worker import Task
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import DONE, Said
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.lanes import Cancellable

_LONGEST_NAME = 64


class Source(Protocol):
    """An image that is no file yet, such as a volume of the scene."""

    @property
    def name(self) -> str:
        """What it is called on the screen."""

    def write(self, target: Path, progress: Callable[[int, int], None]) -> None:
        """Write it as an image file; on a thread. `progress` may raise to stop."""


@dataclass(frozen=True, slots=True)
class NewCase:
    """Images that become a case: a file or source for each channel; without `name` the server chooses one."""

    files: tuple[Path | Source, ...]
    name: str | None = None

    @property
    def title(self) -> str:
        """What it is called on the screen."""
        return self.name or self.files[0].name


@dataclass(frozen=True, slots=True)
class UploadView:
    """What is shown: a sentence, how much of the present case is sent (0 to 1), and what failed."""

    sentence: str
    fraction: float | None
    running: bool
    failed: tuple[str, ...]


class Uploads:
    """The queue of what is to be sent to one project.

    Args:
        desk: of the project.
        added: called with each new case.
    """

    def __init__(self, desk: Desk, added: Callable[[Case], None]) -> None:
        self._desk, self._added = desk, added
        self._queue: list[NewCase] = []
        self._total = self._sent = 0
        self._task: Cancellable | None = None
        self._fraction = 0.0
        self._failed: list[str] = []
        self._stopped = False

    def view(self) -> UploadView:
        """What is shown."""
        running = self._task is not None
        return UploadView(self._sentence(), self._fraction if running else None, running, tuple(self._failed))

    def add(self, cases: Sequence[NewCase]) -> Said:
        """Send these after what is being sent; asks for consent where images leave this computer."""
        connection = self._desk.connection
        if not connection.consent:
            return Said(False, connection.question, ask=True)
        if self._task is None:
            self._total = self._sent = 0
            self._failed.clear()
        self._stopped = False
        self._queue += cases
        self._total += len(cases)
        self._next()
        return DONE

    def refuse(self, problem: Exception) -> None:
        """Something that was to be sent cannot be, such as a folder without images."""
        self._failed = [str(problem)]
        self._desk.changed()

    def cancel(self) -> None:
        """Stop; pieces that arrived stay on the server, so that the next attempt goes on from there."""
        if self._task is not None:
            self._task.cancel()
        self._queue.clear()
        self._task, self._stopped = None, True
        self._desk.changed()

    def _next(self) -> None:
        if self._task is not None or not self._queue:
            return
        case = self._queue[0]
        client, project = self._desk.client, self._desk.project.id
        self._fraction = 0.0

        def work(task: Task[Case]) -> Case:
            channels = [_send(client, image, task) for image in case.files]
            if task.cancelled:
                raise Cancelled(words.say(words.UPLOAD_STOPPED))
            return client.add_case(project, channels, server_name(case.name))

        self._task = self._desk.lanes.submit(
            "upload", work, done=self._done, failed=self._problem, progress=self._progress
        )
        self._desk.changed()

    def _progress(self, done: int, total: int) -> None:
        self._fraction = done / total if total else 0.0
        self._desk.changed()

    def _done(self, case: Case) -> None:
        self._sent += 1
        self._added(case)
        self._on()

    def _problem(self, problem: Exception) -> None:
        self._desk.connection.failed(problem)
        self._failed.append(words.say(words.UPLOAD_FAILED, name=self._queue[0].title, what=problem))
        self._on()

    def _on(self) -> None:
        self._task = None
        self._queue.pop(0)
        self._next()
        self._desk.changed()

    def _sentence(self) -> str:
        if self._task is not None:
            number = self._total - len(self._queue) + 1
            return words.say(words.UPLOADING, name=self._queue[0].title, number=number, total=self._total)
        if self._stopped:
            return words.say(words.UPLOAD_STOPPED)
        return words.count(self._sent, words.UPLOAD_DONE, words.UPLOADS_DONE) if self._sent else ""


def server_name(name: str | None) -> str | None:
    """A name as the server takes it: letters, digits, `_` and `-`; None when nothing is left of it."""
    plain = unicodedata.normalize("NFKD", name or "").encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9-]+", "_", plain).strip("_-")[:_LONGEST_NAME] or None


def _send(client: Client, image: Path | Source, task: Task[Case]) -> str:
    """SHA-256 under which the server has an image now; on a thread."""
    if isinstance(image, Path):
        return client.upload(image, task.progress)
    # Only its owner can read it, and it is gone at the end.
    with tempfile.TemporaryDirectory(prefix="nnactive-") as folder:
        path = Path(folder) / "image.nrrd"
        image.write(path, task.progress)
        return client.upload(path, task.progress)
