"""Many at once: threads of one process, and processes on one file."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from itertools import chain

from nnactive_server.core.errors import Conflict
from nnactive_server.store import Answer, JobState, Kind

PATCHES = 200
ANNOTATE = """
import pathlib, sys
from nnactive_server.store import Answer, Kind, Store
root, project, name = sys.argv[1:]
with Store(pathlib.Path(root)) as store:
    input()
    while (patch := store.leases.next_open(project, name, 600)) is not None:
        labels = store.blobs.put(f"{name} {patch.id}".encode())
        store.answers.record(patch.id, 0, Answer(Kind.LABELLED, name, labels=labels))
        print(patch.id, flush=True)
"""
CLAIM = """
import os, pathlib, sys
from nnactive_server.store import Store
with Store(pathlib.Path(sys.argv[1])) as store:
    input()
    while (job := store.jobs.claim(os.getpid())) is not None:
        print(job.id, flush=True)
"""


OPEN = """
import pathlib, sys
from nnactive_server.store import Store
input()
for i in range(20):
    Store(pathlib.Path(sys.argv[1]) / str(i)).close()
"""


def run_all(work, count: int) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def together(code: str, *arguments: list[str]) -> list[list[str]]:
    """Run a script once for each list of arguments, all at the same time; the lines each one printed."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, *each], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for each in arguments
    ]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    lines = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * len(children)
    return lines


def test_twenty_threads_that_want_patches_never_get_the_same_one(store, make_world):
    world = make_world(store, PATCHES)
    got: list[list[str]] = [[] for _ in range(20)]

    def annotate(i: int) -> None:
        while (patch := store.leases.next_open(world.project.id, f"annotator {i}", 60)) is not None:
            got[i].append(patch.id)
            labels = store.blobs.put(f"{i} {patch.id}".encode())
            store.answers.record(patch.id, 0, Answer(Kind.LABELLED, f"annotator {i}", labels=labels))

    run_all(annotate, 20)
    counts = Counter(patch for each in got for patch in each)
    assert counts == {p.id: 1 for p in world.patches}
    for i, each in enumerate(got):
        for patch in each:
            (record,) = store.answers.history(patch)
            assert record.answer.annotator == f"annotator {i}"
            assert store.blobs.read(record.answer.labels) == f"{i} {patch}".encode()
    assert store.leases.held(world.project.id) == ()
    assert store.check() == []


def test_twenty_threads_that_hold_patches_all_hold_different_ones(store, make_world):
    world = make_world(store, PATCHES)
    got: list[str] = []

    def hold(i: int) -> None:
        mine: list[str] = []
        while (p := store.leases.next_open(world.project.id, str(i), 60, besides=mine)) is not None:
            mine.append(p.id)
        got.extend(mine)

    run_all(hold, 20)
    assert sorted(got) == sorted(p.id for p in world.patches)


def test_of_twenty_answers_to_one_revision_exactly_one_counts(store, world):
    outcome: list[str] = []

    def answer(i: int) -> None:
        try:
            store.answers.record(world.patches[0].id, 0, Answer(Kind.EMPTY, str(i)))
            outcome.append(f"kept {i}")
        except Conflict as conflict:
            outcome.append(f"lost to {conflict.current.answer.annotator}")

    run_all(answer, 20)
    (record,) = store.answers.history(world.patches[0].id)
    winner = record.answer.annotator
    assert Counter(outcome) == {f"kept {winner}": 1, f"lost to {winner}": 19}


def test_processes_on_one_file_never_get_the_same_patch(store, make_world, root):
    world = make_world(store, 60)
    got = together(ANNOTATE, *[[str(root), world.project.id, name] for name in ("anna", "ben", "carl")])
    assert sorted(chain.from_iterable(got)) == sorted(p.id for p in world.patches)
    authors = {a.patch: a.answer.annotator for a in store.answers.current(world.project.id)}
    for name, patches in zip(("anna", "ben", "carl"), got, strict=True):
        assert {authors[patch] for patch in patches} <= {name}
    assert store.check() == []


def test_processes_can_make_open_and_close_a_store_at_the_same_time(root):
    together(OPEN, *[[str(root)]] * 4)


def test_supervisors_on_one_file_never_start_the_same_job(store, root):
    jobs = [store.jobs.enqueue(store.projects.create(f"p{i}", {}).id, "cycle", {}).id for i in range(30)]
    got = together(CLAIM, [str(root)], [str(root)])
    assert sorted(chain.from_iterable(got)) == sorted(jobs)
    assert {(job.state, job.attempt) for job in store.jobs.list()} == {(JobState.RUNNING, 1)}
