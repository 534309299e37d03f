"""Time per stage, also over runs that were killed, and progress passed on."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.monitor import Monitor

SAVE_SECONDS = 5.0
"""A killed process loses at most about this much of its time account."""

_KIBIBYTE = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, KiB elsewhere


class Clock(Monitor):
    """A monitor that passes everything on and adds up wall time per stage in a file.

    The file holds `{"seconds": {stage: s}, "peak_memory_bytes": n}`; a stage that is measured again,
    in this process or a later one, adds to what is there.

    Attributes:
        where: put in front of the stage names passed on, e.g. "cycle 1 of 5: ".
    """

    def __init__(self, inner: Monitor | None = None) -> None:
        super().__init__()
        self.where = ""
        self._inner = inner or Monitor()
        self._account: _Account | None = None

    def report(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Pass progress on."""
        if self._account is not None:
            self._account.save_sometimes()
        self._inner.report(f"{self.where}{stage}", done, total, detail)

    def cancel(self) -> None:
        """Pass the wish to stop on."""
        self._inner.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._inner.cancelled

    @contextmanager
    def measure(self, file: Path, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage` in `file`; a stage inside another one stops its time."""
        outer = self._account
        if outer is not None:
            outer.save()
        self._account = _Account(file, stage)
        try:
            yield
        finally:
            self._account.save()
            self._account = None if outer is None else outer.resumed()


class _Account:
    """The running measurement of one stage."""

    def __init__(self, file: Path, stage: str) -> None:
        self._file, self._stage = file, stage
        self._before = read_costs(file)
        self._began = self._saved = time.monotonic()

    def resumed(self) -> _Account:
        """The same stage, counted from now on."""
        return _Account(self._file, self._stage)

    def save_sometimes(self) -> None:
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        seconds = dict(self._before["seconds"])
        seconds[self._stage] = round(seconds.get(self._stage, 0.0) + self._saved - self._began, 3)
        peak = max(int(self._before["peak_memory_bytes"]), peak_memory_bytes())
        write_json(self._file, {"seconds": seconds, "peak_memory_bytes": peak})


def read_costs(file: Path) -> dict[str, Any]:
    """A time account; an empty one when there is no such file."""
    empty: dict[str, Any] = {"seconds": {}, "peak_memory_bytes": 0}
    return empty | dict(read_json(file, LoopError)) if file.exists() else empty


def peak_memory_bytes() -> int:
    """Most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTE
