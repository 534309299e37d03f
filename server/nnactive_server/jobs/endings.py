"""How the work of an attempt ended, in words for people."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import Cancelled, NNActiveError, NoSpace, OutOfMemory, causes
from nnactive_server.core.memory import lacks_memory
from nnactive_server.store.jobs import JobState

OUT_OF_MEMORY = (
    "out of memory: choose a smaller profile or batch size, train fewer members, or stop other work on this "
    "machine or GPU; then start the training again"
)
DISK_FULL = "disk is full: free some space, then resume"
_TAIL_BYTES = 4096
_LINE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        state: succeeded, failed, or interrupted when it was asked to stop, by whomever.
        error: why it did not succeed.
        result: of its function.
    """

    state: JobState
    error: str = ""
    result: Any = None

    @property
    def words(self) -> str:
        """For the log."""
        return f"{self.state}: {self.error}" if self.error else self.state


def outcome_of(work: Callable[[], Any]) -> Outcome:
    """Do the work; what nobody expected is raised again, for its traceback."""
    try:
        return Outcome(JobState.SUCCEEDED, result=work())
    except Cancelled:
        return Outcome(JobState.INTERRUPTED, "it was stopped and goes on when it is resumed")
    except (NNActiveError, MemoryError, OSError, RuntimeError) as problem:
        words = explain(problem)
        if words is None:
            raise
        return Outcome(JobState.FAILED, words)


def explain(problem: BaseException) -> str | None:
    """What to tell about an error; None when nobody foresaw it."""
    if lacks_memory(problem) and not isinstance(problem, OutOfMemory):
        return OUT_OF_MEMORY
    if lacks_space(problem):
        return f"{DISK_FULL} ({problem})"
    return str(problem) if isinstance(problem, NNActiveError) else None


def lacks_space(problem: BaseException) -> bool:
    """Whether an error, or what it was raised from, says that the disk, or its quota, is full."""
    return any(
        isinstance(each, NoSpace)
        or (isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT))
        for each in causes(problem)
    )


def signal_name(code: int) -> str:
    """Of the signal that ended a process, from its negative exit code."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def last_line(log: Path, start: int = 0) -> str:
    """The last line with words of a text file, looked for from byte `start` on; empty when there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - _TAIL_BYTES))
            return last_words(file.read().decode("utf-8", "replace"))
    except OSError:
        return ""


def last_words(text: str) -> str:
    """The last line that is not blank, cut to a readable length; empty when there is none."""
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next((line[:_LINE_LENGTH] for line in lines if line), "")
