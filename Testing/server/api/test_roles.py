"""Every route, for every role."""

import re

import pytest
from fastapi.routing import APIRoute

from nnactive_server.api.app import ROUTERS
from nnactive_server.store import Role
from testkit.live_server import PEOPLE

ROUTES = [
    (method, route)
    for module in ROUTERS
    for route in module.router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
NAMES = [f"{method} {route.path}" for method, route in ROUTES]
OPEN_TO = {role: [name for name, one in PEOPLE.items() if one.covers(role)] for role in Role}
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


def needed(route):
    """The role a route asks for."""
    found = [part.call.role for part in route.dependant.dependencies if hasattr(part.call, "role")]
    assert len(found) == 1, f"{route.path} must ask for exactly one role"
    return found[0]


def test_there_are_routes():
    assert len(ROUTES) > 35


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=NAMES)
def test_a_route_is_open_to_its_role_and_closed_to_lower_ones(live, method, route):
    path = re.sub(r"\{[^}]+\}", "0" * 26, route.path)
    for name, role in PEOPLE.items():
        # A stream never ends by itself, so only its beginning is looked at.
        reply = live.call(method, path, who=name, stream=True)
        assert (reply.status_code == 403) == (not role.covers(needed(route))), (name, reply.status_code)
        assert reply.status_code < 500
        reply.close()
    reply = live.call(method, path, who="")
    assert reply.status_code == 401


@pytest.mark.parametrize("route", [route for method, route in ROUTES if method in CHANGING])
def test_viewers_change_nothing(route):
    if route.path.endswith("/suggestion"):
        return  # answers a question
    assert needed(route).covers(Role.ANNOTATOR)


def test_a_revoked_token_is_refused_at_once(live):
    from nnactive_server.store import Store

    with Store(live.data) as store:
        token, secret = store.tokens.create("short-lived", Role.VIEWER)
        header = {"Authorization": f"Bearer {secret}"}
        assert live.call("GET", "/v1/me", who="", headers=header).json()["name"] == "short-lived"
        store.tokens.revoke(token.id)
        assert live.call("GET", "/v1/me", who="", headers=header).status_code == 401
