"""Model and labels as files in a folder of this computer."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Pause

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.errors import Cancelled, ClientError
from NNActiveLogic.client.values import Job, JobState
from NNActiveLogic.client.worker import Task
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.answering import DONE, Said, refuse
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.lanes import Cancellable
from NNActiveLogic.presenter.records import Records

ASK_SECONDS = 1.0
"""Between two questions whether the server has the file ready."""
_UNFIT = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class ExportView:
    """What is shown: a sentence, how much has arrived (0 to 1; None while the server prepares it)."""

    sentence: str
    fraction: float | None
    running: bool


class Exports:
    """One export at a time; the server gathers it, then it is downloaded and unpacked.

    Args:
        desk: of the project.
        records: know the models.
        ask_seconds: between two questions to the server.
    """

    def __init__(self, desk: Desk, records: Records, ask_seconds: float = ASK_SECONDS) -> None:
        self._desk, self._records, self._ask_seconds = desk, records, ask_seconds
        self._task: Cancellable | None = None
        self._fraction: float | None = None
        self._sentence = ""

    def view(self) -> ExportView:
        """What is shown."""
        return ExportView(self._sentence, self._fraction, self._task is not None)

    def start(self, folder: Path) -> Said:
        """Save model, labels and the list of answers in a new folder inside this one."""
        models = self._records.now.models
        if not models:
            return refuse(words.EXPORT_NO_MODEL)
        if self._task is not None:
            return DONE
        project, client, pause = self._desk.project, self._desk.client, self._ask_seconds
        target = folder / _UNFIT.sub("_", f"{project.name} {models[-1]}")
        self._sentence, self._fraction = words.say(words.EXPORT_PREPARES), None

        def work(task: Task[Path]) -> Path:
            return export(client, project.id, target, task.progress, pause)

        self._task = self._desk.lanes.submit(
            "files", work, done=self._done, failed=self._failed, progress=self._progress
        )
        self._desk.changed()
        return DONE

    def cancel(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            self._task, self._sentence = None, words.say(words.EXPORT_STOPPED)
            self._desk.changed()

    def _progress(self, done: int, total: int) -> None:
        self._fraction = done / total if total else None
        template = words.EXPORT_ARRIVES if total else words.EXPORT_PREPARES
        self._sentence = words.say(template)
        self._desk.changed()

    def _done(self, target: Path) -> None:
        self._task, self._sentence = None, words.say(words.EXPORT_DONE, folder=target)
        self._desk.changed()

    def _failed(self, problem: Exception) -> None:
        self._task = None
        self._desk.connection.failed(problem)
        self._sentence = words.say(words.EXPORT_FAILED, what=problem)
        self._desk.changed()


def export(
    client: Client, project: str, target: Path, progress: Callable[[int, int], None], pause: float
) -> Path:
    """Have an export made, fetch it, and unpack it as a folder, which appears when it is whole. On a thread.

    Args:
        client: to the server.
        project: id.
        target: folder that does not exist yet.
        progress: is told of bytes; raises Cancelled to stop.
        pause: seconds between two questions whether it is ready.

    Raises:
        ClientError: the network, the server, the disk, or a folder that exists.
    """
    if target.exists():
        raise ClientError(f"The folder {target} exists already.", "Choose another one.")
    job = _made(client, client.start_export(project), progress, pause)
    packed = target.with_name(f"{target.name}.zip")
    unpacked = target.with_name(f"{target.name}.part")
    try:
        client.save_export(job, packed, progress)
        _unpack(packed, unpacked)
        unpacked.replace(target)
    except (OSError, zipfile.BadZipFile) as problem:
        raise ClientError(f"{target} cannot be written ({problem}).", "Choose another folder.") from problem
    finally:
        # The next export is another file, so half of this one is of no use.
        for rest in ("", ".part", ".part.etag"):
            packed.with_name(packed.name + rest).unlink(missing_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)
    return target


def _made(client: Client, job: Job, progress: Callable[[int, int], None], pause: float) -> str:
    waiting = Pause()
    while not job.finished:
        progress(0, 0)
        waiting.wait(pause)
        job = client.job(job.id)
    if job.state == JobState.CANCELLED:
        raise Cancelled(words.say(words.EXPORT_STOPPED))
    if job.state != JobState.SUCCEEDED:
        raise ClientError(job.error or words.say(words.EXPORT_NO_MODEL))
    return job.id


def _unpack(packed: Path, folder: Path) -> None:
    """Unpack a zip; names in it stay below the folder, whoever made it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
