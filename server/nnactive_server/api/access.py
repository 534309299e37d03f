"""Who calls, and whether they may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from nnactive_server.api.problems import Problem
from nnactive_server.store import Role, Token


def needs(role: Role) -> Callable[[Request], Awaitable[Token]]:
    """A dependency that gives the caller, and refuses those whose role is lower."""

    # A coroutine, because the framework sends a function to another thread, which costs more than its work.
    async def caller(request: Request) -> Token:
        token: Token = request.scope["caller"]
        require(token, role)
        return token

    caller.role = role  # type: ignore[attr-defined]  # read by the tests over all routes
    return caller


def require(caller: Token, role: Role) -> None:
    """Refuse a caller whose role is lower; raises Problem."""
    if not caller.role.covers(role):
        raise Problem(403, "forbidden", f"This needs the role {role}; yours is {caller.role}.", needed=role)


Viewer = Annotated[Token, Depends(needs(Role.VIEWER))]
Annotator = Annotated[Token, Depends(needs(Role.ANNOTATOR))]
Reviewer = Annotated[Token, Depends(needs(Role.REVIEWER))]
Admin = Annotated[Token, Depends(needs(Role.ADMIN))]
