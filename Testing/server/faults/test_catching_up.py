"""A client that was away reads on where it stopped, over restarts and kills of the server."""

import threading

import pytest

from nnactive_server.store import Store
from NNActiveLogic.client.errors import Unreachable
from NNActiveLogic.client.values import Box
from testkit.faults import image_file, wait_until


@pytest.fixture
def place(serve, client, begin, tmp_path):
    server = serve()
    project, (case,) = begin(client(server), [image_file(tmp_path / "image.nrrd", 0)])
    return server, project, case


def read_on(client, seen, limit=100_000):
    """All events after a number, page by page, and the last number."""
    found = []
    while page := client.events(seen).events:
        found += page
        seen = page[-1].seq
        assert len(found) < limit
    return found, seen


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_numbers_never_repeat_or_go_back(place, client, end):
    server, project, case = place
    heard, seen = read_on(client(server), 0)
    told = []
    for round_ in range(2):
        ann = client(server)
        for number in range(5):
            box = Box((round_, number, 0), (1, 1, 1))
            told.append(ann.place_patch(project.id, case.id, box).id)
        if round_ == 1:  # half of it is heard before the end, the rest after
            more, seen = read_on(ann, seen)
            heard += more
        getattr(server, end)()
        server.start()
        assert client(server).events(0).last >= seen
        more, seen = read_on(client(server), seen)
        heard += more
    numbers = [one.seq for one in heard]
    assert numbers == sorted(set(numbers))
    assert [one.subject for one in heard if one.kind == "patch.placed"] == told
    with Store(server.data) as store:
        assert [one.seq for one in store.events.after(0, 100_000)] == numbers


def test_a_listener_hears_everything_once_while_the_server_dies_again_and_again(place, client):
    server, project, case = place
    heard, stop, failed = [], threading.Event(), []

    def listen():
        ann, seen = client(server), 0
        try:
            while not stop.is_set() or ann.events(seen).events:
                try:
                    found = ann.events(seen, wait=5)
                except Unreachable:
                    stop.wait(0.02)  # asking without a break would slow down the server's start
                    continue
                assert found.last >= seen, (found.last, seen)
                heard.extend(found.events)
                seen = found.events[-1].seq if found.events else seen
        except BaseException as problem:  # noqa: BLE001 — the test looks at it
            failed.append(problem)

    listener = threading.Thread(target=listen)
    listener.start()
    told = []
    for number in range(3):
        ann = client(server)
        for column in range(5):
            box = Box((number, column, 0), (1, 1, 1))
            told.append(ann.place_patch(project.id, case.id, box).id)
        wait_until(lambda: failed or told[-2] in [one.subject for one in list(heard)])
        server.kill()
        server.start()
    stop.set()
    client(server).place_patch(project.id, case.id, Box((7, 0, 0), (1, 1, 1)))
    listener.join(60)
    assert not failed, failed
    assert [one.subject for one in heard if one.kind == "patch.placed"][: len(told)] == told
    numbers = [one.seq for one in heard]
    assert numbers == sorted(set(numbers))


def test_a_stream_goes_on_after_the_last_number_that_was_heard(place, client):
    server, project, case = place
    ann = client(server)
    placed = [ann.place_patch(project.id, case.id, Box((0, n, 0), (1, 1, 1))).id for n in range(3)]
    before = ann.events(0).last
    server.kill()
    server.start()
    placed += [
        client(server).place_patch(project.id, case.id, Box((1, n, 0), (1, 1, 1))).id for n in range(3)
    ]
    headers = {"Last-Event-ID": str(before)}
    with server.call("GET", "/v1/events/stream", headers=headers, stream=True) as reply:
        numbers = []
        for line in reply.iter_lines(chunk_size=1):
            if line.startswith(b"id: "):
                numbers.append(int(line[4:]))
            if placed[-1].encode() in line:
                break
    # The first line repeats what the client said it has.
    assert numbers[0] == before
    with Store(server.data) as store:
        assert numbers[1:] == [one.seq for one in store.events.after(before)]
