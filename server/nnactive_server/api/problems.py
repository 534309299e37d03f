"""Errors as RFC 9457 problem documents: one sentence for a human, one word for a program."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from nnactive_server.core.errors import (
    Busy,
    Conflict,
    DatasetError,
    InvalidInput,
    KeyReused,
    NNActiveError,
    NoSpace,
    NotFound,
    QueryError,
    SegmentationError,
    TooLarge,
)

MEDIA_TYPE = "application/problem+json"
_FOLDERS = re.compile(r"(?<![\w.<:/])/(?=\S)(?:[^\s/'\"<>]+/)*")
"""A path up to its last part, in quotation marks or not."""
_log = logging.getLogger(__name__)


class Problem(HTTPException):
    """An answer that refuses.

    Args:
        status: of HTTP.
        code: for programs.
        detail: for people.
        extra: further members of the document.
    """

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(status, detail)
        self.code, self.extra = code, extra

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """As it is sent."""
        document = {
            "type": "about:blank",
            "title": self.code.replace("-", " "),
            "status": self.status_code,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
        body = json.dumps(document, allow_nan=False, default=_plain).encode()
        return Response(body, self.status_code, {**_advice(self.status_code), **(headers or {})}, MEDIA_TYPE)


_STATUS: tuple[tuple[type[NNActiveError], int, str], ...] = (
    (NotFound, 404, "not-found"),
    (TooLarge, 413, "too-large"),
    (InvalidInput, 422, "invalid"),
    (KeyReused, 409, "idempotency-conflict"),
    (Conflict, 409, "conflict"),
    (NoSpace, 507, "no-space"),
    (Busy, 503, "busy"),
    (DatasetError, 422, "unusable-image"),
    (QueryError, 422, "invalid"),
    (SegmentationError, 422, "invalid"),
)


def problem_of(error: NNActiveError) -> Problem:
    """What an error of ours is on the wire."""
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return Problem(status, code, public(str(error)))
    return _unexpected(error)


def install(app: FastAPI) -> None:
    """Have every error answered with a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(NNActiveError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_surprise)


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, NNActiveError)
    return problem_of(error).response()


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # What was sent is not repeated: it may be large, or a secret in the wrong place.
    faults = [{"field": _field(one["loc"]), "message": _said(one["msg"])} for one in error.errors()[:20]]
    first = faults[0] if faults else {"field": "request", "message": "not valid"}
    return Problem(422, "invalid", f"{first['field']}: {first['message']}", errors=faults).response()


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {401: "unauthorised", 403: "forbidden", 404: "not-found", 405: "method-not-allowed"}
    texts = {404: "There is no such address on this server.", 405: "This address does not take this method."}
    detail = texts.get(error.status_code, str(error.detail))
    problem = Problem(error.status_code, code.get(error.status_code, "refused"), detail)
    return problem.response(error.headers)


async def _on_gone(_: Request, _error: Exception) -> Response:
    # Nobody reads this; without it a line that breaks off in a body would look like a fault of ours.
    return Problem(400, "broken-off", "The request's body broke off.").response()


async def _on_surprise(_: Request, error: Exception) -> Response:
    return _unexpected(error).response()


def _unexpected(error: Exception) -> Problem:
    """A fault of ours: the traceback stays here, the number leads to it."""
    number = secrets.token_hex(4)
    _log.error("incident %s: %s", number, error, exc_info=error)
    return Problem(
        500, "internal", f"Something went wrong on the server; its log has the details under {number}."
    )


def _said(message: object) -> str:
    return str(message).removeprefix("Value error, ")[:200]


def _field(place: tuple[Any, ...]) -> str:
    names = [str(part) for part in place if part != "body"]
    return ".".join(names)[:100] or "body"


def public(text: str) -> str:
    """Without folders of this machine, which are no business of a client."""
    return _FOLDERS.sub("", text)


def _advice(status: int) -> dict[str, str]:
    if status in (429, 503):
        return {"Retry-After": "2"}
    # The rest of the body may still be on its way, so the connection cannot be used again.
    return {"Connection": "close"} if status in (408, 413) else {}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)
