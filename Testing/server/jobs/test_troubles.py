from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnactive_server.jobs.layout import job_log
from nnactive_server.jobs.supervisor import Supervisor
from nnactive_server.store import Job, JobState, Store, database

Ask = Callable[..., Job]
Start = Callable[..., Supervisor]
Wait = Callable[[Callable[[], Any]], Any]


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("crash", "ValueError: the sky fell down"),
        ("leave", "no word"),
        ("explain", "loop_003.json"),
        ("memory", "smaller profile"),
        ("gpu-memory", "smaller profile"),
        ("disk-full", "disk is full"),
        ("unkeepable", "result"),
        ("nothing-known", "KeyError"),
    ],
)
def test_a_failure_says_why(enqueue: Ask, supervise: Start, ended: Ask, do: str, words: str) -> None:
    job = enqueue(do)
    supervise()
    assert words in ended(job, JobState.FAILED).error


def test_the_reason_of_a_failure_is_never_a_line_of_an_earlier_attempt(
    enqueue: Ask, supervise: Start, ended: Ask, data: Path
) -> None:
    job = enqueue("leave")
    job_log(data, job.id).parent.mkdir()
    job_log(data, job.id).write_text("ValueError: of yesterday\n")
    supervise()
    assert "yesterday" not in ended(job, JobState.FAILED).error


def test_a_killed_worker_is_started_again(enqueue: Ask, supervise: Start, ended: Ask) -> None:
    job = enqueue("killed", times=2)
    supervise()
    assert ended(job, JobState.SUCCEEDED).result == {"attempt": 3}


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "ran out of memory"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_a_worker_that_is_killed_again_and_again_fails_in_words(
    enqueue: Ask, supervise: Start, ended: Ask, store: Store, number: int, words: str
) -> None:
    job = enqueue("killed", times=3, signal=number)
    supervise()
    failed = ended(job, JobState.FAILED)
    assert words in failed.error
    assert failed.attempt == 3
    store.jobs.resume(job.id)
    assert ended(job, JobState.SUCCEEDED).attempt == 4


def test_a_worker_that_somebody_asks_to_stop_goes_on(
    enqueue: Ask, supervise: Start, ended: Ask, running: Ask, data: Path
) -> None:
    job = enqueue("wait")
    supervise()
    pid = running(job).pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    running(job, attempt=2)
    (data / "go").touch()
    assert ended(job, JobState.SUCCEEDED).result == {"attempt": 2}


def test_a_job_that_gives_up_by_itself_does_not_start_for_ever(
    enqueue: Ask, supervise: Start, store: Store, data: Path, wait: Wait
) -> None:
    job = enqueue("give-up")
    supervisor = supervise()
    wait(lambda: store.jobs.get(job.id).attempt == 3)
    wait(lambda: store.jobs.get(job.id).state == JobState.INTERRUPTED)
    supervisor.stop()
    assert not (data / "attempt-4").exists()


def test_a_worker_that_cannot_be_started_is_a_failure(enqueue: Ask, supervise: Start, ended: Ask) -> None:
    job = enqueue("report")
    supervise(command=("/no/such/program",))
    assert "cannot be started" in ended(job, JobState.FAILED).error


def test_a_busy_store_delays_ends_and_loses_none(
    enqueue: Ask,
    supervise: Start,
    ended: Ask,
    running: Ask,
    store: Store,
    data: Path,
    wait: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    job = enqueue("wait")
    supervise()
    running(job)
    other = store.database.connect()
    other.execute("BEGIN IMMEDIATE")
    (data / "go").touch()
    wait(lambda: "trying again" in job_log(data, job.id).read_text())
    other.execute("ROLLBACK")
    other.close()
    assert ended(job, JobState.SUCCEEDED).result == {"attempt": 1}


def test_a_full_disk_delays_the_end_and_does_not_lose_it(
    enqueue: Ask, supervise: Start, ended: Ask, data: Path
) -> None:
    job = enqueue("full-store")
    supervise()
    assert ended(job, JobState.SUCCEEDED).result == {"answer": 42}
    assert "no sign of life could be stored" in job_log(data, job.id).read_text()


def test_the_log_tells_of_a_worker_that_gives_no_sign_of_life(
    enqueue: Ask,
    supervise: Start,
    running: Ask,
    ended: Ask,
    data: Path,
    wait: Wait,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = enqueue("silence")
    supervisor = supervise(silence=0.3, grace=0.2)
    pid = running(job).pid
    assert pid is not None
    with caplog.at_level(logging.WARNING):
        os.kill(pid, signal.SIGSTOP)
        wait(lambda: "no sign of life" in caplog.text)
    os.kill(pid, signal.SIGCONT)
    (data / "go").touch()
    ended(job, JobState.SUCCEEDED)
    supervisor.stop()
