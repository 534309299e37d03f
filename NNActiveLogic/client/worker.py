"""One plain thread for everything that may wait, and results that come back on the thread of the windows.

The windows' timer calls `drain`, and only there callbacks run: nothing of Qt or MRML is touched elsewhere.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from NNActiveLogic.client.errors import Cancelled, ClientError

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Task(Generic[T]):
    """Something that was given to the worker.

    Attributes:
        cancelled: somebody asked to stop; no callback of this task runs any more.
    """

    def __init__(self, worker: Worker, work: Callable[[Task[T]], T]) -> None:
        self.cancelled = False
        self._worker = worker
        self._work = work
        self._finished = threading.Event()
        self._done: Callable[[T], None] | None = None
        self._failed: Callable[[Exception], None] | None = None
        self._watch: Callable[[int, int], None] | None = None
        self._latest: tuple[int, int] | None = None
        self._numbers = threading.Lock()

    @property
    def finished(self) -> bool:
        """Whether its work has ended, or will never begin."""
        return self._finished.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until it has finished; never on the thread of the windows."""
        return self._finished.wait(seconds)

    def cancel(self) -> None:
        """Stop: at once when it has not begun, else where its work next calls `progress`."""
        self.cancelled = True

    def progress(self, done: int, total: int) -> None:
        """For the work to call, as often as it likes; the callback sees the newest numbers.

        What is due at regular times is done here too, so that a long transfer does not cost a lease.

        Raises:
            Cancelled: the work should end.
        """
        if self.cancelled:
            raise Cancelled("Stopped on request.")
        if self._watch is not None:
            with self._numbers:
                first, self._latest = self._latest is None, (done, total)
            if first:
                self._worker._deliver(self, self._show)
        self._worker._run_due()

    def _show(self) -> None:
        with self._numbers:
            latest, self._latest = self._latest, None
        if latest is not None and self._watch is not None:
            self._watch(*latest)

    def _run(self) -> None:
        try:
            if not self.cancelled:
                self._end(self._work(self))
        except Exception as problem:  # noqa: BLE001 -- handed on to whoever gave the task
            self._fail(problem)
        finally:
            self._finished.set()

    def _end(self, value: T) -> None:
        callback = self._done
        if callback is not None:
            self._worker._deliver(self, lambda: callback(value))

    def _fail(self, problem: Exception) -> None:
        callback = self._failed
        if callback is not None:
            self._worker._deliver(self, lambda: callback(problem))
        elif not self.cancelled:
            _log.warning(
                "a task failed: %s", type(problem).__name__, exc_info=not isinstance(problem, ClientError)
            )


class Periodic:
    """Work that is done again and again, until `cancel`."""

    def __init__(self, seconds: float, due: float, start: Callable[[], Task[Any]]) -> None:
        self.cancelled = False
        self._seconds = seconds
        self._due = due
        self._start = start

    def cancel(self) -> None:
        """Stop; results that were not delivered yet are not any more."""
        self.cancelled = True


class Worker:
    """The thread. Make it, and call `drain` and `close`, on the thread of the windows.

    Args:
        on_close: called by `close`, to wake what waits, such as `client.close`.
    """

    def __init__(self, on_close: Callable[[], None] | None = None) -> None:
        self._home = threading.get_ident()
        self._on_close = on_close
        self._wake = threading.Condition()
        self._tasks: deque[Task[Any]] = deque()
        self._periodics: list[Periodic] = []
        self._results: deque[tuple[Any, Callable[[], None]]] = deque()
        self._current: Task[Any] | None = None
        self._busy = False
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="nnactive-client", daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Callable[[Task[T]], T],
        *,
        done: Callable[[T], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Task[T]:
        """Have something done after what was given before.

        Args:
            work: runs on the worker's thread, with the task, whose `progress` it may call.
            done: is called with its result, by `drain`.
            failed: is called with what it raised, by `drain`.
            progress: is called with the newest numbers, by `drain`.

        Raises:
            RuntimeError: the worker is closed.
        """
        task = self._task(work, done, failed)
        task._watch = progress
        with self._wake:
            if self._closed:
                raise RuntimeError("the worker is closed")
            self._tasks.append(task)
            self._wake.notify()
        return task

    def every(
        self,
        seconds: float,
        work: Callable[[], T],
        *,
        done: Callable[[T], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> Periodic:
        """Have something short done at once and then again, `seconds` after each end."""

        def start() -> Task[T]:
            return self._task(lambda _: work(), guarded(done), guarded(failed))

        def guarded(callback: Callable[[Any], None] | None) -> Callable[[Any], None] | None:
            if callback is None:
                return None
            return lambda value: None if periodic.cancelled else callback(value)

        periodic = Periodic(seconds, time.monotonic(), start)
        with self._wake:
            self._periodics.append(periodic)
            self._wake.notify()
        return periodic

    def drain(self) -> int:
        """Run the callbacks of what has ended so far; returns how many.

        A callback that raises ends this call; the rest follows at the next.

        Raises:
            RuntimeError: called on another thread than the one that made the worker.
        """
        if threading.get_ident() != self._home:
            raise RuntimeError("drain runs on the thread that made the worker")
        count = 0
        # What callbacks give to the worker meanwhile waits for the next call, so that the windows stay alive.
        for _ in range(len(self._results)):
            task, callback = self._results.popleft()
            if not task.cancelled:
                callback()
                count += 1
        return count

    def close(self, seconds: float = 5.0) -> bool:
        """Drop what has not begun, ask the rest to stop, and wait for the thread.

        Returns:
            Whether it ended in time; if not, it ends with the program at the latest.
        """
        with self._wake:
            self._closed = True
            for task in self._tasks:
                task.cancel()
                task._finished.set()
            self._tasks.clear()
            if self._current is not None:
                self._current.cancel()
            self._wake.notify()
        if self._on_close is not None:
            self._on_close()
        self._thread.join(seconds)
        self._results.clear()
        return not self._thread.is_alive()

    def _task(
        self,
        work: Callable[[Task[T]], T],
        done: Callable[[T], None] | None,
        failed: Callable[[Exception], None] | None,
    ) -> Task[T]:
        task = Task(self, work)
        task._done, task._failed = done, failed
        return task

    def _deliver(self, task: Task[Any], callback: Callable[[], None]) -> None:
        self._results.append((task, callback))

    def _loop(self) -> None:
        while self._take():
            self._run_due()
            if self._current is not None:
                self._current._run()

    def _take(self) -> bool:
        """Wait for the next task, or until something is due; false when the worker is closed."""
        with self._wake:
            self._current = None
            self._wake.wait_for(self._something_to_do, self._until_due())
            if self._closed:
                return False
            self._current = self._tasks.popleft() if self._tasks else None
            return True

    def _something_to_do(self) -> bool:
        return bool(self._closed or self._tasks) or self._until_due() == 0

    def _until_due(self) -> float | None:
        times = [periodic._due for periodic in self._periodics if not periodic.cancelled]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _run_due(self) -> None:
        if self._busy:
            return  # a periodic work that calls `progress` of the task around it
        self._busy = True
        try:
            for periodic in self._due():
                periodic._start()._run()
                periodic._due = time.monotonic() + periodic._seconds
        finally:
            self._busy = False

    def _due(self) -> list[Periodic]:
        now = time.monotonic()
        with self._wake:
            self._periodics = [one for one in self._periodics if not one.cancelled]
            return [] if self._closed else [one for one in self._periodics if one._due <= now]
