"""What every request passes before its body is read: Host, token, sizes, time."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Iterable

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nnactive_server.api.problems import Problem, problem_of
from nnactive_server.api.settings import Limits, Settings
from nnactive_server.core.errors import NNActiveError
from nnactive_server.store import Store, Token

PROTOCOL = "1"
_HEADERS = (
    (b"nnactive-protocol", PROTOCOL.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
)
_PAGES = ("/", "/docs", "/openapi.json")
"""Opened by a browser, which can give the token as the password of HTTP Basic."""
_Headers = Iterable[tuple[bytes, bytes]]


class Guard:
    """ASGI middleware around the whole application; puts the caller's token into the scope as `caller`."""

    def __init__(self, app: ASGIApp, settings: Settings, store: Store) -> None:
        self._app, self._settings, self._store = app, settings, store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, pass on any other."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        try:
            await self._admit(scope)
            body = _Body(receive, self._allowed(scope), self._settings.limits.body_seconds)
        except Problem as problem:
            await self._refuse(problem, scope, receive, send)
            return
        except NNActiveError as error:
            await self._refuse(problem_of(error), scope, receive, send)
            return
        await self._app(scope, body.receive, send)

    async def _admit(self, scope: Scope) -> None:
        headers: _Headers = scope["headers"]
        host = _one(headers, b"host")
        if not self._settings.answers_to(_without_port(host)):
            raise Problem(
                421,
                "wrong-host",
                "This server does not answer to this host name; its operator can allow it with --name.",
            )
        if _one(headers, b"content-encoding") not in ("", "identity"):
            raise Problem(415, "encoded-body", "Bodies are taken as they are, without Content-Encoding.")
        scope["caller"] = await self._caller(headers, scope["path"] in _PAGES)
        if _announced(headers) > self._allowed(scope):
            raise _too_large(self._allowed(scope))

    async def _caller(self, headers: _Headers, page: bool) -> Token:
        secret = _secret(_one(headers, b"authorization"), page)
        token = await run_in_threadpool(self._store.tokens.verify, secret) if secret else None
        if token is None:
            what = "This token is not known or was revoked." if secret else "A token is needed."
            raise Problem(401, "unauthorised", f"{what} Whoever runs the server makes tokens.")
        return token

    def _allowed(self, scope: Scope) -> int:
        limits: Limits = self._settings.limits
        return limits.chunk_bytes if scope["path"].startswith("/v1/uploads/") else limits.body_bytes

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        kind = "Basic" if scope["path"] in _PAGES else "Bearer"
        extra = {"WWW-Authenticate": f'{kind} realm="NNActive"'} if problem.status_code == 401 else {}
        # The body was not read, so the connection cannot be used again.
        response = problem.response({**extra, **({"Connection": "close"} if _has_body(scope) else {})})
        await response(scope, receive, send)


class _Body:
    """The body as it comes in, counted against size and time."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive, self._limit = receive, limit
        self._ends = time.monotonic() + seconds
        self._received = 0
        self._complete = False

    async def receive(self) -> Message:
        """The next message; raises Problem when the body is too large or too slow."""
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._ends - time.monotonic())
        except TimeoutError:
            raise Problem(408, "too-slow", "The request's body took too long to arrive.") from None
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._received > self._limit:
            raise _too_large(self._limit)
        return message


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(one for one in _HEADERS if one[0] not in given)]
            if b"cache-control" not in given:
                message["headers"].append((b"cache-control", b"no-store"))
        await send(message)

    return sender


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", f"The request's body is over {limit} bytes; send less at a time.")


def _secret(authorization: str, page: bool) -> str:
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() != "basic" or not page:
        return ""
    try:
        return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _one(headers: _Headers, name: bytes) -> str:
    """A header's value; of several the last, which cannot be told from none by sending many."""
    found = [value for key, value in headers if key == name]
    return found[-1].decode("latin-1") if found else ""


def _announced(headers: _Headers) -> int:
    text = _one(headers, b"content-length")
    return int(text) if text.isdecimal() else 0


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[")
    return host.rpartition(":")[0] if host.count(":") == 1 else host
