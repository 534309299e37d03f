"""When memory is short: a named error with advice, and one more try with less where less is possible.

Knows torch's errors by name, so that rooms that do without torch can ask as well.
"""

from __future__ import annotations

import errno
import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from nnactive_server.core.errors import OutOfMemory, causes

log = logging.getLogger(__name__)

T = TypeVar("T")

_SPOKEN = ("out of memory", "can't allocate memory", "bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")
"""How torch and its libraries say it when they raise no error of their own kind."""


def lacks_memory(problem: BaseException) -> bool:
    """Whether an error, or what it was raised from, says that memory of the machine or a device is short."""
    return any(_no_memory(each) for each in causes(problem))


def _no_memory(problem: BaseException) -> bool:
    named = any(kind.__name__ == "OutOfMemoryError" for kind in type(problem).__mro__)
    spoken = isinstance(problem, RuntimeError) and any(words in str(problem) for words in _SPOKEN)
    full = isinstance(problem, OSError) and problem.errno == errno.ENOMEM
    return named or spoken or full or isinstance(problem, MemoryError | OutOfMemory)


@contextmanager
def named(doing: str, advice: str) -> Iterator[None]:
    """Turn a shortage of memory inside the block into an error that people understand.

    Args:
        doing: what was being done, for "out of memory while ...".
        advice: what to do next.

    Raises:
        OutOfMemory: memory of the device or the machine did not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as problem:
        if not lacks_memory(problem):
            raise
        raise OutOfMemory(f"out of memory while {doing}: {advice}") from problem


def with_less(work: Callable[[], T], less: Callable[[], T], how: str) -> T:
    """Do something; if memory does not suffice, once more in a way that needs less.

    Args:
        work: as usual.
        less: the same with less memory.
        how: what is different then, for the log: "now ...".

    Raises:
        OutOfMemory: it did not suffice either.
    """
    try:
        return work()
    except OutOfMemory as problem:
        log.warning("%s; trying again, now %s", str(problem).partition(":")[0], how)
    # Outside the handler: while an error is handled, its traceback keeps what filled the memory.
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    return less()
