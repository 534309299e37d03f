"""Several people answer a whole batch while the web process is killed and connections break."""

import random

import numpy as np
import pytest

from faulty_proxy import GOOD, Fault, FaultyProxy
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Patch
from nnactive_server.store import Answer, Kind, NewPatch, Origin, Role, Store
from testkit.annotators import Annotators, Diary, Tally, Work, tally
from testkit.busy_clinic import settings
from testkit.faults import free_port, wait_until
from testkit.live_server import LiveServer

PATCHES, PEOPLE, KILLS = 60, 5, 2
SIZE = (4, 6, 8)
GRID = Geometry((40, 60, 80), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))


def open_patches(store, count):
    """A project with so many patches that wait; its id."""
    project = store.projects.create("stress", settings())
    case = store.cases.add(project.id, "case-0001", GRID, [store.blobs.put(b"voxels")])
    batch = [NewPatch(case.id, Patch((n % 30, n % 50, n % 70), SIZE)) for n in range(count)]
    store.patches.propose(project.id, 0, batch, Origin.START)
    return project.id


@pytest.fixture
def server(tmp_path):
    with LiveServer(tmp_path / "data", ["--port", str(free_port())]) as live:
        yield live


@pytest.fixture
def work(server, tmp_path):
    """What is to be done, and by whom."""
    labels = [np.random.default_rng(seed).integers(0, 3, SIZE).astype(np.uint8) for seed in range(3)]
    with Store(server.data) as store:
        people = {f"person {n}": store.tokens.create(f"person {n}", Role.ANNOTATOR)[1] for n in range(PEOPLE)}
        return people, Work("", open_patches(store, PATCHES), tmp_path, labels, 0.1)


def answered(server, project):
    with Store(server.data) as store:
        counts = store.patches.counts(project)[0]
    return sum(count for state, count in counts.items() if state != "open")


def test_every_patch_is_answered_exactly_once_and_no_answer_is_lost(server, work):
    people, asked = work
    moments = random.Random(5)

    def fault():
        after = moments.randrange(1, 12_000)
        broken = (Fault(reset_after=after), Fault(cut_after=after), Fault(cut_request_after=after))
        return moments.choice((GOOD, *broken))

    with FaultyProxy(int(server.url.rpartition(":")[2]), fault) as proxy:
        asked = Work(proxy.url, asked.project, asked.folder, asked.labels, asked.think)
        with Annotators(people, asked, 2) as annotators:
            for number in range(KILLS):
                some = (number + moments.random()) / KILLS * PATCHES
                wait_until(lambda some=some: answered(server, asked.project) >= some)
                assert annotators.working
                server.kill()
                server.start()
            diaries = annotators.diaries()
    assert proxy.connections > len(people)
    with Store(server.data) as store:
        assert tally(store, asked.project, diaries) == Tally(PATCHES, PATCHES, 0, 0, 0, 0, 0)
        assert store.check() == []
    assert all(diary.put for diary in diaries), "somebody had nothing to do"
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def test_a_lost_a_doubled_and_a_shared_patch_would_be_found(tmp_path):
    """The tally itself: what it must not miss."""
    with Store(tmp_path / "data") as store:
        project = open_patches(store, 3)
        one, two, three = (patch.id for patch in store.patches.list(project))
        store.answers.record(one, 0, Answer(Kind.EMPTY, "a", comment="a 0"))
        store.answers.record(one, 1, Answer(Kind.EMPTY, "b", comment="b 0"))
        store.answers.record(two, 0, Answer(Kind.EMPTY, "a", comment="another"))
        first = Diary("a", [one, two, three], {one: "a 0", two: "a 1", three: "a 2"}, [one, two, three])
        second = Diary("b", [one], {one: "b 0"}, [one], parked=1)
        # Patch three: acknowledged and put, but nowhere; patch two: another content than was put.
        assert tally(store, project, [first, second]) == Tally(
            patches=3, once=1, never=1, twice=1, lost=3, shared=1, parked=1
        )
