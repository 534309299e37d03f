"""A limit on a whole exchange with the server, however slowly it trickles.

The time-outs of sockets start anew with every byte. Here a timer shuts the socket down, so that the thread
that reads from it wakes up.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import requests
from requests.adapters import HTTPAdapter

_current = threading.local()


class Deadline:
    """Use as a context around one exchange in one thread.

    Args:
        seconds: until the socket is shut down; `renew` starts them anew.
    """

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._seconds = seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Deadline:
        self._outer = getattr(_current, "deadline", None)
        _current.deadline = self
        self.renew()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.deadline = self._outer
        with self._lock:
            # From here on the socket may serve somebody else.
            self._socket = None
            self._stop()

    def renew(self) -> None:
        """Start the seconds anew: something came."""
        with self._lock:
            self._stop()
            self._timer = threading.Timer(self._seconds, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        """The socket that the answer will come through."""
        with self._lock:
            self._socket = connection

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        with self._lock:
            if threading.current_thread() is not self._timer:
                return  # renewed or ended at the last moment
            self.expired = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class WatchedAdapter(HTTPAdapter):
    """Requests' adapter whose connections tell the current deadline of their socket."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Called by requests when the adapter is made."""
        super().init_poolmanager(*args, **kwargs)
        _watch_pools(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Called by requests for connections through a proxy."""
        return _watch_pools(super().proxy_manager_for(*args, **kwargs))


def _watch_pools(manager: Any) -> Any:
    manager.pool_classes_by_scheme = {
        scheme: _watched_pool(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }
    return manager


def _watched_pool(pool: Any) -> Any:
    if getattr(pool, "watched", False):
        return pool
    connection = pool.ConnectionCls

    def getresponse(self: Any, *args: Any, **kwargs: Any) -> Any:
        deadline = getattr(_current, "deadline", None)
        if deadline is not None and self.sock is not None:
            deadline.watch(self.sock)
        return connection.getresponse(self, *args, **kwargs)

    watched = type(connection.__name__, (connection,), {"getresponse": getresponse})
    return type(pool.__name__, (pool,), {"ConnectionCls": watched, "watched": True})


@contextmanager
def closing(response: requests.Response) -> Iterator[requests.Response]:
    """Give the connection back, or drop it when something of the answer is left."""
    try:
        yield response
    finally:
        response.close()
