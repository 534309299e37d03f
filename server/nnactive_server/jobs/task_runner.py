"""The process of one task: `python -m nnactive_server.jobs.task_runner NAME BYTES`, JSON in, JSON out.

BYTES limits its address space, 0 for no limit. The reply is `{"result": ...}`, or `{"error": class of
core.errors, "message": ...}`; anything nobody foresaw ends with a traceback and exit code 1.
"""

from __future__ import annotations

import atexit
import gc
import json
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnactive_server.core.errors import NNActiveError, NoSpace, TooLarge
from nnactive_server.core.memory import lacks_memory
from nnactive_server.core.output import own_output
from nnactive_server.jobs.endings import DISK_FULL, lacks_space
from nnactive_server.jobs.registry import TASKS, resolve


def main(arguments: Sequence[str], registry: Mapping[str, str] = TASKS) -> int:
    """Run one task with the params on standard input; the exit code is 0 also for an explained error."""
    name, limit = arguments[0], int(arguments[1])
    _limit(limit)
    output = own_output()
    params = json.load(sys.stdin.buffer)
    reply = _reply(lambda: resolve(registry, name)(params))
    with output:
        json.dump(reply, output, allow_nan=False)
    return 0


def _limit(memory_bytes: int) -> None:
    """No memory image with patient data after a crash, and no more address space than allowed."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _reply(task: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"result": task()}
    except (NNActiveError, MemoryError, OSError, RuntimeError) as problem:
        explained = _explained(problem)
        if explained is None:
            raise
        return {"error": type(explained).__name__, "message": str(explained)}


def _explained(problem: Exception) -> NNActiveError | None:
    """The error to tell about; None when nobody foresaw this one."""
    if lacks_memory(problem):
        return TooLarge("more memory is needed than a task may use; the file is too big, or damaged")
    if lacks_space(problem):
        return NoSpace(f"{DISK_FULL} ({problem})")
    return problem if isinstance(problem, NNActiveError) else None


if __name__ == "__main__":
    atexit.register(gc.freeze)  # the end is not put off by a last search of all libraries for cycles
    sys.exit(main(sys.argv[1:]))
