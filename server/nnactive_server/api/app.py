"""The application: routes behind the guard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from nnactive_server import __version__
from nnactive_server.api import problems
from nnactive_server.api.description import complete
from nnactive_server.api.guard import Guard
from nnactive_server.api.routes import (
    answers,
    arrays,
    cases,
    cycles,
    events,
    exports,
    files,
    pages,
    patches,
    people,
    projects,
)
from nnactive_server.api.server import Server
from nnactive_server.api.settings import Settings
from nnactive_server.jobs.slots import detect_slots
from nnactive_server.jobs.supervisor import Supervisor
from nnactive_server.store import Limits as StoreLimits
from nnactive_server.store import Store


class Application(FastAPI):
    """The application behind its guard, which also sees what goes wrong in the framework itself."""

    guard: Guard

    def openapi(self) -> dict[str, Any]:
        """The interface, with the refusals that all routes share."""
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        await self.guard(scope, receive, send)


ROUTERS = (people, projects, files, cases, arrays, patches, answers, cycles, exports, events, pages)


def create_app(settings: Settings, store: Store | None = None) -> Application:
    """A server's application; `app.state.server.working()` is to last as long as it is served.

    Args:
        settings: how it runs.
        store: opened already; otherwise the one in `settings.data`.

    Raises:
        StoreError: the database cannot be used.
    """
    store = store or open_store(settings)
    supervisor = Supervisor(store, settings.data, detect_slots())
    app = Application(
        title="NNActive",
        version=__version__,
        summary="Projects, patches, answers and training of an NNActive server.",
        # Served by `routes.pages`: the framework's own pages load scripts from the internet.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A slash too many is another address; sending people on would go by the Host they gave.
        redirect_slashes=False,
    )
    app.state.server = Server(settings, store, supervisor)
    problems.install(app)
    for module in ROUTERS:
        app.include_router(module.router)
    app.guard = Guard(super(Application, app).__call__, settings, store)
    return app


def open_store(settings: Settings) -> Store:
    """The store of a server's folder, with the server's limits."""
    Path(settings.data).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Store(settings.data, StoreLimits(chunk_bytes=settings.limits.chunk_bytes))
