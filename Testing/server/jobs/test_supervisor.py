from __future__ import annotations

import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnactive_server.core.errors import Conflict
from nnactive_server.jobs.layout import job_log
from nnactive_server.jobs.slots import Slot
from nnactive_server.jobs.supervisor import WORKER, Supervisor, Timing
from nnactive_server.store import Job, JobState, Store

Ask = Callable[..., Job]
Start = Callable[..., Supervisor]
Wait = Callable[[Callable[[], Any]], Any]
Alive = Callable[[int], bool]


def test_a_job_succeeds_with_its_result_its_progress_and_its_log(
    enqueue: Ask, supervise: Start, ended: Ask, data: Path
) -> None:
    job = enqueue("report")
    supervise()
    done = ended(job, JobState.SUCCEEDED)
    assert done.result == {"answer": 42}
    assert done.progress is not None
    assert (done.progress.stage, done.progress.done, done.progress.total) == ("predict", 1, 4)
    assert done.progress.detail == "liver_1"
    assert [line for line in done.log if "train" in line] == ["train: 2000 steps", "all trained"]
    assert done.log.index("all trained") < done.log.index("predict: 4 steps")
    assert "all trained" in job_log(data, job.id).read_text()
    assert stat.S_IMODE(job_log(data, job.id).stat().st_mode) == 0o600


def test_a_worker_gets_a_small_environment_its_slot_and_a_place_of_its_own(
    enqueue: Ask, supervise: Start, ended: Ask, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNACTIVE_TOKEN", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    job = enqueue("environment")
    supervise()
    found = ended(job, JobState.SUCCEEDED).result
    assert "NNACTIVE_TOKEN" not in found["environment"]
    assert found["environment"]["LC_TIME"] == "C"
    assert found["environment"]["CUDA_VISIBLE_DEVICES"] == "0"
    assert (found["folder"], found["leader"], found["core"]) == (str(data), True, 0)
    assert found["nice"] >= 10


def test_a_polite_cancel_is_heard_at_the_next_check(
    enqueue: Ask, supervise: Start, ended: Ask, running: Ask, store: Store
) -> None:
    job = enqueue("wait")
    supervise()
    running(job)
    store.jobs.cancel(job.id)
    assert "stopping as asked" in ended(job, JobState.CANCELLED).log


def test_a_worker_that_does_not_listen_is_killed_with_its_children(
    enqueue: Ask,
    supervise: Start,
    ended: Ask,
    running: Ask,
    store: Store,
    data: Path,
    wait: Wait,
    alive: Alive,
) -> None:
    job = enqueue("stubborn")
    supervise(grace=0.2)
    running(job)
    wait(lambda: (data / "child").exists() and (data / "child").read_text())
    child = int((data / "child").read_text())
    assert alive(child)
    store.jobs.cancel(job.id)
    ended(job, JobState.CANCELLED)
    wait(lambda: not alive(child))


def test_children_that_a_worker_left_end_with_it(
    enqueue: Ask, supervise: Start, ended: Ask, wait: Wait, alive: Alive
) -> None:
    job = enqueue("orphan-child")
    supervise()
    child = ended(job, JobState.SUCCEEDED).result["child"]
    wait(lambda: not alive(child))


def test_forked_processes_of_a_worker_can_be_terminated(enqueue: Ask, supervise: Start, ended: Ask) -> None:
    job = enqueue("fork")
    supervise()
    assert ended(job, JobState.SUCCEEDED).result == {"exitcodes": [-signal.SIGTERM] * 10}


def test_stopping_the_server_interrupts_and_starting_it_goes_on(
    enqueue: Ask, supervise: Start, ended: Ask, running: Ask, data: Path
) -> None:
    job = enqueue("wait")
    supervisor = supervise()
    running(job)
    supervisor.stop()
    assert ended(job, JobState.INTERRUPTED).error
    supervisor.start()
    running(job, attempt=2)
    (data / "go").touch()
    assert ended(job, JobState.SUCCEEDED).result == {"attempt": 2}


def test_stopping_the_server_does_not_wait_for_the_stubborn(
    enqueue: Ask, supervise: Start, ended: Ask, running: Ask
) -> None:
    job = enqueue("stubborn")
    supervisor = supervise(grace=0.2)
    running(job)
    supervisor.stop()
    ended(job, JobState.INTERRUPTED)


def test_a_cancelled_job_stays_cancelled_when_the_server_stops(
    enqueue: Ask, supervise: Start, ended: Ask, running: Ask, store: Store
) -> None:
    job = enqueue("stubborn")
    supervisor = supervise(grace=0.5)
    running(job)
    store.jobs.cancel(job.id)
    supervisor.stop()
    ended(job, JobState.CANCELLED)


def test_as_many_jobs_run_at_once_as_there_are_slots(
    enqueue: Ask, supervise: Start, ended: Ask, store: Store, data: Path, wait: Wait
) -> None:
    jobs = [enqueue("wait") for _ in range(3)]
    supervise(slots=2)
    wait(lambda: all(store.jobs.get(job.id).progress for job in jobs[:2]))
    assert store.jobs.get(jobs[2].id).state == JobState.QUEUED
    (data / "go").touch()
    for job in jobs:
        ended(job, JobState.SUCCEEDED)


def test_only_jobs_of_known_kinds_are_taken(enqueue: Ask, supervise: Start, ended: Ask, store: Store) -> None:
    other = store.jobs.enqueue(store.projects.create("other", {}).id, "sing", {})
    job = enqueue("report")
    supervise(kinds=["probe"])
    ended(job, JobState.SUCCEEDED)
    assert store.jobs.get(other.id).state == JobState.QUEUED


def test_the_worker_of_the_package_is_found_from_the_data_folder(
    supervise: Start, ended: Ask, store: Store, data: Path
) -> None:
    (data / "json.py").write_text("raise SystemExit('a file in the data folder was taken for a module')")
    job = store.jobs.enqueue(store.projects.create("choir", {}).id, "sing", {})
    supervise(command=WORKER)
    assert "it knows cycle" in ended(job, JobState.FAILED).error


def test_a_second_supervisor_is_refused(supervise: Start) -> None:
    first = supervise()
    with pytest.raises(Conflict, match="another server"):
        supervise()
    first.stop()
    supervise()


def test_a_supervisor_that_is_woken_looks_at_once(
    enqueue: Ask, supervise: Start, store: Store, wait: Wait
) -> None:
    supervisor = supervise(timing=Timing(poll=3600.0), command=("/no/such/program",))
    job = enqueue("report")
    wait(lambda: supervisor.wake() or store.jobs.get(job.id).state == JobState.FAILED)


def test_the_threads_and_the_lock_of_a_stopped_supervisor_are_gone(supervise: Start) -> None:
    before = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        supervise().stop()
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before


def test_stopping_what_was_never_started_does_nothing(data: Path, store: Store) -> None:
    Supervisor(store, data, [Slot("cpu")]).stop()


def test_supervising_needs_neither_torch_nor_the_rooms_that_read_images() -> None:
    code = (
        "import sys; import nnactive_server.jobs.supervisor, nnactive_server.jobs.tasks,"
        " nnactive_server.jobs.slots, nnactive_server.jobs.layout;"
        " heavy = {'torch', 'nnunetv2', 'SimpleITK', 'scipy', 'matplotlib'} & set(sys.modules);"
        " print(*heavy)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
