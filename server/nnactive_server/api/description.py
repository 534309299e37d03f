"""The interface as OpenAPI: what the framework writes by itself, and the refusals every route shares."""

from __future__ import annotations

from typing import Any

from nnactive_server.api.connection import PROTOCOL
from nnactive_server.api.problems import MEDIA_TYPE

PROBLEM = "Problem"
_SCHEMA: dict[str, Any] = {
    "title": PROBLEM,
    "description": "Why a request was refused (RFC 9457); some codes bring further members.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence for people."},
        "code": {"type": "string", "description": "One word for programs."},
    },
}
_ALWAYS = {
    401: "No token, or one that is not known.",
    403: "The token's role is too low, or the operator does not allow it.",
    421: "The server does not answer to this host name.",
    422: "Parameters or body are not as they must be.",
    429: "Too many requests of this kind go on.",
    500: "A fault of the server; its log has the details.",
    503: "The server is busy; send it again.",
}
_NAMED = {404: "There is nothing of this id."}
_BODY = {
    400: "The body is no JSON.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    415: "The body is encoded.",
}
_CHANGE = {409: "It does not fit the present state.", 507: "The disk is full."}
_CONFLICTING_READS = ("agreement",)
BINARY = {"type": "string", "format": "binary"}
_HEADER = {"$ref": "#/components/headers/NNActive-Protocol"}
_RAW = {"content": {"application/octet-stream": {"schema": BINARY}}}

ARRAY: dict[int | str, dict[str, Any]] = {
    200: {"description": "Raw voxels, little-endian, C order.", **_RAW},
    206: {"description": "The bytes of the range that was asked for.", **_RAW},
    304: {"description": "The client has them already."},
    416: {"description": "A range past the end.", "content": {MEDIA_TYPE: {}}},
}
"""Replies of the routes that send voxels."""
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events.", "content": {"text/event-stream": {}}}
}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to a document of the framework what holds for all routes; changes it."""
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for own in ("HTTPValidationError", "ValidationError"):  # this server's look otherwise
        schemas.pop(own, None)
    schemas[PROBLEM] = _SCHEMA
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    parts["headers"] = {
        "NNActive-Protocol": {"required": True, "schema": {"type": "string", "const": PROTOCOL}}
    }
    document["security"] = [{"token": []}]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _add_replies(operation["responses"], path, method)
    return document


def _add_replies(replies: dict[str, Any], path: str, method: str) -> None:
    for number, text in _refusals(path, method).items():
        replies[str(number)] = {"description": text}
    for status, reply in replies.items():
        reply.setdefault("headers", {})["NNActive-Protocol"] = _HEADER
        if status >= "4":
            reply["content"] = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{PROBLEM}"}}}


def _refusals(path: str, method: str) -> dict[int, str]:
    found = dict(_ALWAYS)
    if "{" in path:
        found |= _NAMED
    if method in ("post", "put", "patch"):
        found |= _BODY
    if method not in ("get", "head") or path.endswith(_CONFLICTING_READS):
        found |= _CHANGE
    return dict(sorted(found.items()))
