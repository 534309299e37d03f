"""Programs that are run for us: in a group of their own, with a log, and gone when they are to be gone."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from NNActiveLogic.local.errors import Cancelled, LocalError
from NNActiveLogic.local.values import Wish

_LOOK_SECONDS = 0.1
_ASK_SECONDS = 60.0


def ask(command: Sequence[str | Path], environment: Mapping[str, str]) -> str | None:
    """What a program writes to its standard output; None when it does not work or does not answer.

    Args:
        command: program and arguments.
        environment: its variables.
    """
    try:
        done = subprocess.run(
            [*map(str, command)],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_SECONDS,
            check=False,
            **_apart(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    log: IO[bytes],
    heard: Callable[[str], None],
    cancelled: Wish,
) -> int:
    """Run a program to its end; its exit code.

    It writes into a pipe of ours, so that it ends by itself soon after we were killed.

    Args:
        command: program and arguments.
        environment: its variables.
        log: everything that it writes is added here.
        heard: called with each line.
        cancelled: asked ten times a second.

    Raises:
        Cancelled: the user asked to stop; the program and its children are gone.
        LocalError: it cannot be started.
    """
    process = _start(command, environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        while (line := _next(lines, cancelled)) is not None:
            log.write(line)
            log.flush()
            heard(line.decode("utf-8", "replace").rstrip())
        return process.wait()
    finally:
        end_group(process)
        reader.join(5.0)
        process.stdout.close()


def launch(
    command: Sequence[str | Path], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a program that goes on by itself and adds what it writes to a file.

    Raises:
        LocalError: it cannot be started.
    """
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return _start(command, environment, stdout=output)
    finally:
        os.close(output)


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a program that still runs, with all its children, and bury it."""
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(10.0)


def _start(
    command: Sequence[str | Path], environment: Mapping[str, str], stdout: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [*map(str, command)],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            **_apart(),
        )
    except OSError as problem:
        raise LocalError(f"{command[0]} cannot be started: {problem.strerror}.") from problem


def _apart() -> dict[str, Any]:
    """A group of its own, so that Ctrl-C in Slicer's terminal does not reach it; no window on Windows."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _read(stream: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    with suppress(OSError, ValueError):
        for line in stream:
            lines.put(line)
    lines.put(b"")


def _next(lines: queue.SimpleQueue[bytes], cancelled: Wish) -> bytes | None:
    """The next line; None after the last one."""
    while True:
        if cancelled():
            raise Cancelled("Stopped on request.")
        with suppress(queue.Empty):
            return lines.get(timeout=_LOOK_SECONDS) or None
