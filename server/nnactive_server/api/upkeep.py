"""What a server clears away now and then."""

from __future__ import annotations

import importlib
import logging
import threading

from nnactive_server.core.errors import StoreError
from nnactive_server.store import Store

PAUSE_SECONDS = 3600.0
FILES_SECONDS = 24 * 3600.0
"""Broken-off uploads and files that nothing names are kept so long."""
REPLIES_SECONDS = 60 * 24 * 3600.0
"""Replies to idempotency keys are kept so long: a laptop may come back late."""
_CALM_SECONDS = 2.0
"""After the start, when clients come back at once."""
_log = logging.getLogger(__name__)


class Upkeep:
    """A thread that loads what the first map needs, and sweeps the store once an hour."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _work(self) -> None:
        if not self._closed.wait(_CALM_SECONDS):
            # Takes half a second, which otherwise the first map, and everybody beside it, would wait.
            importlib.import_module("blosc2")
        while not self._closed.wait(PAUSE_SECONDS):
            try:
                freed = self._store.sweep(FILES_SECONDS, REPLIES_SECONDS)
                _log.info("%d bytes of unused files removed", freed)
            except StoreError as problem:
                _log.warning("nothing could be cleared away: %s", problem)
