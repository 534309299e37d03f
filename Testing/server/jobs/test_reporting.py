from __future__ import annotations

from pathlib import Path

import pytest

from nnactive_server.core.errors import Conflict, LoopError, NoSpace
from nnactive_server.jobs import reporting
from nnactive_server.jobs.endings import DISK_FULL, OUT_OF_MEMORY, explain, last_line, signal_name
from nnactive_server.jobs.layout import job_log, project_root
from nnactive_server.jobs.reporting import JobMonitor


class Time:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(reporting, "time", time)
    return time


def eta(monitor: JobMonitor) -> float | None:
    progress = monitor.progress()
    assert progress is not None
    return progress.eta


def test_there_is_no_progress_before_the_first_report() -> None:
    assert JobMonitor().progress() is None


def test_the_estimate_follows_the_rate_of_the_stage(time: Time) -> None:
    monitor = JobMonitor()
    monitor.report("train", 50, 100)  # goes on from a checkpoint
    assert eta(monitor) is None
    time.now += 20
    monitor.report("train", 60, 100)
    assert eta(monitor) == 80
    time.now += 30
    assert eta(monitor) == 50
    time.now += 100
    assert eta(monitor) == 0


def test_the_estimate_reaches_over_the_stages_to_come(time: Time) -> None:
    monitor = JobMonitor({"train": 100.0, "predict": 30.0, "query": 7.0})
    monitor.report("train", 1, 10)
    assert eta(monitor) == 90 + 37
    time.now += 20
    monitor.report("train", 2, 10)
    assert eta(monitor) == 160 + 37
    monitor.report("predict", 0, 3)
    assert eta(monitor) == 30 + 7
    monitor.report("write", 0, 1)
    assert eta(monitor) is None


def test_a_stage_that_begins_again_is_measured_anew(time: Time) -> None:
    monitor = JobMonitor()
    monitor.report("evaluate", 1, 4)
    time.now += 100
    monitor.report("evaluate", 4, 4)
    monitor.report("evaluate", 1, 4)
    time.now += 2
    monitor.report("evaluate", 2, 4)
    assert eta(monitor) == 4
    assert monitor.take_lines() == ("evaluate: 4 steps", "evaluate: 4 steps")


def test_stages_that_alternate_are_one_log_line_each() -> None:
    monitor = JobMonitor()
    for done in range(1, 6):
        monitor.report("predict", done, 5)
        monitor.report("query", done, 5)
    assert monitor.take_lines() == ("predict: 5 steps", "query: 5 steps")
    assert monitor.take_lines() == ()


def test_lines_that_could_not_be_told_come_first_next_time() -> None:
    monitor = JobMonitor()
    monitor.line("first\nsecond")
    taken = monitor.take_lines()
    monitor.line("third")
    monitor.put_back(taken)
    assert monitor.take_lines() == ("first", "second", "third")


def test_a_flood_of_lines_keeps_the_newest() -> None:
    monitor = JobMonitor()
    for number in range(1000):
        monitor.line(str(number))
    assert monitor.take_lines()[-1] == "999"


class OutOfMemoryError(RuntimeError):
    """Like torch's."""


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (LoopError("loop_000.json: is missing"), "loop_000.json: is missing"),
        (MemoryError(), OUT_OF_MEMORY),
        (OutOfMemoryError("whatever"), OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), OUT_OF_MEMORY),
        (NoSpace("state.sqlite: no space"), f"{DISK_FULL} (state.sqlite: no space)"),
        (Conflict("busy"), "busy"),
        (RuntimeError("shapes differ"), None),
        (OSError(2, "no such file"), None),
    ],
)
def test_errors_are_explained_or_left_to_their_traceback(problem: Exception, words: str | None) -> None:
    assert explain(problem) == words


def test_the_last_line_is_the_last_with_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == ""
    log.write_bytes(b"old\n" + b"x" * 9000 + b"\nthe end \xff\n\n")
    assert last_line(log) == "the end \ufffd"
    assert last_line(log, log.stat().st_size) == ""


def test_signals_have_names() -> None:
    assert signal_name(-9) == "SIGKILL"
    assert signal_name(-200) == "signal 200"


def test_files_of_projects_and_jobs_lie_apart(tmp_path: Path) -> None:
    assert project_root(tmp_path, "01P") == tmp_path / "projects" / "01P"
    assert job_log(tmp_path, "01J") == tmp_path / "logs" / "01J.log"
