"""What may be repeated is repeated, and happens once."""

import random

import numpy as np
import pytest

from faulty_proxy import BAD_GATEWAY, GOOD, Fault, random_fault
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.errors import Cancelled, ClientError, NotAuthorised, ProxyPage, ServerProblem
from NNActiveLogic.client.transport import Call, Limits
from NNActiveLogic.client.values import Box, Label
from standin import Reply

STUBBORN = Limits(1.0, 1.0, 2.0, attempts=40, first_pause=0.001, longest_pause=0.002)


def plan(*faults):
    waiting = list(faults)
    return lambda: waiting.pop(0) if waiting else GOOD


def test_a_call_succeeds_after_failures_that_pass(proxy, connect):
    proxy.plan = plan(Fault(instead=BAD_GATEWAY), Fault(reset_after=50))
    assert connect(proxy.url).health().protocol == 1
    assert proxy.connections == 3


def test_attempts_are_counted(proxy, connect):
    proxy.plan = lambda: Fault(instead=BAD_GATEWAY)
    with pytest.raises(ProxyPage):
        connect(proxy.url).health()
    assert proxy.connections == 3


def test_a_change_whose_reply_was_lost_is_made_once(standin, proxy, connect):
    proxy.plan = plan(Fault(swallow=True), Fault(swallow=True))
    made = connect(proxy.url).create_project("p", [Label("organ")], ["CT"])
    assert list(standin.app.projects) == [made.id]
    keys = {request.headers["idempotency-key"] for request in standin.app.seen}
    assert len(standin.app.seen) == 3
    assert len(keys) == 1


def test_what_the_server_refuses_is_not_repeated(standin, connect):
    with pytest.raises(NotAuthorised):
        connect(standin.url, "wrong").health()
    assert len(standin.app.seen) == 1


def test_a_busy_server_is_given_the_time_it_asks_for(standin, connect):
    replies = [Reply(503, {"detail": "busy"}, {"Retry-After": "0"}), Reply(429, {"detail": "slower"})]
    standin.app.before = lambda _: replies.pop(0) if replies else None
    assert connect(standin.url).health().protocol == 1
    assert len(standin.app.seen) == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_every_call_that_changes_something_carries_a_key(standin, client, method):
    standin.app.before = lambda _: Reply(200, {})
    client.transport.json(Call(method, "/v1/x"))
    client.transport.json(Call(method, "/v1/x"))
    first, second = (request.headers["idempotency-key"] for request in standin.app.seen)
    assert first != second


def test_a_call_without_a_key_is_not_repeatable():
    assert not Call("POST", "/v1/x").repeatable
    assert Call("GET", "/v1/x").repeatable
    assert Call("POST", "/v1/x", headers={"Idempotency-Key": "k"}).repeatable


def test_pauses_grow_up_to_the_bound_and_differ(client, monkeypatch):
    bounds, pauses = [], []
    monkeypatch.setattr(random, "uniform", lambda low, high: bounds.append((low, high)) or 0.0)
    monkeypatch.setattr(client.transport._stopped, "wait", lambda seconds: pauses.append(seconds))
    for attempt in range(1, 6):
        client.transport._pause(attempt, ClientError("x"))
    assert bounds == [(0, 0.01), (0, 0.02), (0, 0.02), (0, 0.02), (0, 0.02)]
    client.transport._pause(1, ServerProblem("x", retry_after=3600))
    assert pauses[-1] == client.transport.limits.longest_pause


def test_a_stopped_transport_does_not_try_again(standin, client):
    standin.app.before = lambda _: Reply(503, {"detail": "busy"})
    client.transport.stop()
    with pytest.raises((ServerProblem, Cancelled)):
        client.health()
    assert len(standin.app.seen) == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_whole_session_over_a_bad_line_leaves_each_record_once(standin, proxy, connect, image, seed):
    rng = random.Random(seed)
    standin.app.keep_alive = False
    proxy.plan = lambda: random_fault(rng)
    client = connect(proxy.url, limits=STUBBORN)
    project = client.create_project("p", [Label("organ")], ["CT"])
    case = client.add_case(project.id, [client.upload(image[0])])
    np.testing.assert_array_equal(client.image(case.id).values, image[1])
    for z in range(4):
        patch = client.place_patch(project.id, case.id, Box((z, 0, 0), (1, 4, 4)))
        client.annotate(patch.id, Answer(Kind.LABELLED, np.full((1, 4, 4), 1)), 0)
    assert len(standin.app.projects) == len(standin.app.cases) == 1
    assert len(standin.app.patches) == len(standin.app.answers) == 4
    assert [event.seq for event in client.events(0).events] == [1, 2, 3, 4]
    assert proxy.connections > 20
