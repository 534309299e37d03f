"""Server and worker die in a cycle: the job goes on by itself and proposes what it would have anyway."""

import os
import shutil
import signal
import time
from contextlib import suppress

import numpy as np
import pytest

from nnactive_server.jobs.reporting import BEAT_SECONDS, KEPT_BYTES
from nnactive_server.store import JobState, Store
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.values import Box, Label
from testkit.faults import free_port, processes_of, wait_until
from testkit.live_server import LiveServer
from testkit.numpy_engine import make_source

PATCH = (4, 4, 4)
STAGES = ("answers", "preprocess", "train", "evaluate", "predict", "query")
OVER = ("succeeded", "failed", "cancelled")
LONG = 300.0
STEPS = 15
"""Of each member: so many that no machine is done with them before it is told to stop."""


@pytest.fixture(scope="module")
def asleep(tmp_path_factory):
    """The data folder of a server that is not running, with a project ready for its first training."""
    folder = tmp_path_factory.mktemp("asleep").resolve()
    truth = make_source(folder / "truth", cases=4)
    with LiveServer(folder / "data") as server:
        ann = Client(server.url, server.tokens["ann"])
        project = ann.create_project(
            "deaths",
            [Label(name) for name in truth.labels.classes],
            ["MR"],
            patch_size=PATCH,
            query_size=3,
            profile="smoke",
            profile_overrides={"iterations": STEPS},
            planned_cycles=3,
        )
        for name in truth.cases:
            case = ann.add_case(project.id, [ann.upload(truth.image_paths(name)[0])])
            labels = truth.read_label(name).array
            box = Box(tuple(n // 2 - 2 for n in labels.shape), PATCH)
            patch = ann.place_patch(project.id, case.id, box)
            ann.annotate(patch.id, Answer(Kind.LABELLED, labels[box.slices]), 0)
        ann.transport.close()
    return folder / "data", server.tokens, project.id


@pytest.fixture
def wake(asleep, data):
    """Start a server on a copy of that folder."""
    made = []

    def start(where=data):
        folder, tokens, project = asleep
        shutil.copytree(folder, where, dirs_exist_ok=True)
        server = LiveServer(where, ["--port", str(free_port())], people=False)
        server.tokens = tokens
        made.append(server)
        return server.start(), project

    yield start
    for server in made:
        if server.process is not None:
            server.stop()


def outcome(server, project):
    """What a cycle leaves: the boxes of its batch in their order, and what was predicted."""
    with Store(server.data) as store:
        names = {case.id: case.name for case in store.cases.list(project)}
        batch = [
            (names[patch.case], patch.box.start, patch.box.size, patch.group, patch.rank)
            for patch in store.patches.list(project, cycle=1)
        ]
        assert store.check() == []
        job = store.jobs.list(project)[0]
    told = ("model", "patches", "annotated_voxels", "dice_per_class", "quality", "proposed")
    return batch, {name: job.result[name] for name in told}


@pytest.fixture(scope="module")
def undisturbed(asleep, tmp_path_factory):
    """What the cycle leaves when nobody disturbs it."""
    folder, tokens, project = asleep
    data = tmp_path_factory.mktemp("undisturbed").resolve() / "data"
    shutil.copytree(folder, data)
    server = LiveServer(data, people=False)
    server.tokens = tokens
    with server:
        job = begin(server, project)
        finished(server, job)
        return outcome(server, project)


def begin(server, project):
    reply = server.call("POST", f"/v1/projects/{project}/cycles")
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def look(server, job):
    """The job as the store has it, server or not."""
    with Store(server.data) as store:
        return store.jobs.get(job)


def finished(server, job, state=JobState.SUCCEEDED):
    with Store(server.data) as store:
        found = wait_until(lambda: one if (one := store.jobs.get(job)).state in OVER else None, LONG)
    assert found.state == state, (found.error, found.log[-20:])
    return found


def at(server, job, stage, attempt=1):
    """Wait until an attempt is in a stage or beyond it; the job then."""
    reached = STAGES[STAGES.index(stage) :]

    def there(store):
        now = store.jobs.get(job)
        assert now.state not in ("failed", "cancelled"), now.error
        if now.state == JobState.SUCCEEDED:
            return now
        begun = now.attempt >= attempt and now.state == JobState.RUNNING
        return now if begun and now.progress and now.progress.stage in reached else None

    with Store(server.data) as store:
        return wait_until(lambda: there(store), LONG)


def kill_worker(job):
    with suppress(ProcessLookupError):
        os.kill(job.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_cycle_goes_on_after_its_server_ended(wake, undisturbed, stage, end):
    server, project = wake()
    job = begin(server, project)
    at(server, job, stage)
    getattr(server, end)()
    server.start()
    finished(server, job)
    assert outcome(server, project) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_cycle_goes_on_after_its_worker_was_killed(wake, undisturbed, stage):
    server, project = wake()
    job = begin(server, project)
    kill_worker(at(server, job, stage))
    finished(server, job)
    assert outcome(server, project) == undisturbed


def test_a_cycle_survives_a_cancel_a_resume_and_deaths_of_server_and_worker(wake, undisturbed):
    """The short form of the tests above, each death in another stage."""
    server, project = wake()
    job = begin(server, project)
    done = cancel_in_training(server, project, job)
    assert server.call("POST", f"/v1/jobs/{job}/resume").status_code == 202
    assert at(server, job, "train", attempt=2).progress.stage != "train" or steps(server, job) >= done
    stopped_with_nothing_left(server, job)
    server.start()
    kill_worker(at(server, job, "train", attempt=3))
    at(server, job, "evaluate", attempt=4)
    server.kill()
    server.start()
    finished(server, job)
    assert outcome(server, project) == undisturbed


def stopped_with_nothing_left(server, job):
    """Stop a server while a job is at work; nothing of its worker may be left."""
    assert server.stop() == 0
    found = look(server, job)
    assert found.state == JobState.INTERRUPTED
    assert np.isfinite(found.finished)
    wait_until(lambda: not processes_of(server.data))


def cancel_in_training(server, project, job):
    """Cancel a job that has begun to train, and wait for its end; how many steps it had done."""
    root = server.data / "projects" / project / "cycle_000"
    wait_until(lambda: any(root.rglob("*.pt*")), LONG)
    pid = look(server, job).pid
    # Held, so that the training cannot end before it is told of the wish to stop.
    os.kill(pid, signal.SIGSTOP)
    try:
        assert server.call("POST", f"/v1/jobs/{job}/cancel").status_code == 202
        wait_until(lambda: time.time() - look(server, job).heartbeat > 1.5 * BEAT_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)
    found = finished(server, job, JobState.CANCELLED)
    return found.progress.done if found.progress and found.progress.stage == "train" else 0


def steps(server, job):
    """Steps of the training, as far as they are told; many when it is over."""
    progress = look(server, job).progress
    return progress.done if progress and progress.stage == "train" else 1000


@pytest.mark.slow
def test_a_worker_that_is_killed_three_times_fails_in_words_and_can_be_resumed(wake, undisturbed):
    server, project = wake()
    job = begin(server, project)
    for attempt in (1, 2, 3):
        found = wait_until(
            lambda attempt=attempt: (
                one
                if (one := look(server, job)).attempt == attempt and one.pid not in (None, server.process.pid)
                else None
            )
        )
        kill_worker(found)
    found = finished(server, job, JobState.FAILED)
    assert "killed (SIGKILL)" in found.error
    assert "3 times in a row" in found.error
    assert server.call("POST", f"/v1/jobs/{job}/resume").status_code == 202
    finished(server, job)
    assert outcome(server, project) == undisturbed


@pytest.mark.slow
def test_a_training_that_fills_the_disk_ends_in_words_and_goes_on_when_there_is_space(
    small_disk, wake, undisturbed
):
    folder = small_disk(300)
    server, project = wake(folder / "data")
    job = begin(server, project)
    wait_until(lambda: any((server.data / "projects" / project / "cycle_000").rglob("*.pt*")), LONG)
    filler = folder / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - KEPT_BYTES // 2)
    found = finished(server, job, JobState.FAILED)
    assert found.error.startswith("disk is full: free some space, then resume")
    assert server.call("GET", f"/v1/jobs/{job}").json()["error"] == found.error
    # Somebody who tries again too early is told the same.
    assert server.call("POST", f"/v1/jobs/{job}/resume").status_code == 202
    wait_until(lambda: look(server, job).attempt == 2, LONG)
    assert finished(server, job, JobState.FAILED).error.startswith("disk is full")
    filler.unlink()
    assert server.call("POST", f"/v1/jobs/{job}/resume").status_code == 202
    finished(server, job)
    assert outcome(server, project) == undisturbed
