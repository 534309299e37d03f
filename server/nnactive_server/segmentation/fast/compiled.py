"""What all loops share: numba, which compiles them, and torch's threads.

numba uses the OpenMP library that torch brought with it, so both share one pool of threads instead of
waiting for each other's.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numba.core.errors import NumbaError

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])

SUMS = {"reassoc", "contract", "nsz"}
"""What the compiler may do with sums: form several at once. NaN and infinity stay what they are."""

numba.config.THREADING_LAYER = "omp"


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Compile in parallel, and keep the result on disk where there is a place to write to."""

    def wrap(function: Function) -> Function:
        try:
            made: Function = numba.njit(parallel=True, nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither the installation nor the home folder can be written to
            made = numba.njit(parallel=True, nogil=True, **options)(function)
        return made

    return wrap


@compiled()
def _ones(values: np.ndarray) -> None:
    for index in numba.prange(len(values)):
        values[index] = 1


@functools.cache
def usable() -> bool:
    """Whether compiled loops run on this machine; tried once."""
    try:
        share_threads()
        _ones(np.zeros(2, np.float32))
    except (NumbaError, ValueError, OSError) as problem:  # such as no OpenMP library that numba can load
        log.warning("training goes on with torch's own layers, which are slower (%s)", problem)
        return False
    return True


class _Rooms(threading.local):
    """Memory of each thread that is used again: fresh memory costs more than what is done in it."""

    def __init__(self) -> None:
        self.kept: dict[str, np.ndarray] = {}


_rooms = _Rooms()


def room(name: str, shape: Sequence[int]) -> np.ndarray:
    """An array of float32 with any content, valid until this thread asks for the same name again."""
    count = math.prod(shape)
    if name not in _rooms.kept or _rooms.kept[name].size < count:
        _rooms.kept[name] = np.empty(count, np.float32)
    return _rooms.kept[name][:count].reshape(shape)


def share_threads() -> None:
    """Let numba use as many threads as torch may; its first use would reset torch's own number."""
    threads = torch.get_num_threads()
    wanted = min(threads, numba.config.NUMBA_NUM_THREADS)
    if numba.get_num_threads() != wanted:
        numba.set_num_threads(wanted)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
