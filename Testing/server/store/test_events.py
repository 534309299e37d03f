from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from nnactive_server.core.errors import StoreError
from nnactive_server.store import Role, Store, events

WRITE = (
    "import sys, pathlib; from nnactive_server.store import Store\n"
    "store = Store(pathlib.Path(sys.argv[1])); input()\n"
    "store.projects.create('From elsewhere', {}); store.close()\n"
)


def test_events_are_numbered_and_read_on_from_any_number(store):
    for i in range(5):
        store.projects.create(f"p{i}", {})
    events = store.events.after(0)
    assert [e.seq for e in events] == [1, 2, 3, 4, 5]
    assert store.events.after(3) == events[3:]
    assert store.events.after(1, limit=2) == events[1:3]
    assert store.events.last() == 5
    assert store.events.after(5) == ()


def test_events_of_one_project_can_be_asked_for(store):
    one, two = store.projects.create("one", {}), store.projects.create("two", {})
    store.tokens.create("anna", Role.VIEWER)
    assert [e.subject for e in store.events.after(0, project=two.id)] == [two.id]
    assert {e.project for e in store.events.after(0)} == {one.id, two.id, None}


def test_a_change_that_fails_leaves_no_event(store):
    def fail() -> None:
        with store.database.write():
            store.projects.create("one", {})
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert store.events.last() == 0
    assert store.projects.list() == ()


def test_a_commit_of_this_process_wakes_listeners_without_a_look_at_the_file(store, monkeypatch):
    monkeypatch.setattr(events, "_POLL_SECONDS", 1000)
    heard = threading.Event()
    store.events.subscribe(heard.set)
    assert heard.wait(20), "the first call comes when the watching begins"
    heard.clear()
    store.projects.create("one", {})
    assert heard.wait(20)


def test_waiting_ends_with_an_event_of_this_process(store):
    got: list[object] = []
    waiter = threading.Thread(target=lambda: got.append(store.events.wait(0, 30)))
    waiter.start()
    store.projects.create("one", {})
    waiter.join(20)
    assert [e.kind for e in got[0]] == ["project.created"]


def test_waiting_ends_with_an_event_of_another_process(root, store):
    child = subprocess.Popen([sys.executable, "-c", WRITE, str(root)], stdin=subprocess.PIPE)
    got: list[object] = []
    waiter = threading.Thread(target=lambda: got.append(store.events.wait(0, 30)))
    waiter.start()
    child.communicate(b"\n")
    waiter.join(30)
    assert [e.kind for e in got[0]] == ["project.created"]
    assert store.projects.list()[0].name == "From elsewhere"


def test_waiting_for_a_project_is_not_ended_by_others(store):
    mine = store.projects.create("mine", {}).id
    seq = store.events.last()
    store.projects.create("other", {})
    assert store.events.wait(seq, 0.2, project=mine) == ()


def test_what_happened_before_is_there_without_waiting(store):
    store.projects.create("one", {})
    assert len(store.events.wait(0, 0)) == 1


def test_no_commit_is_missed_by_many_waiters(store):
    seen: list[list[int]] = [[] for _ in range(6)]

    def follow(mine: list[int]) -> None:
        while len(mine) < 40:
            mine.extend(e.seq for e in store.events.wait(mine[-1] if mine else 0, 30))

    threads = [threading.Thread(target=follow, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for i in range(40):
        store.projects.create(f"p{i}", {})
    for thread in threads:
        thread.join(30)
    assert seen == [list(range(1, 41))] * 6


def test_a_listener_hears_until_it_stops_and_a_broken_one_harms_nobody(store):
    heard, gone = threading.Event(), threading.Event()

    def broken() -> None:
        gone.set()
        raise RuntimeError("event loop is closed")

    stop = store.events.subscribe(heard.set)
    store.events.subscribe(broken)
    store.projects.create("one", {})
    assert heard.wait(20)
    assert gone.wait(20)
    stop()
    for event in (heard, gone):
        event.clear()
    # A waiter is a listener too: when it is back, everybody was told of the second project.
    assert len(store.events.wait(store.events.last(), 0.3)) == 0
    store.projects.create("two", {})
    assert len(store.events.wait(1, 20)) == 1
    assert len(store.events.wait(2, 0.3)) == 0
    assert not heard.is_set()
    assert not gone.is_set()


def test_closing_ends_the_watching_thread(root):
    store = Store(root)
    store.events.subscribe(lambda: None)
    store.close()
    assert "store-watcher" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(StoreError, match="closed"):
        store.events.wait(0, 1)
