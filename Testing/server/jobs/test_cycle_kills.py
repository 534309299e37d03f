"""A cycle that is killed anywhere and resumed ends as one that was not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnactive_server.core.errors import Cancelled
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset import RawDataset
from nnactive_server.store import Job, Kind, Store
from testkit import numpy_engine
from testkit.clinic import Clinic


class Killed(BaseException):
    """As a killed process: nothing of ours catches it."""


class Stopper(Monitor):
    """Somebody asks to stop right before the work looks for the k-th time."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.left = k

    @property
    def cancelled(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RawDataset:
    return numpy_engine.make_source(tmp_path_factory.mktemp("source"), cases=3)


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, source: RawDataset) -> Path:
    """A server whose second cycle can begin: answers to the batch, a reopened one, an older one revised."""
    data = tmp_path_factory.mktemp("server") / "data"
    with Store(data) as store:
        clinic = Clinic.found(store, data, source)
        placed = clinic.start()
        clinic.cycle()
        clinic.answer_batch(1)
        clinic.answer(placed[3], Kind.REOPENED)
        clinic.answer(placed[1], Kind.EMPTY)
    return data


@pytest.fixture
def attempts(waiting: Path, source: RawDataset, tmp_path: Path) -> Callable[..., Any]:
    """Run the second cycle on a copy of the server, whose first attempt may end early; what came of it."""

    def do(name: str, first: Callable[[Clinic, Job], dict[str, Any]] = Clinic.work) -> Any:
        data = tmp_path / name
        shutil.copytree(waiting, data)
        try:
            with Store(data) as store:
                clinic = Clinic.reopen(store, data, source)
                job = clinic.job()
                try:
                    result = first(clinic, job)
                except (Killed, Cancelled):
                    result = clinic.work(clinic.again(job))
                result.pop("seconds")
                labels = {path.name: path.read_bytes() for path in (clinic.root / "labelsTr").iterdir()}
                loops = [path.read_text() for path in sorted(clinic.root.glob("loop_*.json"))]
                batch = [(p.case, p.box, p.score, p.group, p.explanation) for p in clinic.batch(2)]
            return result, labels, loops, batch
        finally:
            shutil.rmtree(data)

    return do


def test_a_stop_at_any_check_changes_nothing(attempts: Callable[..., Any]) -> None:
    counter = Stopper(10**9)
    whole = attempts("whole", lambda clinic, job: clinic.work(job, counter))
    assert len(whole[3]) == 3
    assert whole[0]["before_training"]["large"] is not None
    checks = 10**9 - counter.left
    assert checks > 20
    for k in range(1, checks + 1, 2):
        assert attempts(f"stop{k}", lambda clinic, job, k=k: clinic.work(job, Stopper(k))) == whole, k


def test_a_kill_before_any_file_appears_changes_nothing(
    attempts: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace
    written: list[Path] = []
    deaths = 0

    def replace(path: Path, target: Path) -> Path:
        nonlocal deaths
        written.append(Path(target))
        if len(written) == limit:
            deaths += 1
            raise Killed
        return real(path, target)

    def first(clinic: Clinic, job: Job) -> dict[str, Any]:
        written.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", replace)
            return clinic.work(job)

    limit = 10**9
    whole = attempts("whole", first)
    names = [path.name for path in written]
    assert {
        "job.json",
        "answers.json",
        "case_0.nii",
        "loop_001.json",
        "training.json",
        "queries.json",
    } <= set(names)
    # Time accounts are written again and again; of those one is enough.
    kills = [n for n, name in enumerate(names, start=1) if name != "costs.json"] + [
        names.index("costs.json") + 1
    ]
    assert len(kills) > 20
    for limit in kills[::2]:
        assert attempts(f"kill{limit}", first) == whole, names[limit - 1]
    assert deaths == len(kills[::2])
