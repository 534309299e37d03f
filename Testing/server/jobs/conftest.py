"""A store with a project, a supervisor whose workers are probes, and a look for processes left behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from nnactive_server.dataset import RawDataset
from nnactive_server.jobs.slots import Slot
from nnactive_server.jobs.supervisor import Supervisor, Timing
from nnactive_server.store import Job, JobState, Store
from testkit import numpy_engine

HERE = Path(__file__).parent
WORKER = (sys.executable, str(HERE / "probe_worker.py"))
SECONDS = 30.0
"""Only a broken test waits so long."""


def wait_until(condition: Callable[[], Any]) -> Any:
    """What `condition` gives as soon as it is true."""
    end = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found


def processes_of(data: Path) -> list[str]:
    """Command lines that name a data folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(data) in line:
            lines.append(line)
    return lines


@pytest.fixture
def wait() -> Callable[[Callable[[], Any]], Any]:
    return wait_until


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process lives; one that only waits for its parent to take note does not."""

    def look(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    return look


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    root = (tmp_path / "data").resolve()
    root.mkdir()
    yield root
    wait_until(lambda: not processes_of(root))


@pytest.fixture
def store(data: Path) -> Iterator[Store]:
    with Store(data) as opened:
        yield opened


@pytest.fixture
def enqueue(store: Store) -> Callable[..., Job]:
    """Ask for a probe job, in a project of its own."""

    def ask(do: str, **params: Any) -> Job:
        project = store.projects.create(f"project {uuid4()}", {})
        return store.jobs.enqueue(project.id, "probe", {"do": do, **params})

    return ask


@pytest.fixture
def supervise(data: Path, store: Store) -> Iterator[Callable[..., Supervisor]]:
    """Start a supervisor; stopped when the test ends."""
    started: list[Supervisor] = []

    def start(grace: float = 5.0, slots: int = 1, **more: Any) -> Supervisor:
        places = [Slot(f"slot {i}", {"CUDA_VISIBLE_DEVICES": str(i)}) for i in range(slots)]
        timing = Timing(0.02, grace, more.pop("silence", 600.0))
        settings = {"command": WORKER, "timing": timing} | more
        supervisor = Supervisor(store, data, places, **settings)
        supervisor.start()
        started.append(supervisor)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()


@pytest.fixture
def ended(store: Store) -> Callable[..., Job]:
    """A job once it has ended, and in the state the test expects."""

    def follow(job: Job, state: JobState) -> Job:
        over = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} | {state}
        wait_until(lambda: store.jobs.get(job.id).state in over)
        found = store.jobs.get(job.id)
        assert found.state == state, found
        return found

    return follow


@pytest.fixture
def running(store: Store, data: Path) -> Callable[..., Job]:
    """A job once its function runs in an attempt."""

    def follow(job: Job, attempt: int = 1) -> Job:
        wait_until((data / f"attempt-{attempt}").exists)
        return store.jobs.get(job.id)

    return follow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RawDataset:
    """Four small, completely labelled volumes."""
    return numpy_engine.make_source(tmp_path_factory.mktemp("source"), cases=4)
