"""Pages for a browser: the operator's, and the description of the interface."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from nnactive_server.api.access import Viewer

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
def describe(request: Request, caller: Viewer) -> dict[str, Any]:
    """The interface as OpenAPI."""
    document: dict[str, Any] = request.app.openapi()
    return document
