"""How many requests of a kind go on at a time, in all and of each caller."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from nnactive_server.api.problems import Problem


class Crowd:
    """Counts requests that last long.

    Args:
        most: at a time.
        each: of one caller.
        what: they do, for people.
    """

    def __init__(self, most: int, each: int, what: str) -> None:
        self._most, self._each, self._what = most, each, what
        self._inside: Counter[str] = Counter()
        self._lock = threading.Lock()

    def check(self, caller: str) -> None:
        """Whether one more may come; raises Problem (429) when there are too many."""
        if self._inside.total() >= self._most or self._inside[caller] >= self._each:
            raise Problem(429, "too-many", f"Too many requests {self._what}; wait for some to end.")

    @contextmanager
    def one_more(self, caller: str) -> Iterator[None]:
        """Count a request while the block lasts; raises Problem when there are too many."""
        with self._lock:
            self.check(caller)
            self._inside[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= Counter({caller: 1})  # also forgets who has none left
