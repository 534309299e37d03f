"""The process that runs one attempt of one job: `python -m nnactive_server.jobs.worker DATA JOB ATTEMPT`.

SIGTERM, or the death of the process that started it, asks the work to stop at its next check; the job is then
`interrupted` and goes on later from what is on disk.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

from nnactive_server.core.errors import Busy, Conflict, InvalidInput, NoSpace, NotFound
from nnactive_server.jobs.endings import Outcome, outcome_of
from nnactive_server.jobs.registry import JOBS, resolve
from nnactive_server.jobs.reporting import Heart, JobContext, JobMonitor, LineHandler
from nnactive_server.store.jobs import Job, JobState
from nnactive_server.store.state import Store

RETRY_SECONDS = 1.0
_NICE = 10
_PACKAGE = "nnactive_server"

T = TypeVar("T")

_logger = logging.getLogger(__name__)


def main(arguments: Sequence[str], kinds: Mapping[str, str] = JOBS) -> int:
    """Run an attempt that was claimed for this process.

    Args:
        arguments: data folder, job id, number of the attempt.
        kinds: the function for each kind of job, as `module:function`.

    Returns:
        The exit code: 0 when the end of the attempt is in the store.
    """
    parent = os.getppid()
    data, job_id, attempt = Path(arguments[0]), arguments[1], int(arguments[2])
    monitor = JobMonitor()
    _prepare(monitor)
    with _patiently(lambda: Store(data)) as store:
        job = _patiently(lambda: store.jobs.get(job_id))
        if job.state != JobState.RUNNING or job.attempt != attempt:
            _logger.error("job %s: attempt %d is not the running one", job_id, attempt)
            return 1
        heart = Heart(store, job, monitor, parent)
        outcome = _run(JobContext(store, data, job, monitor), heart, kinds)
        return _finish(store, job, outcome)


def _patiently(action: Callable[[], T]) -> T:
    """Do something with the store as soon as it is neither busy nor out of space."""
    while True:
        try:
            return action()
        except (Busy, NoSpace) as problem:
            _logger.warning("trying again: %s", problem)
            time.sleep(RETRY_SECONDS)


def _prepare(monitor: JobMonitor) -> None:
    """A polite process that leaves no memory image with patient data behind when it crashes."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger(_PACKAGE).setLevel(logging.INFO)
    logging.getLogger(_PACKAGE).addHandler(LineHandler(monitor))
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # A second signal must not come while `cancel` holds its lock.
        signal.signal(signal.SIGTERM, lambda _signal, _frame: None)
        monitor.cancel()

    signal.signal(signal.SIGTERM, stop)
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)


def _hold() -> None:
    """Python drops a signal that reaches a forked process before it is ready; let it wait until then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _forget() -> None:
    """A process that the work forked still ends when the work terminates it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()


def _run(context: JobContext, heart: Heart, kinds: Mapping[str, str]) -> Outcome:
    # Before any work: tells the process id, and an attempt that is over must not touch the project's files.
    heart.beat()
    heart.start()
    try:
        outcome = outcome_of(lambda: resolve(kinds, context.job.kind)(context))
        if outcome.state == JobState.INTERRUPTED and heart.shortage:
            outcome = Outcome(JobState.FAILED, heart.shortage)
        _logger.info("job %s, attempt %d: %s", context.job.id, context.job.attempt, outcome.words)
        return outcome
    finally:
        heart.stop()


def _finish(store: Store, job: Job, outcome: Outcome) -> int:
    """Store the end, however long that takes."""
    try:
        _patiently(lambda: _store_end(store, job, outcome))
    except InvalidInput as problem:
        return _finish(store, job, Outcome(JobState.FAILED, f"its result cannot be kept: {problem}"))
    except (Conflict, NotFound) as problem:
        _logger.error("%s", problem)
        return 1
    return 0


def _store_end(store: Store, job: Job, outcome: Outcome) -> None:
    if outcome.state == JobState.INTERRUPTED and store.jobs.get(job.id).cancel_requested:
        outcome = Outcome(JobState.CANCELLED, "stopped as asked; resume it to go on")
    store.jobs.finish(job.id, job.attempt, outcome.state, outcome.error, outcome.result)


if __name__ == "__main__":
    atexit.register(gc.freeze)  # the end is not put off by a last search of all libraries for cycles
    sys.exit(main(sys.argv[1:]))
