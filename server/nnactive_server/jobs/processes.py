"""Processes of workers and tasks: their environment, their start, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PASSED_ON = frozenset(
    {
        "PATH",
        "HOME",
        "USER",  # torch names the folder of its compiled kernels after the user
        "LOGNAME",
        "LANG",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "OMP_NUM_THREADS",
        "CUDA_DEVICE_ORDER",
        "CUDA_VISIBLE_DEVICES",  # a slot overrides it
        "PYTORCH_CUDA_ALLOC_CONF",
        "NNACTIVE_MEMBERS_PER_GPU",
    }
)
_OWN = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


def module_command(module: str) -> tuple[str, ...]:
    """Start of a command line; `-P` keeps files in the working folder from being taken for modules."""
    return (sys.executable, "-P", "-m", module)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child process may know of this one's environment, and `extra`; tokens and the like stay here."""
    known = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")
    }
    return known | _OWN | dict(extra or {})


def kill_group(leader: int) -> None:
    """End all processes of a group; those that are gone already do no harm."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


class Child:
    """A worker that this process started, leader of its own session and process group.

    Args:
        command: program and arguments.
        folder: it works in.
        extra: for its environment.
        log: file that its standard output and error are appended to.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], folder: Path, extra: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=environment(extra),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.close(output)

    def ended(self) -> int | None:
        """Exit code, negative for a signal; None while it lives. Whatever it left of its group is ended."""
        if self._process.returncode is None and self._process.poll() is not None:
            kill_group(self._process.pid)
        return self._process.returncode

    def terminate(self) -> None:
        """Ask it to stop: it alone, because work whose helpers are gone cannot stop in good order."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and its children now."""
        kill_group(self._process.pid)


class Stray:
    """A worker that another server process started, which is gone.

    Args:
        pid: it had when it last told.
        mark: word of its command line, to tell it from another process with this id.
    """

    def __init__(self, pid: int, mark: str) -> None:
        self._pid, self._mark = pid, mark

    def ended(self) -> int | None:
        """0 when there is no such process; None while it lives."""
        if self._mark in _command_line(self._pid):
            return None
        return 0

    def terminate(self) -> None:
        """Ask it to stop."""
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and its children now."""
        if self.ended() is None:
            kill_group(self._pid)


def _command_line(pid: int) -> str:
    """Of a process, its words separated by blanks; empty when there is none, or it waits to be buried."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            return ""
    found = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
    return found.stdout.decode("utf-8", "replace")
