"""Counts and short lists for whoever watches a server."""

from __future__ import annotations

import pytest

from nnactive_server.store import Answer, Effort, JobState, Kind, efforts


def test_cases_are_counted_by_project(store, make_world):
    first, second = make_world(store, name="A"), make_world(store, name="B")
    store.cases.add(second.project.id, "case_2", second.case.geometry, second.case.images)
    assert store.cases.count(first.project.id) == 1
    assert store.cases.count(second.project.id) == 2
    assert store.cases.count("nobody") == 0


@pytest.fixture
def jobs(store, clock):
    """Jobs of five projects, each with another end, in the order of their ends."""
    ids = []
    for number, end in enumerate(
        (JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED, JobState.INTERRUPTED, JobState.SUCCEEDED)
    ):
        store.jobs.enqueue(store.projects.create(f"P{number}", {}).id, "cycle", {})
        clock.move(1)
        job = store.jobs.claim(pid=1)
        ids.append(store.jobs.finish(job.id, job.attempt, end).id)
    return ids


def test_the_last_ended_jobs_come_newest_first_and_unfinished_ones_not(store, jobs):
    assert [job.id for job in store.jobs.ended(10)] == [jobs[4], jobs[2], jobs[1], jobs[0]]
    assert [job.id for job in store.jobs.ended(2)] == [jobs[4], jobs[2]]


def test_jobs_are_listed_by_state_and_project(store, jobs):
    (interrupted,) = store.jobs.list(states=[JobState.INTERRUPTED])
    assert interrupted.id == jobs[3]
    succeeded = store.jobs.list(states=(JobState.SUCCEEDED, JobState.FAILED))
    assert [job.id for job in succeeded] == [jobs[0], jobs[1], jobs[4]]
    assert store.jobs.list(interrupted.project, [JobState.SUCCEEDED]) == ()
    assert len(store.jobs.list()) == 5


def test_effort_counts_the_newest_answer_of_each_reading(store, world, labelled, clock):
    first, second = world.patches[:2]
    store.answers.record(first.id, 0, labelled("anna", seconds=100.0, edits=3))
    clock.move(10)
    store.answers.record(first.id, 1, labelled("anna", seconds=40.0, edits=2))
    store.answers.record(second.id, 0, Answer(Kind.EMPTY, "anna", seconds=5.0))
    clock.move(10)
    store.answers.record(first.id, 0, Answer(Kind.EMPTY, "ben", seconds=7.0), reading=2)
    assert efforts(store.database, world.project.id) == (
        Effort("anna", 2, 0, 45.0, 2, clock() - 10),
        Effort("ben", 0, 1, 7.0, 0, clock()),
    )


def test_a_reopened_answer_is_nobody_s_effort(store, world):
    patch = world.patches[0].id
    store.answers.record(patch, 0, Answer(Kind.EMPTY, "anna", seconds=5.0))
    store.answers.record(patch, 1, Answer(Kind.REOPENED, "ben"))
    assert efforts(store.database, world.project.id) == ()


def test_effort_in_another_project_does_not_count(store, make_world):
    mine, other = make_world(store, name="A"), make_world(store, name="B")
    store.answers.record(other.patches[0].id, 0, Answer(Kind.EMPTY, "anna", seconds=5.0))
    assert efforts(store.database, mine.project.id) == ()
    assert [one.annotator for one in efforts(store.database, other.project.id)] == ["anna"]
