from __future__ import annotations

import itertools

import pytest

from nnactive_server.core.errors import Conflict, InvalidInput, NotFound
from nnactive_server.store import JobState, Progress
from nnactive_server.store.jobs import LOG_LINES

ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED)


@pytest.fixture
def project(store) -> str:
    return store.projects.create("Liver", {}).id


@pytest.fixture
def queued(store, project):
    return store.jobs.enqueue(project, "cycle", {"number": 2})


@pytest.fixture
def running(store, queued):
    claimed = store.jobs.claim(pid=11)
    assert claimed.id == queued.id
    return claimed


def test_a_job_goes_from_queued_to_succeeded(store, queued, clock):
    assert (queued.state, queued.attempt, queued.params) == ("queued", 0, {"number": 2})
    clock.move(3)
    job = store.jobs.claim(pid=77)
    assert (job.id, job.state, job.attempt, job.pid) == (queued.id, "running", 1, 77)
    assert job.started == job.heartbeat == clock()
    clock.move(3)
    done = store.jobs.finish(job.id, 1, JobState.SUCCEEDED, result={"dice": 0.9})
    assert (done.state, done.result, done.finished) == ("succeeded", {"dice": 0.9}, clock())
    assert store.jobs.get(job.id) == done
    assert store.jobs.claim(pid=77) is None


def test_jobs_of_a_project_run_one_after_the_other_and_those_of_others_beside_it(store, project):
    first = store.jobs.enqueue(project, "cycle", {})
    second = store.jobs.enqueue(project, "export", {})
    other = store.jobs.enqueue(store.projects.create("Other", {}).id, "cycle", {})
    assert store.jobs.claim(1).id == first.id
    assert store.jobs.claim(1).id == other.id
    assert store.jobs.claim(1) is None
    store.jobs.finish(first.id, 1, JobState.FAILED, "no memory")
    assert store.jobs.claim(1).id == second.id


def test_a_worker_can_ask_for_some_kinds_only(store, project):
    store.jobs.enqueue(project, "cycle", {})
    export = store.jobs.enqueue(project, "export", {})
    assert store.jobs.claim(1, kinds=["import"]) is None
    assert store.jobs.claim(1, kinds=["export"]).id == export.id


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.INTERRUPTED])
def test_unfinished_work_is_not_queued_twice(store, project, queued, state):
    if state != JobState.QUEUED:
        store.jobs.claim(1)
    if state == JobState.INTERRUPTED:
        store.jobs.interrupt_orphans()
    with pytest.raises(Conflict, match="already") as caught:
        store.jobs.enqueue(project, "cycle", {})
    assert (caught.value.current.id, caught.value.current.state) == (queued.id, state)


def test_a_beat_keeps_progress_and_the_last_log_lines(store, running, clock):
    clock.move(9)
    progress = Progress("train", 10, 250, "fold 1", eta=120.0)
    assert store.jobs.beat(running.id, 1, progress, ["a", "x" * 2000], pid=99) is False
    store.jobs.beat(running.id, 1, lines=[str(i) for i in range(LOG_LINES - 1)])
    job = store.jobs.get(running.id)
    assert (job.progress, job.heartbeat, job.pid) == (progress, clock(), 99)
    assert len(job.log) == LOG_LINES
    assert job.log[-1] == str(LOG_LINES - 2)
    assert job.log[0] == "x" * 500


def test_older_progress_makes_room_for_newer_events(store, running):
    store.jobs.beat(running.id, 1, Progress("train", 0, 9))
    seq = store.events.last()
    for i in range(1, 9):
        store.jobs.beat(running.id, 1, Progress("train", i, 9))
        store.jobs.beat(running.id, 1, Progress("train", i, 9))
    told = [event for event in store.events.after(0) if event.kind == "job.progress"]
    assert [event.payload["done"] for event in told] == [8]
    assert told[0].seq == seq + 8, "numbers are not used twice"


def test_a_running_job_is_told_to_stop(store, running):
    assert store.jobs.cancel(running.id).cancel_requested
    assert store.jobs.beat(running.id, 1) is True
    assert store.jobs.finish(running.id, 1, JobState.CANCELLED).state == "cancelled"


def test_waiting_jobs_are_cancelled_at_once(store, queued):
    assert store.jobs.cancel(queued.id).state == "cancelled"
    assert store.jobs.claim(1) is None


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED])
def test_a_job_that_did_not_succeed_can_go_on_as_a_new_attempt(store, running, end):
    store.jobs.cancel(running.id)
    store.jobs.finish(running.id, 1, end, "why")
    assert store.jobs.get(running.id).error == "why"
    store.jobs.resume(running.id)
    job = store.jobs.claim(12)
    assert (job.attempt, job.error, job.cancel_requested, job.finished) == (2, "", False, None)
    assert store.jobs.beat(job.id, 2) is False


def test_a_worker_that_was_given_up_cannot_disturb_the_next_attempt(store, running):
    store.jobs.interrupt_orphans()
    for _ in range(2):
        for call in (
            lambda: store.jobs.beat(running.id, 1, Progress("train", 1, 2)),
            lambda: store.jobs.finish(running.id, 1, JobState.SUCCEEDED),
        ):
            with pytest.raises(Conflict, match="stop working"):
                call()
        if store.jobs.get(running.id).state == JobState.INTERRUPTED:
            store.jobs.resume(running.id)
            store.jobs.claim(2)
    assert store.jobs.get(running.id).state == JobState.RUNNING


def test_orphans_are_those_without_a_sign_of_life_or_a_process(store, running, clock):
    assert store.jobs.interrupt_orphans(silent_seconds=30) == ()
    clock.move(29)
    store.jobs.beat(running.id, 1)
    clock.move(29)
    assert store.jobs.interrupt_orphans(silent_seconds=30) == ()
    assert store.jobs.interrupt_orphans(alive=lambda job: job.pid == 11) == ()
    clock.move(1)
    (orphan,) = store.jobs.interrupt_orphans(silent_seconds=30, alive=lambda job: job.pid == 12)
    assert (orphan.id, orphan.state) == (running.id, "interrupted")
    assert store.jobs.get(running.id) == orphan


LEGAL = {
    ("queued", "claim"): "running",
    ("queued", "cancel"): "cancelled",
    ("running", "cancel"): "running",
    ("running", "succeeded"): "succeeded",
    ("running", "failed"): "failed",
    ("running", "cancelled"): "cancelled",
    ("running", "interrupted"): "interrupted",
    ("interrupted", "resume"): "queued",
    ("interrupted", "cancel"): "cancelled",
    ("failed", "resume"): "queued",
    ("cancelled", "resume"): "queued",
}


def in_state(store, project, state):
    job = store.jobs.enqueue(project, "cycle", {})
    if state != JobState.QUEUED:
        store.jobs.claim(1)
    if state in ENDS:
        store.jobs.finish(job.id, 1, state)
    return job.id


@pytest.mark.parametrize(
    ("state", "step"),
    list(itertools.product(JobState, ["claim", "cancel", "resume", *map(str, ENDS), "queued", "running"])),
)
def test_only_legal_steps_are_taken(store, project, state, step):
    job = in_state(store, project, state)
    calls = {
        "claim": lambda: store.jobs.claim(1),
        "cancel": lambda: store.jobs.cancel(job),
        "resume": lambda: store.jobs.resume(job),
    }
    call = calls.get(step, lambda: store.jobs.finish(job, 1, JobState(step)))
    expected = LEGAL.get((state, step))
    if expected is None and step != "claim":
        with pytest.raises(Conflict):
            call()
    else:
        call()
    assert store.jobs.get(job).state == (expected or state)


def test_a_job_is_not_resumed_beside_a_newer_one_of_its_kind(store, project, running):
    store.jobs.finish(running.id, 1, JobState.FAILED)
    newer = store.jobs.enqueue(project, "cycle", {})
    with pytest.raises(Conflict) as caught:
        store.jobs.resume(running.id)
    assert caught.value.current == newer


def test_jobs_can_be_listed(store, project, running):
    other = store.jobs.enqueue(project, "export", {})
    assert [job.id for job in store.jobs.list(project)] == [running.id, other.id]
    assert [job.id for job in store.jobs.list(states=[JobState.QUEUED])] == [other.id]
    assert store.jobs.list("elsewhere") == ()


def test_each_step_is_told_as_an_event(store, running):
    store.jobs.finish(running.id, 1, JobState.FAILED, "no memory")
    store.jobs.resume(running.id)
    told = [e for e in store.events.after(0) if e.subject == running.id]
    assert [e.kind for e in told] == ["job.queued", "job.running", "job.failed", "job.queued"]
    assert told[2].payload["error"] == "no memory"


def test_unknown_jobs_and_values_that_are_no_json_are_refused(store, project):
    for call in (
        lambda: store.jobs.get("X"),
        lambda: store.jobs.cancel("X"),
        lambda: store.jobs.beat("X", 1),
    ):
        with pytest.raises(NotFound, match="X"):
            call()
    with pytest.raises(NotFound):
        store.jobs.enqueue("X", "cycle", {})
    with pytest.raises(InvalidInput):
        store.jobs.enqueue(project, "cycle", {"a": object()})
