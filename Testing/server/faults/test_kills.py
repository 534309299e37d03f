"""The web process is killed at random moments while several people work; they lose nothing they were told."""

import json
import random
import threading
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
import requests

from nnactive_server.store import Store
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.errors import ClientError, Unreachable
from NNActiveLogic.client.outbox import Outbox
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Box, Label
from testkit.faults import image_file, wait_until

KILLS = 3
PATIENT = Limits(read_seconds=30, total_seconds=60, attempts=200, first_pause=0.05, longest_pause=0.2)
SIZE = (2, 2, 2)


class Worker(threading.Thread):
    """Does something again and again until it is told to stop; remembers what was acknowledged."""

    def __init__(self, server, who, seed):
        super().__init__(name=type(self).__name__, daemon=True)
        self.client = Client(server.url, server.tokens[who], limits=PATIENT)
        self.server, self.random = server, random.Random(seed)
        self.done, self.stopping, self.failed = [], threading.Event(), None

    def run(self):
        try:
            for number in range(100_000):
                if self.stopping.is_set():
                    return
                self.done.append(self.step(number))
        except BaseException as problem:  # noqa: BLE001 — the test looks at it
            self.failed = problem
        finally:
            self.client.close()


class Founder(Worker):
    def step(self, number):
        return self.client.create_project(f"founded {number}", [Label("organ")], ["CT"]).id


class Placer(Worker):
    """Places patches with the client, which asks again by itself."""

    def __init__(self, server, who, seed, project, case):
        super().__init__(server, who, seed)
        self.place = (project, case)

    def step(self, number):
        box = Box((number % 8, number // 8 % 8, number // 64 % 8), SIZE)
        return self.client.place_patch(*self.place, box, f"{self.name} {number}").id


class ByHand(Worker):
    """Places patches with one request each, and repeats those of which it heard nothing only in the end."""

    def __init__(self, server, who, seed, project, case):
        super().__init__(server, who, seed)
        self.place, self.unheard = (project, case), []

    def step(self, number):
        project, case = self.place
        body = {"case": case, "box": {"start": [number % 8, 0, 9], "size": SIZE}, "group": f"hand {number}"}
        ask = (f"/v1/projects/{project}/patches", body, f"hand {number}")
        try:
            return (*ask, self.send(*ask))
        except requests.RequestException:
            self.unheard.append(ask)
            wait_until(self.answers)
            return None

    def send(self, path, body, key):
        reply = self.server.call("POST", path, "ben", json=body, headers={"Idempotency-Key": key})
        assert reply.status_code == 201, reply.text
        return reply.json()

    def answers(self):
        with suppress(requests.RequestException):
            return self.stopping.is_set() or self.server.call("GET", "/v1/me").ok


class Annotator(Worker):
    """Answers patches through the outbox, several times each."""

    def __init__(self, server, who, seed, project, patches, path):
        super().__init__(server, who, seed)
        self.box = Outbox(path, server.url, project, who)
        self.patches, self.revisions, self.put = patches, Counter(), 0

    def step(self, number):
        patch = self.patches[number % len(self.patches)]
        labels = np.full(SIZE, number % 3, np.uint8)
        revision = self.box.next_revision(patch, self.revisions[patch])
        self.box.put(patch, Answer(Kind.LABELLED, labels, comment=str(number)), revision)
        self.put += 1
        return self.flush()

    def flush(self):
        report = self.box.flush(self.client, now=True)
        assert not report.parked, report
        assert report.problem is None or isinstance(report.problem, Unreachable), report.problem
        for entry, patch in report.sent:
            self.revisions[entry.patch] = patch.revision
        return [entry.body["comment"] for entry, _ in report.sent]


class Uploader(Worker):
    """Uploads images, each in one piece, and makes cases of them."""

    def __init__(self, server, who, seed, project, folder):
        super().__init__(server, who, seed)
        self.project, self.folder = project, folder

    def step(self, number):
        file = image_file(self.folder / f"{self.name}-{number}.nrrd", 100 + number)
        return self.client.add_case(self.project, [self.client.upload(file)], f"up-{number}").id


@pytest.fixture
def crowd(serve, client, begin, tmp_path):
    """A server and people who work on it."""
    server = serve()
    ann = client(server)
    project, (case,) = begin(ann, [image_file(tmp_path / "image.nrrd", 0, (10, 10, 12))])
    patches = [ann.place_patch(project.id, case.id, Box((n, 8, 0), SIZE)).id for n in range(4)]
    workers = [
        Founder(server, "ann", 1),
        Placer(server, "ben", 2, project.id, case.id),
        ByHand(server, "ben", 3, project.id, case.id),
        Annotator(server, "rev", 4, project.id, patches, tmp_path / "outbox.sqlite"),
        Uploader(server, "ann", 5, project.id, tmp_path),
    ]
    for worker in workers:
        worker.start()
    yield server, project, workers
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        worker.join(120)
    workers[3].box.close()


def test_what_was_acknowledged_is_there_exactly_once(crowd):
    server, project, workers = crowd
    founder, placer, hand, annotator, uploader = workers
    moments = random.Random(0)
    for _ in range(KILLS):
        # Everybody has been told of something since the last death, and is about to ask for more.
        seen = [len(worker.done) for worker in workers]
        wait_until(
            lambda seen=seen: (
                any(worker.failed for worker in workers)
                or all(len(worker.done) > count for worker, count in zip(workers, seen, strict=True))
            )
        )
        more = sum(len(worker.done) for worker in workers) + moments.randrange(20)
        wait_until(
            lambda more=more: (
                any(worker.failed for worker in workers)
                or sum(len(worker.done) for worker in workers) >= more
            )
        )
        server.kill()
        with Store(server.data) as store:
            assert store.check() == []
        server.start()
    for worker in workers:
        worker.stopping.set()
    for worker in workers:
        worker.join(120)
        assert worker.failed is None, (worker.name, worker.failed)

    while annotator.box.counts().waiting:
        annotator.done.append(again(server, annotator))
    check_answers(server, annotator)
    check_by_hand(server, project, hand)
    with Store(server.data) as store:
        assert store.check() == []
        names = Counter(one.name for one in store.projects.list())
        assert {one.id for one in store.projects.list()} >= set(founder.done)
        groups = Counter(one.group for one in store.patches.list(project.id))
        assert {one.id for one in store.patches.list(project.id)} >= set(placer.done)
        cases = Counter(one.name for one in store.cases.list(project.id))
        assert {one.id for one in store.cases.list(project.id)} >= set(uploader.done)
    # The client asked again until it was answered: there is one of each, and nothing else.
    assert names == Counter([project.name, *(f"founded {n}" for n in range(len(founder.done)))])
    placed = [f"{placer.name} {n}" for n in range(len(placer.done))]
    by_hand = [f"hand {n}" for n in range(len(hand.done))]
    assert groups == Counter(["", *placed, *by_hand]) | Counter({"": 4})
    assert cases == Counter(["case-0001", *(f"up-{n}" for n in range(len(uploader.done)))])
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def again(server, annotator):
    """What the outbox sends when the network is back, as another session of the same person."""
    client = Client(server.url, server.tokens["rev"], limits=PATIENT)
    annotator.client = client
    try:
        return annotator.flush()
    finally:
        client.close()


def check_answers(server, annotator):
    """Each answer that was put into the box is there once, in its order."""
    told = [comment for sent in annotator.done for comment in sent]
    assert sorted(map(int, told)) == list(range(annotator.put))
    with Store(server.data) as store:
        found = []
        for patch in annotator.patches:
            history = store.answers.history(patch)
            assert [one.revision for one in history] == list(range(1, len(history) + 1))
            comments = [int(one.answer.comment) for one in history]
            assert comments == sorted(comments)
            found += comments
    assert sorted(found) == list(range(annotator.put))


def check_by_hand(server, project, hand):
    """What was not answered is there or not; asked again it is there once, and all replies stay the same."""
    with Store(server.data) as store:
        before = Counter(one.group for one in store.patches.list(project.id))
    acknowledged = [one for one in hand.done if one]
    assert all(before[key] == 1 for _, _, key, _ in acknowledged)
    assert all(before[key] <= 1 for _, _, key in hand.unheard)
    for path, body, key, reply in acknowledged[-40:]:
        assert json.dumps(hand.send(path, body, key)) == json.dumps(reply)
    for ask in hand.unheard:
        assert hand.send(*ask)["group"] == ask[2]


def test_a_client_that_gives_up_says_so(serve, client):
    """Nothing pretends to be done: without a server every call ends with an error."""
    server = serve()
    ann = client(server)
    server.kill()
    with pytest.raises(Unreachable):
        ann.create_project("nobody hears", [Label("organ")], ["CT"])
    server.start()
    assert ann.projects() == ()
    assert issubclass(Unreachable, ClientError)
