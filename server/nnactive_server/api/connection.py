"""One client's connection: what reaches the application is a whole request head of bounded size and time.

uvicorn limits neither: whoever can connect, without any token, could hold connections open without a word, or
send a header that never ends.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nnactive_server.api.problems import Problem

PROTOCOL = "1"
HEAD_BYTES = 64 << 10
"""Request line and headers."""
HEAD_SECONDS = 20.0
"""They must arrive in this time, counted from the first byte, or from the start of the connection."""
CONNECTIONS = 1000


class Connection(HttpToolsProtocol):
    """A connection; what it refuses itself is answered with a problem document too."""

    head_bytes = HEAD_BYTES
    head_seconds = HEAD_SECONDS
    most = CONNECTIONS
    _timer: asyncio.TimerHandle | None = None
    _received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse one connection too many, at once and unread."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._end(503, "busy", "Too many connections; try again soon.")
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on what came; a head that grows too large ends the connection."""
        super().data_received(data)
        if self._timer is not None and not self.transport.is_closing():
            self._received += len(data)
            if self._received > self.head_bytes:
                self._end(
                    431, "head-too-large", f"Request line and headers are over {self.head_bytes} bytes."
                )

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_is_there()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        del msg
        self._end(400, "no-http", "This is not a request in HTTP/1.1.")

    def _expect_head(self) -> None:
        self._head_is_there()
        self._timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _head_is_there(self) -> None:
        self._received = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self.flow.read_paused:  # we do not read: an earlier request is still at work
            self._expect_head()
            return
        self._end(408, "too-slow", "The request's head took too long to arrive.")

    def _end(self, status: int, code: str, detail: str) -> None:
        self._head_is_there()
        if self.transport.is_closing():
            return
        response = Problem(status, code, detail).response(
            {"Connection": "close", "NNActive-Protocol": PROTOCOL}
        )
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
        self.transport.write(head + lines + b"\r\n" + bytes(response.body))
        self.transport.close()
