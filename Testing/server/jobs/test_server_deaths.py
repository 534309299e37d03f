"""The server process is killed without warning; the next one takes over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nnactive_server.jobs.supervisor import Supervisor
from nnactive_server.store import Job, JobState, Store

Ask = Callable[..., Job]
Start = Callable[..., Supervisor]
Wait = Callable[[Callable[[], Any]], Any]
Alive = Callable[[int], bool]
Server = subprocess.Popen[str]


@pytest.fixture
def server(data: Path) -> Iterator[Server]:
    command = [sys.executable, str(Path(__file__).with_name("probe_server.py")), str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        yield process
        process.kill()


def kill(server: Server) -> None:
    server.kill()
    server.wait()


def test_a_worker_whose_server_is_gone_stops_by_itself_and_the_next_server_goes_on(
    enqueue: Ask, running: Ask, ended: Ask, server: Server, supervise: Start, data: Path
) -> None:
    job = enqueue("wait")
    running(job)
    kill(server)
    assert "the server is gone" in " ".join(ended(job, JobState.INTERRUPTED).log)
    supervise()
    running(job, attempt=2)
    (data / "go").touch()
    assert ended(job, JobState.SUCCEEDED).result == {"attempt": 2}


def test_the_next_server_ends_a_worker_that_does_not_stop(
    enqueue: Ask,
    running: Ask,
    ended: Ask,
    server: Server,
    supervise: Start,
    store: Store,
    data: Path,
    wait: Wait,
    alive: Alive,
) -> None:
    job = enqueue("stubborn")
    other = enqueue("report")
    pid = running(job).pid
    assert pid is not None
    wait((data / "child").exists)
    kill(server)
    supervise(grace=0.2)
    assert ended(job, JobState.SUCCEEDED).result == {"attempt": 2}
    assert not alive(pid)
    ended(other, JobState.SUCCEEDED)
    happened = [(event.kind, event.subject) for event in store.events.after(0)]
    # While the old worker lives, nobody else is let to the GPU it may hold.
    assert happened.index(("job.interrupted", job.id)) < happened.index(("job.running", other.id))


def test_a_worker_that_only_the_next_server_asks_to_stop_goes_on(
    enqueue: Ask, running: Ask, ended: Ask, server: Server, supervise: Start, data: Path
) -> None:
    job = enqueue("silence")
    running(job)
    kill(server)
    supervise(grace=10.0)
    (data / "go").touch()
    assert ended(job, JobState.SUCCEEDED).result == {"attempt": 1}


def test_a_cancelled_job_of_a_dead_server_stays_cancelled(
    enqueue: Ask, running: Ask, ended: Ask, server: Server, supervise: Start, store: Store
) -> None:
    job = enqueue("stubborn")
    running(job)
    kill(server)
    store.jobs.cancel(job.id)
    supervise(grace=0.2)
    ended(job, JobState.CANCELLED)


def test_a_job_that_never_got_its_worker_goes_on(
    enqueue: Ask, ended: Ask, supervise: Start, store: Store
) -> None:
    """The process id in the row is alive and belongs to somebody else, who must not be harmed."""
    job = enqueue("report")
    assert store.jobs.claim(os.getpid()) is not None
    supervise(grace=0.1)
    assert ended(job, JobState.SUCCEEDED).attempt == 2


def worker_command(data: Path, job: Job) -> list[str]:
    worker = Path(__file__).with_name("probe_worker.py")
    return [sys.executable, str(worker), str(data), job.id, str(job.attempt)]


def test_a_late_worker_of_a_dead_server_does_no_work(enqueue: Ask, data: Path, store: Store) -> None:
    enqueue("report")
    first = store.jobs.claim(os.getpid())
    assert first is not None
    store.jobs.finish(first.id, first.attempt, JobState.INTERRUPTED)
    found = subprocess.run(worker_command(data, first), capture_output=True, check=False)
    assert found.returncode == 1
    assert not (data / "attempt-1").exists()
    assert store.jobs.get(first.id).state == JobState.INTERRUPTED


def test_a_worker_whose_attempt_was_given_up_ends_at_once(
    enqueue: Ask, running: Ask, data: Path, store: Store
) -> None:
    enqueue("silence")
    job = store.jobs.claim(os.getpid())
    assert job is not None
    with subprocess.Popen(worker_command(data, job), start_new_session=True) as process:
        running(job)
        store.jobs.finish(job.id, job.attempt, JobState.FAILED)
        assert process.wait() == -signal.SIGKILL
    assert store.jobs.get(job.id).state == JobState.FAILED


def test_a_server_that_is_asked_to_stop_interrupts_its_jobs(
    enqueue: Ask, running: Ask, ended: Ask, server: Server
) -> None:
    job = enqueue("wait")
    running(job)
    assert server.stdin is not None
    server.stdin.close()
    assert server.wait() == 0
    ended(job, JobState.INTERRUPTED)


def test_jobs_go_on_after_many_deaths_of_their_server(
    enqueue: Ask, running: Ask, ended: Ask, data: Path, supervise: Start
) -> None:
    """Deaths of the server do not count as deaths of the worker."""
    job = enqueue("wait")
    command = [sys.executable, str(Path(__file__).with_name("probe_server.py")), str(data)]
    for attempt in range(1, 5):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            pid = running(job, attempt=attempt).pid
            process.kill()
        if attempt % 2 and pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    (data / "go").touch()
    supervise()
    ended(job, JobState.SUCCEEDED)
