from __future__ import annotations

import dataclasses
import threading

import pytest

from nnactive_server.core.errors import Conflict, InvalidInput
from nnactive_server.store import Reply, Request

REQUEST = Request("token", "POST /v1/projects", "key-1", "digest")


def creating(store, name: str):
    def work() -> Reply:
        return Reply(201, store.projects.create(name, {}).id.encode(), {"ETag": '"1"'})

    return work


def test_a_repeated_request_is_carried_out_once_and_answered_alike(store):
    first = store.idempotency.run(REQUEST, creating(store, "one"))
    assert store.idempotency.run(REQUEST, creating(store, "two")) == first
    assert first.headers == {"ETag": '"1"'}
    assert [p.name for p in store.projects.list()] == ["one"]


@pytest.mark.parametrize("field", ["token", "route", "key"])
def test_another_caller_route_or_key_is_another_request(store, field):
    store.idempotency.run(REQUEST, creating(store, "one"))
    other = dataclasses.replace(REQUEST, **{field: "other"})
    store.idempotency.run(other, creating(store, "two"))
    assert len(store.projects.list()) == 2


def test_a_key_used_for_another_content_is_refused(store):
    store.idempotency.run(REQUEST, creating(store, "one"))
    with pytest.raises(Conflict, match="another content"):
        store.idempotency.run(dataclasses.replace(REQUEST, body_digest="x"), creating(store, "two"))
    assert len(store.projects.list()) == 1


def test_a_request_that_failed_can_be_tried_again(store):
    def work() -> Reply:
        store.projects.create("one", {})
        raise KeyError

    with pytest.raises(KeyError):
        store.idempotency.run(REQUEST, work)
    assert store.projects.list() == ()
    assert store.idempotency.find(REQUEST) is None
    assert store.idempotency.run(REQUEST, creating(store, "one")).status == 201


def test_requests_that_arrive_at_once_are_carried_out_once(store):
    replies: list[Reply] = []
    threads = [
        threading.Thread(
            target=lambda: replies.append(store.idempotency.run(REQUEST, creating(store, "one")))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == 8
    assert len({reply.body for reply in replies}) == 1
    assert len(store.projects.list()) == 1


def test_old_replies_are_forgotten(store, clock):
    store.idempotency.run(REQUEST, creating(store, "one"))
    clock.move(100)
    assert store.idempotency.sweep(101) == 0
    assert store.idempotency.find(REQUEST) is not None
    assert store.idempotency.sweep(99) == 1
    assert store.idempotency.find(REQUEST) is None


@pytest.mark.parametrize("key", ["", " x", "x" * 201, "a\nb"])
def test_unusable_keys_are_refused(key):
    with pytest.raises(InvalidInput, match="idempotency key"):
        Request("token", "route", key, "digest")
