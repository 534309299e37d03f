"""What a walk through many cases keeps in memory; in a process of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from harness import qt_start


@dataclass(frozen=True)
class Kept:
    """Bytes.

    Attributes:
        limit: that was allowed.
        cached: most that was kept at once of what comes next and what is shown.
        peak: most memory of the process above what it took before a project was opened.
        image: of one image.
    """

    limit: int
    cached: int
    peak: int
    image: int


def walk(url: str, token: str, project: str, megabytes: int, cases: int) -> Iterator[Kept]:
    """Answer one patch in each case."""
    qt_start.application()
    from server_volumes import status_bytes
    from slicer_panel import Desk

    from harness import slicer_app_host

    me = os.getpid()
    clinic = SimpleNamespace(server=SimpleNamespace(url=url), token=token)
    with slicer_app_host.session() as load:
        desk = Desk(load, clinic, None)
        desk.set_memory(megabytes)
        before = status_bytes(me, "VmRSS")
        Path(f"/proc/{me}/clear_refs").write_text("5")  # the peak starts anew
        desk.open(project)
        cache = desk.session._cache
        most = _Most(lambda: cache.nbytes)
        desk.first()
        for _ in range(cases - 1):
            ahead = desk.session.ahead
            desk.until(lambda ahead=ahead: ahead.patches and not ahead._loading)
            desk.press_and_wait(desk.ui("patch").emptyButton)
        cached, image = most.stop(), desk.session.screen.view.image.values.nbytes
        peak = status_bytes(me, "VmHWM")
        desk.until(lambda: not desk.presenter.opened.sending.entries)
    yield Kept(cache.limit, cached, peak - before, image)


class _Most:
    """The greatest value of something that is looked at all the time."""

    def __init__(self, value: Callable[[], int]) -> None:
        self._value, self._over, self._most = value, threading.Event(), 0
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return self._most

    def _look(self) -> None:
        while not self._over.is_set():
            self._most = max(self._most, self._value())
            time.sleep(0.002)
