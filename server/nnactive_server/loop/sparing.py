"""Work on single cases that is tried again with less memory where that was short."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import Protocol, TypeVar

from nnactive_server.core.memory import named, with_less
from nnactive_server.core.slabs import Slab

T = TypeVar("T")

_ADVICE = "stop other work on this machine or GPU, then go on; what was done is kept"
_HOW = "with less memory and more time"


class Slabs(Protocol):
    """Predicts one case."""

    def __call__(self, *, sparing: bool) -> Generator[Slab, None, None]:
        """The case in slabs; when `sparing`, with less memory."""


def sparingly(doing: str, work: Callable[[bool], T]) -> T:
    """Do something, and once more sparing memory if that is short.

    Args:
        doing: what is done, for "out of memory while ...".
        work: is told whether to spare memory; must bear to be begun anew.

    Raises:
        OutOfMemory: sparing did not suffice either.
    """

    def attempt(sparing: bool) -> T:
        with named(doing, _ADVICE):
            return work(sparing)

    return with_less(partial(attempt, False), partial(attempt, True), _HOW)


def over_slabs(case: str, slabs: Slabs, work: Callable[[Iterator[Slab]], T]) -> T:
    """Predict a case and do something with its slabs; see `sparingly`.

    Args:
        case: for messages.
        slabs: predicts it.
        work: gets the slabs.
    """

    def predict(sparing: bool) -> T:
        with closing(slabs(sparing=sparing)) as found:
            return work(found)

    return sparingly(f"predicting {case}", predict)
