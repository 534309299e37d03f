"""Changes that happen once, however often they are sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from nnactive_server.api.server import Here, Server
from nnactive_server.store import Reply, Token
from nnactive_server.store import Request as Known

_JSON = "application/json"
Work = Callable[[], BaseModel | None]


class Once:
    """Carries out the change of one request, or repeats the reply it had."""

    def __init__(self, server: Server, known: Known | None) -> None:
        self._server, self._known = server, known

    def __call__(
        self, status: int, work: Work, headers: Callable[[BaseModel], Mapping[str, str]] | None = None
    ) -> Response:
        """What `work` returns as the reply; what it writes to the store is one transaction with the reply.

        Args:
            status: of the reply.
            work: makes the change; None for a reply without a body (204).
            headers: further ones, from what `work` returned.
        """

        def carry_out() -> Reply:
            made = work()
            if made is None:
                return Reply(204, b"")
            return Reply(status, made.model_dump_json().encode(), headers(made) if headers else {})

        if self._known is None:
            with self._server.store.database.write():  # what is looked at does not change before it is used
                return _response(carry_out())
        return _response(self._server.store.idempotency.run(self._known, carry_out))

    def earlier(self) -> Response | None:
        """The reply this request had before, so that nothing needs to be prepared again."""
        if self._known is None:
            return None
        reply = self._server.store.idempotency.find(self._known)
        return None if reply is None else _response(reply)


def _response(reply: Reply) -> Response:
    media = _JSON if reply.body else None
    return Response(reply.body or None, reply.status, dict(reply.headers), media)


async def _once(
    request: Request, server: Here, idempotency_key: Annotated[str | None, Header(max_length=200)] = None
) -> Once:
    if idempotency_key is None:
        return Once(server, None)
    token: Token = request.scope["caller"]
    digest = hashlib.sha256(await request.body()).hexdigest()
    return Once(server, Known(token.id, f"{request.method} {request.scope['path']}", idempotency_key, digest))


OnceOnly = Annotated[Once, Depends(_once)]
