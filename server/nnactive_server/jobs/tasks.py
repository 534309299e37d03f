"""Short work in a process of its own: JSON in, JSON out, with limits of time and memory.

What reads files of strangers runs here, so that neither a crash nor a bomb of them reaches the web process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import Busy, InvalidInput, StoreError, error_named
from nnactive_server.jobs.endings import last_words, signal_name
from nnactive_server.jobs.processes import environment, kill_group, module_command
from nnactive_server.jobs.registry import TASKS, check_name

RUNNER = module_command("nnactive_server.jobs.task_runner")
TASKS_AT_ONCE = 2
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Each thread of these libraries takes address space, which the limit of memory counts."""

_turns = threading.BoundedSemaphore(TASKS_AT_ONCE)


def run_task(
    name: str,
    params: Mapping[str, Any],
    *,
    data: Path,
    seconds: float,
    memory_bytes: int | None = None,
    registry: Mapping[str, str] = TASKS,
    command: Sequence[str] = RUNNER,
) -> dict[str, Any]:
    """Run a task and wait for its result; a few run at once, others wait for their turn.

    Args:
        name: of the task.
        params: plain JSON values.
        data: the server's data folder, in which the task works.
        seconds: it may take; likewise to wait for its turn.
        memory_bytes: address space it may use.
        registry: names of tasks.
        command: of the process; name and limit of memory (0 for none) are added to it.

    Raises:
        NNActiveError: of the class the task raised.
        TooLarge: it needs more memory than allowed.
        Busy: no turn in time.
        InvalidInput: no such task, or params that are no JSON.
        StoreError: it crashed or took too long.
    """
    check_name(registry, name)
    words = _as_json(name, params)
    if not _turns.acquire(timeout=seconds):
        raise Busy(f"task '{name}': the server is busy with other files; try again later")
    try:
        return _result(name, *_run((*command, name, str(memory_bytes or 0)), words, data, seconds, name))
    finally:
        _turns.release()


def _as_json(name: str, params: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(dict(params), allow_nan=False).encode()
    except (TypeError, ValueError) as problem:
        raise InvalidInput(f"task '{name}': its params are no JSON values ({problem})") from problem


def _run(
    command: Sequence[str], words: bytes, data: Path, seconds: float, name: str
) -> tuple[int, bytes, str]:
    """Exit code, what was written to standard output, and the last words on standard error."""
    process = subprocess.Popen(
        list(command),
        cwd=data,
        env=environment(_ONE_THREAD),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            output, said = process.communicate(words, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise StoreError(
                f"task '{name}': stopped after {seconds:g} s; the files may be too big or damaged"
            ) from None
        finally:
            kill_group(process.pid)
    return process.returncode, output, last_words(said.decode("utf-8", "replace"))


def _result(name: str, code: int, output: bytes, said: str) -> dict[str, Any]:
    if code < 0:
        raise StoreError(f"task '{name}': its process crashed ({_crash(code)}); the file may be damaged")
    try:
        reply = json.loads(output) if code == 0 else None
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise StoreError(f"task '{name}': failed without a result; its last words: {said or 'none'}")
    if "error" in reply:
        raise error_named(str(reply["error"]), StoreError)(str(reply.get("message", "")))
    result = reply.get("result")
    if not isinstance(result, dict):
        raise StoreError(f"task '{name}': gave no result")
    return result


def _crash(code: int) -> str:
    name = signal_name(code)
    return f"{name}, most often for lack of memory" if code == -signal.SIGKILL else name
