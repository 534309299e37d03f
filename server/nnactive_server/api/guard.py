"""What every request passes before its body is read: Host, token, sizes, time."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Iterable

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nnactive_server.api.connection import PROTOCOL
from nnactive_server.api.problems import Problem, problem_of
from nnactive_server.api.settings import Limits, Settings
from nnactive_server.core.errors import NNActiveError
from nnactive_server.store import Store, Token, acting

_HEADERS = (
    (b"nnactive-protocol", PROTOCOL.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
)
_PAGES = ("/", "/docs", "/openapi.json")
"""Opened by a browser, which can give the token as the password of HTTP Basic."""
_UPLOADS = "/v1/uploads/"
_WITH_LABELS = ("/annotation", "/second-reading")
"""Ends of the paths whose bodies carry label maps; all others are short."""
_VALUES = b",[{:"
"""Each value of a JSON document comes with one of these; label maps in base64 hold none of them."""
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::\d{1,5})?|([0-9A-Fa-f:]+)")
_Headers = Iterable[tuple[bytes, bytes]]


class Guard:
    """ASGI middleware around the whole application; puts the caller's token into the scope as `caller`."""

    def __init__(self, app: ASGIApp, settings: Settings, store: Store) -> None:
        self._app, self._settings, self._store = app, settings, store
        self._held = _Held(settings.limits.held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, pass on any other."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        try:
            await self._admit(scope)
        except Problem as problem:
            await self._refuse(problem, scope, receive, send)
            return
        except NNActiveError as error:
            await self._refuse(problem_of(error), scope, receive, send)
            return
        body = _Body(receive, self._allowed(scope), self._settings.limits, self._held, _is_json(scope))
        with body, acting(scope["caller"].name):
            await self._app(scope, body.receive, send)

    async def _admit(self, scope: Scope) -> None:
        headers: _Headers = scope["headers"]
        host = _name(_one(headers, b"host"))
        if host is None or not self._settings.answers_to(host):
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
        if scope["path"].startswith(_UPLOADS):
            return limits.chunk_bytes
        return limits.body_bytes if scope["path"].endswith(_WITH_LABELS) else limits.short_body_bytes

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        kind = "Basic" if scope["path"] in _PAGES else "Bearer"
        extra = {"WWW-Authenticate": f'{kind} realm="NNActive"'} if problem.status_code == 401 else {}
        # A body that was not read is in the way of the next request; and strangers hold no connection.
        last = problem.status_code == 401 or _has_body(scope)
        response = problem.response({**extra, **({"Connection": "close"} if last else {})})
        await response(scope, receive, send)


class _Held:
    """Bytes of the bodies that are in memory now, of all requests."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0

    def add(self, count: int) -> None:
        """Count bytes in, or out; raises Problem when there are too many."""
        self._bytes += count
        if count > 0 and self._bytes > self._most:
            raise Problem(503, "busy", "Too many large requests at this moment; send it again soon.")


class _Body:
    """The body as it comes in, counted against size, number of values and time.

    Args:
        receive: of ASGI.
        limit: bytes.
        limits: of the server.
        held: what all requests hold together.
        json: the body is a JSON document.
    """

    def __init__(self, receive: Receive, limit: int, limits: Limits, held: _Held, json: bool) -> None:
        self._receive, self._limit, self._held = receive, limit, held
        self._ends = time.monotonic() + limits.body_seconds
        self._most_values = limits.body_values if json else None
        self._received = self._values = 0
        self._complete = False

    def __enter__(self) -> _Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.add(-self._received)

    async def receive(self) -> Message:
        """The next message; raises Problem when the body is too large or too slow."""
        if self._complete:
            return await self._receive()
        try:
            # Not `wait_for`, which makes a task of each of the thousands of pieces of an upload.
            async with asyncio.timeout(self._ends - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "too-slow", "The request's body took too long to arrive.") from None
        self._complete = not message.get("more_body", False)
        self._count(message.get("body", b""))
        return message

    def _count(self, piece: bytes) -> None:
        self._received += len(piece)
        self._held.add(len(piece))
        if self._received > self._limit:
            raise _too_large(self._limit)
        if self._most_values is not None:
            # Before anything parses it: a document of many small values takes fifty times its size.
            self._values += sum(map(piece.count, _VALUES))
            if self._values > self._most_values:
                raise Problem(413, "too-large", f"A document of over {self._most_values} values.")


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


def _is_json(scope: Scope) -> bool:
    return not scope["path"].startswith(_UPLOADS)


def _name(host: str) -> str | None:
    """Name or address in a Host header, without the port; None for what is none."""
    found = _HOST.fullmatch(host)
    return None if found is None else next(part for part in found.groups() if part is not None)
