"""How long work tells its caller where it stands, and how the caller stops it."""

from __future__ import annotations

import threading

from nnactive_server.core.errors import Cancelled


class Monitor:
    """Receives progress and can cancel; this base class stays silent.

    Subclasses show progress by overriding `report`; it is called often (each training iteration),
    from the thread that works, and must return quickly.
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def report(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """`done` of `total` steps of a stage are finished; `detail` is one short human phrase."""

    def cancel(self) -> None:
        """Ask the work to stop at its next check; callable from any thread or signal handler."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Called by the work wherever stopping is safe.

        Raises:
            Cancelled: after `cancel`.
        """
        if self.cancelled:
            raise Cancelled("stopped as asked; run the same command again to continue")
