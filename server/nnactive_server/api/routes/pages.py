"""Pages for a browser: the operator's, and the description of the interface."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from nnactive_server.api import pages
from nnactive_server.api.access import Viewer
from nnactive_server.api.server import Here

router = APIRouter(include_in_schema=False)


@router.get("/", response_class=HTMLResponse)
def show_overview(request: Request, server: Here, caller: Viewer) -> str:
    """The page of whoever runs the server: what it does, how far each project is, who annotates."""
    return pages.render("overview", page=pages.look(server, caller), address=_address(request, server))


@router.get("/docs", response_class=HTMLResponse)
def show_interface(request: Request, server: Here, caller: Viewer) -> str:
    """The interface, for people."""
    about = pages.describe(request.app)
    return pages.render("interface", page=about, address=_address(request, server))


@router.get("/openapi.json")
def describe(request: Request, caller: Viewer) -> dict[str, Any]:
    """The interface as OpenAPI."""
    document: dict[str, Any] = request.app.openapi()
    return document


def _address(request: Request, server: Here) -> str:
    """Where the browser found the server; it has passed the guard's check of host names."""
    return f"{server.settings.scheme}://{request.headers['host']}"
