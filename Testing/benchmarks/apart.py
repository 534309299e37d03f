"""Work in a process of its own, so that its peak memory is its own and it can be stopped."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("spawn")
_STATUS = Path("/proc/self/status")


def apart(
    work: Callable[..., Iterator[Any]], *arguments: object, limit: float | None = None
) -> tuple[list[Any], bool]:
    """What a generator yields in a fresh process, and whether it had to be stopped.

    Args:
        work: importable generator function; what it yields is pickled.
        arguments: of `work`.
        limit: seconds from what it yields first on; reading its input comes before that.

    Raises:
        RuntimeError: it ended with an error, which it has printed.
    """
    here, there = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_send, args=(there, work, arguments), daemon=True)
    process.start()
    there.close()
    found: list[Any] = []
    deadline = None
    stopped = True
    while here.poll(None if deadline is None else max(0.0, deadline - time.monotonic())):
        try:
            found.append(here.recv())
        except EOFError:
            stopped = False
            break
        if deadline is None and limit is not None:
            deadline = time.monotonic() + limit
    if stopped:
        process.terminate()
    process.join()
    if process.exitcode and not stopped:
        raise RuntimeError(f"{work.__name__} ended with exit status {process.exitcode}")
    return found, stopped


def peak_bytes() -> int:
    """Most memory this process ever had resident.

    `VmHWM` where there is one: Linux hands `ru_maxrss` on from the parent process.
    """
    if _STATUS.exists():
        for entry in _STATUS.read_text().splitlines():
            if entry.startswith("VmHWM"):
                return int(entry.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _send(pipe: Connection, work: Callable[..., Iterator[Any]], arguments: tuple[object, ...]) -> None:
    for message in work(*arguments):
        pipe.send(message)
    pipe.close()
