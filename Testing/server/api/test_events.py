"""Events: numbered, waited for, streamed, caught up with."""

import json
import threading
import uuid

import pytest
import requests

from NNActiveLogic.client.values import Box, Label


def place(client, project, case):
    return client.place_patch(project.id, case.id, Box((0, 0, 0), (2, 2, 2)))


def read(reply):
    """The events of a stream, one after the other."""
    current = {}
    for line in reply.iter_lines(decode_unicode=True, chunk_size=1):
        if line and not line.startswith(":"):
            key, _, value = line.partition(": ")
            current[key] = value
        elif not line:
            if "event" in current:
                yield current
            current = {}


def test_events_are_numbered_and_can_be_caught_up_with(ann, project, case):
    before = ann.events(0).last
    made = place(ann, project, case)
    found = ann.events(before, project=project.id)
    assert [one.kind for one in found.events] == ["patch.placed"]
    assert found.events[0].seq > before
    assert found.last == found.events[0].seq
    assert found.events[0].payload["case"] == case.id
    assert ann.events(found.last).events == ()
    assert made.state == "open"


def test_a_poll_waits_for_what_happens_meanwhile(ann, ben, project, case):
    last = ann.events(0).last
    result = []
    waiting = threading.Thread(target=lambda: result.append(ben.events(last, wait=20, project=project.id)))
    waiting.start()
    place(ann, project, case)
    waiting.join(20)
    assert [one.kind for one in result[0].events] == ["patch.placed"]


def test_a_poll_of_another_project_is_not_woken(ann, project):
    other = ann.create_project(f"p-{uuid.uuid4().hex[:8]}", [Label("a")], ["CT"])
    last = ann.events(0).last
    ann.change_project(other.id, query_size=4)
    found = ann.events(last, wait=0.2, project=project.id)
    assert found.events == ()
    assert found.last > last  # so that the next poll does not read them again


def test_a_stream_goes_on_after_the_last_event_that_was_seen(live, ann, project, case):
    first, second = place(ann, project, case), place(ann, project, case)
    events = ann.events(0, project=project.id).events
    with live.call(
        "GET",
        f"/v1/events/stream?project={project.id}",
        stream=True,
        headers={"Last-Event-ID": str(events[-2].seq)},
    ) as reply:
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        stream = read(reply)
        found = next(stream)
        assert (int(found["id"]), found["event"]) == (events[-1].seq, "patch.placed")
        assert json.loads(found["data"])["subject"] == second.id
        third = place(ann, project, case)
        assert json.loads(next(stream)["data"])["subject"] == third.id
    assert first.id != second.id


def test_a_stream_without_a_number_tells_only_what_is_new(live, ann, project, case):
    place(ann, project, case)
    with live.call("GET", f"/v1/events/stream?project={project.id}", stream=True) as reply:
        lines = reply.iter_lines(decode_unicode=True, chunk_size=1)
        assert next(lines).startswith("retry:")
        made = place(ann, project, case)
        for line in lines:
            if line.startswith("data:"):
                assert json.loads(line[5:])["subject"] == made.id
                break


@pytest.mark.parametrize("query", ["after=-1", "wait=-1", "wait=nan", "wait=1e9", "limit=0", "after=x"])
def test_impossible_questions_are_refused(live, query):
    assert live.call("GET", f"/v1/events?{query}").status_code == 422


def test_too_many_streams_are_refused_and_closed_ones_free_their_place(live):
    opened = []
    try:
        for _ in range(16):
            reply = live.call("GET", "/v1/events/stream", who="vic", stream=True)
            assert reply.status_code == 200
            lines = reply.iter_lines(chunk_size=1)
            next(lines)  # it counts once it runs
            opened.append((reply, lines))
        refused = live.call("GET", "/v1/events/stream", who="vic", stream=True)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "2")
        assert live.call("GET", "/v1/events", who="ben").ok  # others are not shut out
    finally:
        for reply, _ in opened:
            reply.close()
    session = requests.Session()
    for _ in range(200):  # the server notices closed streams when it next writes to them
        with session.get(
            live.url + "/v1/events/stream",
            headers={"Authorization": f"Bearer {live.tokens['vic']}"},
            stream=True,
            timeout=10,
        ) as reply:
            if reply.status_code == 200:
                break
        threading.Event().wait(0.1)
    else:
        raise AssertionError("the places were never free again")
    session.close()
