"""The machine below the server: since when, disk, devices."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nnactive_server.jobs.slots import devices

STARTED = time.time()
"""The process loads this file when it starts."""
CACHE_SECONDS = 60.0
_WAIT_SECONDS = 0.2
"""The first page waits so long for the size of the folder; a later one shows it then."""
_LOW_BYTES = 5 * 10**9
_BLOCK = 512
"""Unit of `st_blocks`, whatever the file system's own is."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine as it is.

    Attributes:
        uptime: of the server, seconds.
        disk_free: bytes.
        disk_total: bytes.
        used: bytes of the server's folder; None while they are being counted.
        disk_low: there is too little left for a training.
        devices: what computes, see `Device`.
    """

    uptime: float
    disk_free: int
    disk_total: int
    used: int | None
    disk_low: bool
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or the processor.

    Attributes:
        name: for people.
        memory_used: bytes, where known; likewise `memory_total`.
        busy: percent, where known.
        work: titles of the jobs on it, where known.
    """

    name: str
    memory_used: int | None = None
    memory_total: int | None = None
    busy: int | None = None
    work: str = ""


def machine(data: Path, running: Sequence[str]) -> Machine:
    """Look at the machine and at the server's folder; `running` are titles of jobs."""
    disk = shutil.disk_usage(data)
    found = devices()
    # With several devices the store does not tell which job has which.
    work = ", ".join(running) if len(found) == 1 else ""
    return Machine(
        uptime=time.time() - STARTED,
        disk_free=disk.free,
        disk_total=disk.total,
        used=_size_of(data).get(),
        disk_low=disk.free < _LOW_BYTES,
        devices=tuple(_device(one, work) for one in found),
    )


def _device(found: Mapping[str, Any], work: str) -> Device:
    if found["kind"] != "gpu":
        return Device(found["name"], work=work)
    return Device(
        f"GPU {found['index']}: {found['name']}",
        found["memory_used_bytes"],
        found["memory_total_bytes"],
        found["utilization_percent"],
        work,
    )


class FolderSize:
    """Bytes of a folder on the disk, counted by a thread of its own, once a minute at most.

    Args:
        root: folder.
        cache_seconds: until a count is out of date.
    """

    def __init__(self, root: Path, cache_seconds: float = CACHE_SECONDS) -> None:
        self._root, self._cache_seconds = root, cache_seconds
        self._lock = threading.Lock()
        self._known: int | None = None
        self._until = 0.0
        self._thread: threading.Thread | None = None

    def get(self, wait: float = _WAIT_SECONDS) -> int | None:
        """The newest count; None while the first one takes longer than `wait` seconds."""
        with self._lock:
            if self._thread is None and time.monotonic() >= self._until:
                self._thread = threading.Thread(target=self._count, name="folder-size", daemon=True)
                self._thread.start()
            thread = self._thread
        if thread is not None and self._known is None:
            thread.join(wait)
        return self._known

    def _count(self) -> None:
        found = sum(_sizes(self._root))
        with self._lock:
            self._known, self._thread = found, None
            self._until = time.monotonic() + self._cache_seconds


@cache
def _size_of(root: Path) -> FolderSize:
    return FolderSize(root)


def _sizes(root: Path) -> Iterator[int]:
    """Bytes of every file below a folder, one with several names once; files that go meanwhile count not."""
    seen: set[tuple[int, int]] = set()
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                about = os.lstat(os.path.join(folder, name))  # noqa: PTH118  # many files: twice as fast
            except OSError:
                continue
            if about.st_nlink > 1:
                if (about.st_dev, about.st_ino) in seen:
                    continue
                seen.add((about.st_dev, about.st_ino))
            yield about.st_blocks * _BLOCK
