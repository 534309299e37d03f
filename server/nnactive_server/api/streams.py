"""Waiting for events without holding a thread: long polls and server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from nnactive_server.api.problems import Problem
from nnactive_server.api.views import event_out
from nnactive_server.store import Event

if TYPE_CHECKING:
    from nnactive_server.api.server import Server

KEEP_ALIVE_SECONDS = 15.0
"""Proxies close connections on which nothing is said for long."""


class Listener:
    """Waits for the commits of any process that bring events after a number."""

    def __init__(self, server: Server, project: str | None, limit: int) -> None:
        self._server, self._project, self._limit = server, project, limit
        self._stirred = asyncio.Event()

    def __enter__(self) -> Listener:
        loop = asyncio.get_running_loop()
        wake = self._stirred.set
        self._stop = self._server.store.events.subscribe(lambda: _call_soon(loop, wake))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    async def last(self) -> int:
        """Number of the newest event of all."""
        return await run_in_threadpool(self._server.store.events.last)

    async def after(self, seq: int, seconds: float) -> tuple[Event, ...]:
        """Events after a number as soon as there are any; none after that time, or when the server ends."""
        events, ends = self._server.store.events, asyncio.get_running_loop().time() + seconds
        while True:
            # Cleared before reading: a commit after the read sets it again.
            self._stirred.clear()
            found = await run_in_threadpool(events.after, seq, self._limit, self._project)
            left = ends - asyncio.get_running_loop().time()
            if found or left <= 0 or self._server.closing.is_set():
                return found
            await self._until_stirred(left)

    async def _until_stirred(self, seconds: float) -> None:
        waits = [asyncio.ensure_future(one.wait()) for one in (self._stirred, self._server.closing)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()


async def as_stream(server: Server, project: str | None, seen: int | None, caller: str) -> AsyncIterator[str]:
    """Events in the format of server-sent events (HTML standard, section 9.2), until it or the token ends.

    Args:
        server: whose events.
        project: only of this one; None for all.
        seen: the last number the client has; None for only what is still to come.
        caller: id of the token.
    """
    # Others may have come since the request was let in: a stream too many ends as soon as it begins.
    with suppress(Problem), server.streams.one_more(caller), Listener(server, project, 100) as listener:
        seq = await listener.last() if seen is None else seen
        # Tells clients, and proxies that wait for a first byte, that the stream is open.
        yield f"retry: 2000\nid: {seq}\n\n"
        while not server.closing.is_set():
            found = await listener.after(seq, KEEP_ALIVE_SECONDS)
            if not await run_in_threadpool(server.store.tokens.is_valid, caller):
                return
            if not found:
                yield ": still here\n\n"
            for event in found:
                seq = event.seq
                data = json.dumps(event_out(event).model_dump(), allow_nan=False)
                yield f"id: {event.seq}\nevent: {event.kind}\ndata: {data}\n\n"


def _call_soon(loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(wake)
