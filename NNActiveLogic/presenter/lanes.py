"""Threads for work that may wait, one for each kind: a long poll or a large image holds up nothing else.

front   what the clinician waits for: leases, lists, short questions
load    voxels of the patch somebody waits for
ahead   voxels of those that come next
disk    the file of unsent answers
post    sending answers, prolonging leases
watch   the long poll for events
upload  files to the server
files   what somebody saves in a folder of theirs
check   the connection
local   finding, setting up, starting and ending a server on this computer; "local log" reads its log
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from NNActiveLogic.client.worker import Periodic, Task, Worker

T = TypeVar("T")


class Cancellable(Protocol):
    """Something under way that may be stopped."""

    def cancel(self) -> None:
        """Stop it; none of its callbacks runs any more."""


class LanesLike(Protocol):
    """What the presenter uses of `Lanes`."""

    def submit(
        self,
        lane: str,
        work: Callable[[Task[T]], T],
        *,
        done: Callable[[T], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Cancellable:
        """Have something done after what the lane was given before."""

    def every(
        self,
        lane: str,
        seconds: float,
        work: Callable[[], T],
        *,
        done: Callable[[T], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> Cancellable:
        """Have something done now and then again, `seconds` after each end."""

    def drain(self) -> int:
        """Run the callbacks of what has ended."""

    def close(self, seconds: float) -> bool:
        """Stop everything; whether it ended in time."""


class Lanes:
    """Workers by name, started when they are first needed. See `Worker` for what the methods do."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._closed = False

    def submit(
        self,
        lane: str,
        work: Callable[[Task[T]], T],
        *,
        done: Callable[[T], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Task[T]:
        """Have something done after what the lane was given before."""
        return self._worker(lane).submit(work, done=done, failed=failed, progress=progress)

    def every(
        self,
        lane: str,
        seconds: float,
        work: Callable[[], T],
        *,
        done: Callable[[T], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> Periodic:
        """Have something done now and then again, `seconds` after each end."""
        return self._worker(lane).every(seconds, work, done=done, failed=failed)

    def drain(self) -> int:
        """Run the callbacks of what has ended, on the thread of the windows."""
        return sum(worker.drain() for worker in [*self._workers.values()])

    def close(self, seconds: float = 2.0) -> bool:
        """Stop every lane; whether all ended within `seconds` together. The rest ends with the program.

        What was given to the lanes of the disk and of leases before is done first, if it does not take long.
        """
        if self._closed:
            return True
        self._closed = True
        ends = time.monotonic() + seconds
        for lane in ("disk", "front"):
            if lane in self._workers:
                self._workers[lane].submit(ignore).wait(max(0.0, ends - time.monotonic()) / 2)
        workers = [*self._workers.values()]
        for worker in workers:
            worker.close(0.0)
        ended = [worker.close(max(0.0, ends - time.monotonic())) for worker in workers]
        return all(ended)

    def _worker(self, lane: str) -> Worker:
        if lane not in self._workers:
            self._workers[lane] = Worker()
        return self._workers[lane]


def ignore(_: Any) -> None:
    """For results nobody needs."""
