"""Starts the workers of queued jobs, watches them, and sees to it that every attempt gets an end.

One thread of the web process does this. A worker usually ends its attempt itself; the supervisor speaks for
those that cannot: killed, crashed, stuck after a wish to stop, or left over from a server that died.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnactive_server.core.errors import Conflict, NotFound, StoreError
from nnactive_server.jobs.endings import DISK_FULL, lacks_space, last_line, signal_name
from nnactive_server.jobs.layout import job_log, supervisor_lock
from nnactive_server.jobs.processes import Child, Stray, module_command
from nnactive_server.jobs.slots import Slot
from nnactive_server.store.jobs import Job, JobState
from nnactive_server.store.state import Store

WORKER = module_command("nnactive_server.jobs.worker")
KILLS_IN_A_ROW = 2
"""So often a killed worker is started again by itself; whoever resumes the job by hand starts anew."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watch:
    """A worker while it lives; `deadline` (of `time.monotonic`) is when it is killed."""

    job: Job
    process: Child | Stray
    slot: Slot | None = None
    log_start: int = 0
    deadline: float | None = None
    silent: bool = False


@dataclass(frozen=True, slots=True)
class _Ending:
    """An end of an attempt that is to be stored, and whether the job is then to go on by itself."""

    job: Job
    state: JobState
    error: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds.

    Attributes:
        poll: between two looks at the workers.
        grace: that a worker has to stop in good order before it is killed.
        silence: without a sign of life until the log says so.
    """

    poll: float = 1.0
    grace: float = 60.0
    silence: float = 600.0


@dataclass(slots=True)
class _Work:
    """What the thread has in hand."""

    watches: list[_Watch] = field(default_factory=list)
    endings: list[_Ending] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    recovered: bool = False


class Supervisor:
    """Runs the jobs of a data folder; only one may at a time.

    Args:
        store: of the data folder.
        data: folder.
        slots: one worker may run in each.
        timing: see `Timing`.
        command: of a worker; data folder, job id and attempt number are added to it.
        kinds: of jobs to run; None for all.
    """

    def __init__(
        self,
        store: Store,
        data: Path,
        slots: Sequence[Slot],
        *,
        timing: Timing | None = None,
        command: Sequence[str] = WORKER,
        kinds: Collection[str] | None = None,
    ) -> None:
        self._store, self._data, self._slots = store, data.resolve(), tuple(slots)
        self._timing, self._command, self._kinds = timing or Timing(), tuple(command), kinds
        self._work = _Work()
        self._stopping, self._awake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = -1

    def start(self) -> None:
        """Begin; workers of a server that died are ended first, and their jobs go on.

        Raises:
            Conflict: another server works on this data folder.
        """
        self._lock = _locked(supervisor_lock(self._data))
        self._stopping.clear()
        self._work = _Work()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop all workers where that is safe, or after the grace time; their jobs become interrupted."""
        if self._thread is None:
            return
        self._stopping.set()
        self.wake()
        self._thread.join()
        self._thread = None
        os.close(self._lock)

    def wake(self) -> None:
        """Look at the jobs at once; callable from any thread."""
        self._awake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._look()
            self._pause()
        self._close()

    def _pause(self) -> None:
        self._awake.wait(self._timing.poll)
        self._awake.clear()

    def _look(self) -> None:
        """One round; trouble of the store is tried again in the next one."""
        try:
            self._recover()
            self._watch()
            self._settle()
            self._claim()
        except (StoreError, OSError) as problem:
            _logger.warning("the supervisor tries again: %s", problem)

    def _recover(self) -> None:
        """Take over what a server that is gone left behind."""
        if self._work.recovered:
            return
        left = self._store.jobs.list(states=(JobState.RUNNING, JobState.INTERRUPTED))
        self._work.recovered = True
        for job in left:
            stray = Stray(job.pid or 0, job.id)
            if job.state == JobState.RUNNING and job.pid and stray.ended() is None:
                stray.terminate()
                self._work.watches.append(_Watch(job, stray, deadline=self._soon()))
            else:
                self._end(job, JobState.INTERRUPTED, "the server ended without a word", again=True)

    def _soon(self) -> float:
        return time.monotonic() + self._timing.grace

    def _end(self, job: Job, state: JobState, error: str, again: bool = False) -> None:
        self._work.endings.append(_Ending(job, state, error, again))

    def _watch(self) -> None:
        for watch in tuple(self._work.watches):
            code = watch.process.ended()
            if code is None:
                self._mind(watch)
            else:
                self._bury(watch, code)
                self._work.watches.remove(watch)

    def _mind(self, watch: _Watch) -> None:
        """Kill a living worker whose time is up."""
        job = self._known(watch.job)
        if watch.deadline is None and (job is None or job.cancel_requested or job.state != JobState.RUNNING):
            watch.deadline = self._soon()
        if watch.deadline is not None and time.monotonic() >= watch.deadline:
            watch.process.kill()
        if job is not None:
            self._notice_silence(watch, job)

    def _notice_silence(self, watch: _Watch, job: Job) -> None:
        age = self._store.database.now() - (job.heartbeat or job.created)
        if age > self._timing.silence and not watch.silent:
            _logger.warning("job %s: no sign of life for %.0f s, though its process is there", job.id, age)
        watch.silent = age > self._timing.silence

    def _known(self, job: Job) -> Job | None:
        """The job as it is now; None when this attempt is no longer its newest one."""
        try:
            known = self._store.jobs.get(job.id)
        except NotFound:
            return None
        return known if known.attempt == job.attempt else None

    def _bury(self, watch: _Watch, code: int) -> None:
        """Find the end of an attempt whose process is gone."""
        job = self._known(watch.job)
        if job is None:
            return
        if isinstance(watch.process, Stray) or self._stopping.is_set():
            self._end(job, *_left(job), again=not self._stopping.is_set())
        elif job.state not in (JobState.RUNNING, JobState.INTERRUPTED):
            self._work.kills.pop(job.id, None)
        elif job.cancel_requested:
            self._end(job, *_left(job))
        elif code < 0 or job.state == JobState.INTERRUPTED:
            self._again(job, code)
        else:
            line = last_line(job_log(self._data, job.id), watch.log_start)
            self._end(job, JobState.FAILED, line or f"its process ended with exit code {code} and no word")

    def _again(self, job: Job, code: int) -> None:
        """Let a job go on whose worker was killed or stopped by somebody, but not for ever."""
        self._work.kills[job.id] += 1
        again = self._work.kills[job.id] <= KILLS_IN_A_ROW
        words = _killed(code) if code < 0 else "its process was asked to stop by somebody else"
        if again:
            self._end(job, JobState.INTERRUPTED, f"{words}; it goes on by itself", again=True)
        else:
            self._end(job, JobState.FAILED, f"{words}, {self._work.kills.pop(job.id)} times in a row")
        _logger.warning("job %s: %s", job.id, words)

    def _settle(self) -> None:
        """Store the ends of attempts; those that cannot be stored now stay for the next round."""
        while self._work.endings:
            self._store_end(self._work.endings[0])
            self._work.endings.pop(0)

    def _store_end(self, ending: _Ending) -> None:
        try:
            job = self._store.jobs.finish(ending.job.id, ending.job.attempt, ending.state, ending.error)
        except NotFound:
            return
        except Conflict:  # the worker itself was faster
            job = self._store.jobs.get(ending.job.id)
        if ending.again and job.state == JobState.INTERRUPTED and job.attempt == ending.job.attempt:
            self._go_on(job)

    def _go_on(self, job: Job) -> None:
        step = self._store.jobs.cancel if job.cancel_requested else self._store.jobs.resume
        try:
            step(job.id)
        except (Conflict, NotFound) as problem:  # somebody else decided meanwhile
            _logger.info("job %s: %s", job.id, problem)

    def _claim(self) -> None:
        """Fill the free slots; not while a left-over worker may still hold one."""
        if any(watch.slot is None for watch in self._work.watches):
            return
        taken = {watch.slot.name for watch in self._work.watches if watch.slot}
        for slot in self._slots:
            if slot.name in taken:
                continue
            job = self._store.jobs.claim(os.getpid(), self._kinds)
            if job is None:
                return
            self._begin(job, slot)

    def _begin(self, job: Job, slot: Slot) -> None:
        log = job_log(self._data, job.id)
        command = (*self._command, str(self._data), job.id, str(job.attempt))
        try:
            start = log.stat().st_size if log.exists() else 0
            child = Child(command, self._data, slot.environment, log)
        except OSError as problem:
            words = DISK_FULL if lacks_space(problem) else "its process cannot be started"
            self._end(job, JobState.FAILED, f"{words} ({problem})")
            return
        self._work.watches.append(_Watch(job, child, slot, start))
        _logger.info("job %s, attempt %d: started in slot %s", job.id, job.attempt, slot.name)

    def _close(self) -> None:
        """Stop all workers: politely, and after the grace time otherwise."""
        for watch in self._work.watches:
            watch.process.terminate()
            watch.deadline = self._soon()
        while self._work.watches:
            self._reap()
            self._pause()
        try:
            self._settle()
        except StoreError as problem:  # the next start finds these jobs running, and their processes gone
            _logger.warning("left to the next start: %s", problem)

    def _reap(self) -> None:
        """Like `_watch`; workers that are out of time end also when the store does not answer."""
        try:
            self._watch()
        except (StoreError, OSError) as problem:
            _logger.warning("stopping without the store: %s", problem)
            late = [w for w in self._work.watches if time.monotonic() >= (w.deadline or 0.0)]
            for watch in late:
                watch.process.kill()
                if watch.process.ended() is not None:
                    self._work.watches.remove(watch)


def _locked(path: Path) -> int:
    """File descriptor of a lock that ends with this process."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Conflict(
            f"{path.parent}: another server works on this data folder; stop it, or choose another folder"
        ) from None
    return lock


def _left(job: Job) -> tuple[JobState, str]:
    """The end of an attempt whose worker was made to stop."""
    if job.cancel_requested:
        return JobState.CANCELLED, "stopped as asked; resume it to go on"
    return JobState.INTERRUPTED, "the server was stopped; it goes on when the server is started again"


def _killed(code: int) -> str:
    name = signal_name(code)
    if name == "SIGKILL":
        return (
            "its process was killed (SIGKILL); most often the machine ran out of memory: "
            "choose a smaller profile, or stop other programs"
        )
    return f"its process was ended by {name}"
