"""Active time: how long somebody really worked on a patch."""

from __future__ import annotations

import time
from collections.abc import Callable

IDLE_SECONDS = 30.0


class ActiveTime:
    """Counts while a patch is open and the last input is not older than `idle_seconds`.

    Opening and coming back from another program count as input.

    Args:
        clock: seconds that only grow.
        idle_seconds: without input for so long, somebody is away.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self.idle_seconds = idle_seconds
        self._clock = clock
        self._counted = 0.0
        self._since: float | None = None
        self._last_input = 0.0
        self._open = False
        self._behind = False

    @property
    def seconds(self) -> float:
        """Active seconds on the open patch so far; of the last one when none is open."""
        self._count()
        return self._counted

    def open(self, before: float = 0.0) -> None:
        """A patch was opened, on which `before` seconds were spent already."""
        self._counted, self._open = before, True
        self._restart()

    def close(self) -> float:
        """It is not open any more; its seconds."""
        self._count()
        self._open, self._since = False, None
        return self._counted

    def input(self) -> None:
        """A key, the mouse, a scroll wheel."""
        self._count()
        self._restart()

    def background(self, behind: bool) -> None:
        """Whether another program is in front."""
        if behind == self._behind:
            return
        self._count()
        self._behind = behind
        self._restart()

    def _restart(self) -> None:
        now = self._clock()
        self._last_input = now
        self._since = now if self._open and not self._behind else None

    def _count(self) -> None:
        if self._since is None:
            return
        until = min(self._clock(), self._last_input + self.idle_seconds)
        if until > self._since:
            self._counted += until - self._since
            self._since = until
