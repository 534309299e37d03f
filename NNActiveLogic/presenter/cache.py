"""Voxels loaded ahead: bounded in bytes, the least recently used go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

DEFAULT_BYTES = 1 << 30
Key = tuple[Hashable, ...]


class ArrayCache:
    """Values by key, each with its size. May be used from several threads.

    Pinned ones (those of the patch on the screen and of patches that come next) are never dropped; what does
    not fit beside them is not kept. What the screen shows may alone be over the limit.

    Args:
        limit: bytes in all.
    """

    def __init__(self, limit: int = DEFAULT_BYTES) -> None:
        self._limit = limit
        self._entries: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._pinned: frozenset[Key] = frozenset()
        self._lock = threading.Lock()

    @property
    def limit(self) -> int:
        """Bytes that may be kept."""
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        with self._lock:
            self._limit = value
            self._shrink()

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        with self._lock:
            return self._sum()

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return key in self._entries

    def get(self, key: Key) -> Any:
        """A value, which becomes the most recently used; raises KeyError."""
        with self._lock:
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Key, value: Any, nbytes: int) -> bool:
        """Keep a value; whether there was room for it."""
        with self._lock:
            self._entries[key] = (value, nbytes)
            self._entries.move_to_end(key)
            self._shrink()
            return key in self._entries

    def pin(self, keys: Iterable[Key]) -> None:
        """These, and no others, are not dropped from now on."""
        with self._lock:
            self._pinned = frozenset(keys)
            self._shrink()

    def drop(self, wanted: Callable[[Key], bool]) -> None:
        """Forget every value whose key is wanted away, pinned or not."""
        with self._lock:
            for key in [key for key in self._entries if wanted(key)]:
                del self._entries[key]

    def _sum(self) -> int:
        return sum(nbytes for _, nbytes in self._entries.values())

    def _shrink(self) -> None:
        excess = self._sum() - self._limit
        for key in [*self._entries]:
            if excess <= 0:
                return
            if key not in self._pinned:
                excess -= self._entries.pop(key)[1]
