"""What a job's function gets to work with, and how its progress reaches the store."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nnactive_server.core.errors import Conflict, NNActiveError, NotFound
from nnactive_server.core.monitor import Monitor
from nnactive_server.jobs.endings import DISK_FULL
from nnactive_server.store.jobs import LOG_LINES, Job, Progress
from nnactive_server.store.state import Store

BEAT_SECONDS = 1.0
"""Time between two signs of life of a worker."""
KEPT_BYTES = 64 << 20
"""A job that leaves less of the disk free is stopped: the database must be able to tell how it ended."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a job's function `run(context) -> dict` gets.

    Attributes:
        store: of the server, opened by the worker.
        data: the server's data folder.
        job: as it was when the attempt began.
        monitor: to report to, and to check for a wish to stop.
    """

    store: Store
    data: Path
    job: Job
    monitor: Monitor


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage since it was first reported, and its newest report; times are of `time.monotonic`."""

    name: str
    began: float
    first: int
    at: float
    done: int
    total: int
    detail: str

    def seconds_left(self, expected: float | None, now: float) -> float | None:
        """From the rate so far; before there is one, from the expected seconds of the whole stage."""
        if self.done > self.first:
            rate = (self.done - self.first) / max(self.at - self.began, 1e-6)
            return max((self.total - self.done) / rate - (now - self.at), 0.0)
        if expected is None:
            return None
        return max(expected * (1 - self.done / max(self.total, 1)) - (now - self.began), 0.0)


class JobMonitor(Monitor):
    """Keeps the newest report and the log lines that the store was not told yet.

    Attributes:
        expected: seconds of every stage, in order, as far as known: makes the estimate reach beyond the
            present stage. The job's function may set it.
    """

    def __init__(self, expected: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.expected = dict(expected or {})
        self._stages: dict[str, _Stage] = {}
        self._newest: _Stage | None = None
        self._lines: deque[str] = deque(maxlen=LOG_LINES)

    def report(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Remember where the work stands; a stage that is new, or begins again, is also a log line."""
        now = time.monotonic()
        before = self._stages.get(stage)
        if before is None or done < before.done:
            self.line(f"{stage}: {total} step{'' if total == 1 else 's'}")
            before = _Stage(stage, now, done, now, done, total, detail)
        self._newest = replace(before, at=now, done=done, total=total, detail=detail)
        self._stages[stage] = self._newest

    def line(self, text: str) -> None:
        """A line for the job's log."""
        self._lines.extend(text.splitlines())

    def take_lines(self) -> tuple[str, ...]:
        """The lines since the last call."""
        taken = []
        while self._lines:
            taken.append(self._lines.popleft())
        return tuple(taken)

    def put_back(self, lines: Iterable[str]) -> None:
        """Lines that could not be stored and must be taken again; of too many, the oldest are dropped."""
        newer = self.take_lines()
        self._lines.extend((*lines, *newer))

    def progress(self) -> Progress | None:
        """The newest report, with the seconds left as far as anybody knows."""
        newest = self._newest
        if newest is None:
            return None
        left = newest.seconds_left(self.expected.get(newest.name), time.monotonic())
        eta = None if left is None else float(round(left + self._later(newest.name)))
        return Progress(newest.name, newest.done, newest.total, newest.detail, eta)

    def _later(self, stage: str) -> float:
        """Expected seconds of the stages after this one that have not begun."""
        names = list(self.expected)
        after = names[names.index(stage) + 1 :] if stage in names else names
        return sum(self.expected[name] for name in after if name not in self._stages)


class LineHandler(logging.Handler):
    """Passes log records on to the job's log."""

    def __init__(self, monitor: JobMonitor) -> None:
        super().__init__(logging.INFO)
        self._monitor = monitor

    def emit(self, record: logging.LogRecord) -> None:
        """One record."""
        words = record.getMessage()
        self._monitor.line(words if record.levelno < logging.WARNING else f"{record.levelname}: {words}")


def end_process_group() -> None:
    """End this process at once, with its children when it leads their group."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


class Heart(threading.Thread):
    """Tells the store about a job once a second, and the job about a wish to stop.

    It goes on while the store is busy or its disk is full. When the attempt is over, because somebody else
    ended it, the process ends at once. When the parent process is gone, or the disk is nearly full, the job
    is asked to stop.

    Attributes:
        shortage: why the job cannot go on, although nobody asked it to stop; empty while it can.

    Args:
        store: of the server.
        job: the running attempt.
        monitor: of the job.
        parent: process id of the one that started this process.
        over: what to do when the attempt is over.
    """

    def __init__(
        self,
        store: Store,
        job: Job,
        monitor: JobMonitor,
        parent: int,
        over: Callable[[], None] = end_process_group,
    ) -> None:
        super().__init__(name="heart", daemon=True)
        self._store, self._job, self._monitor = store, job, monitor
        self._parent, self._over = parent, over
        self._stopping = threading.Event()
        self.shortage = ""

    def run(self) -> None:
        """Beat until stopped."""
        while not self._stopping.wait(BEAT_SECONDS):
            self.beat()
            if os.getppid() != self._parent and not self._monitor.cancelled:
                _logger.warning("the server is gone; stopping where it is safe")
                self._monitor.cancel()

    def stop(self) -> None:
        """No more beats after a last one with what is left to say."""
        self._stopping.set()
        self.join()
        self.beat()

    def beat(self) -> None:
        """One sign of life."""
        self._mind_the_disk()
        lines = self._monitor.take_lines()
        try:
            asked = self._store.jobs.beat(
                self._job.id, self._job.attempt, self._monitor.progress(), lines, os.getpid()
            )
        except (Conflict, NotFound) as problem:
            _logger.error("%s", problem)
            self._over()
        except NNActiveError as problem:
            self._monitor.put_back(lines)
            _logger.warning("no sign of life could be stored, trying again: %s", problem)
        else:
            if asked and not self._monitor.cancelled:
                self._monitor.line("stopping as asked")
                self._monitor.cancel()

    def _mind_the_disk(self) -> None:
        free = shutil.disk_usage(self._store.blobs.root).free
        if free < KEPT_BYTES and not self._monitor.cancelled:
            self.shortage = f"{DISK_FULL} ({free >> 20} MiB are left)"
            self._monitor.line("stopping: the disk is nearly full")
            self._monitor.cancel()
