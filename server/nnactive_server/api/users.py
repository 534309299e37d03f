"""Programs on this machine that a server was started for, such as 3D Slicer: it ends with the last of them.

Each of them keeps a lock (flock) on a file of its own in one folder. The system lifts the lock when the
program dies in whatever way, and no number of a process can be mistaken for another's.
"""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_SECONDS = 0.5

_logger = logging.getLogger(__name__)


def in_use(folder: Path) -> bool:
    """Whether some program keeps a lock on a file in this folder."""
    return any(_held(path) for path in (folder.iterdir() if folder.is_dir() else ()) if path.is_file())


@contextmanager
def ends_with(
    folder: Path | None, hide: Callable[[], None], show: Callable[[], None]
) -> Iterator[Watch | None]:
    """Watch the folder while the block lasts; `None` for no folder."""
    if folder is None:
        yield None
        return
    watch = Watch(folder, hide, show)
    try:
        yield watch
    finally:
        watch.stop()


class Watch:
    """A thread that looks who uses the server.

    Args:
        folder: with the locked files.
        hide: newcomers shall not find the server any more.
        show: they shall.
    """

    def __init__(self, folder: Path, hide: Callable[[], None], show: Callable[[], None]) -> None:
        self._folder, self._hide, self._show = folder, hide, show
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, end: Callable[[], None]) -> None:
        """Begin; `end` is called once when nobody uses the server any more."""
        self._thread = threading.Thread(target=self._run, args=(end,), name="users", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, end: Callable[[], None]) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            if in_use(self._folder):
                continue
            # Whoever comes takes the lock first and then looks for the server: one of the two sees the other.
            self._hide()
            if in_use(self._folder):
                self._show()
                continue
            _logger.info("no program uses this server any more: it ends")
            end()
            return


def _held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            # Shared, so that two that look at the same moment do not take each other for the owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
