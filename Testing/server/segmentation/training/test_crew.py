"""Members that are trained at the same time, by processes of their own."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nnactive_server.core.errors import Cancelled, SegmentationError
from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import MEMBERS_PER_GPU, Hardware, detect
from nnactive_server.segmentation.profiles import Profile
from nnactive_server.segmentation.training import ensemble as training
from nnactive_server.segmentation.training.crew import train_apart
from nnactive_server.segmentation.training.task import TrainingTask
from nnactive_server.segmentation.training.weights import checkpoint_path, load_weights, member_path

CPU = torch.device("cpu")
ONE = replace(detect(), device=CPU, autocast=None, channels_last=False, threads=1, resident=False)
TWO = replace(ONE, threads=2)


class Steps(Monitor):
    """Notes progress; does something when it comes to `limit` reports."""

    def __init__(self, limit: int = 0, act=None) -> None:
        super().__init__()
        self.limit, self.act, self.seen = limit, act or self.cancel, []

    def report(self, stage, done, total, detail=""):
        if stage == "train":
            self.seen.append((done, total, detail))
            if len(self.seen) == self.limit:
                self.act()


@pytest.fixture
def engine(project, tmp_path, monkeypatch):
    """Makes engines of the same project; two members at once are worth it after a few steps."""
    monkeypatch.setattr(training, "WORTH_STEPS", 3)

    def make(hardware=TWO, monitor=None, **changes):
        words = {"ensemble": "folds", "warm_start": False, "members": 3, "iterations": 12, **changes}
        made = Engine(project, tmp_path / "work", get_profile("smoke", **words), monitor, hardware)
        made.prepare(project.cases)
        made.update_labels(project.cases[:4])
        return made

    return make


@pytest.fixture(scope="module")
def alone(project, tmp_path_factory) -> Path:
    """Three members that one fresh process trained one after the other.

    Not this process: oneDNN keeps what it prepared for other tests, with two threads, and rounds otherwise.
    """
    folder = tmp_path_factory.mktemp("alone")
    profile = get_profile("smoke", ensemble="folds", warm_start=False, members=3, iterations=12)
    engine = Engine(project, folder / "work", profile, None, ONE)
    engine.prepare(project.cases)
    engine.update_labels(project.cases[:4])
    task = TrainingTask(folder / "work", profile, folder / "m", project.cases[:4], 3, 0)
    train_apart(task, [ONE], [0, 1, 2], None, Monitor(), lambda *_: None)
    return folder / "m"


@pytest.fixture
def asked(project):
    return {"cases": project.cases[:4], "seed": 3, "cycle": 0}


def same(first: Path, second: Path, members: int = 3) -> bool:
    pairs = [
        [load_weights(member_path(folder, m), CPU) for folder in (first, second)] for m in range(members)
    ]
    return all(torch.equal(one[name], two[name]) for one, two in pairs for name in one)


def test_members_at_the_same_time_are_those_one_after_the_other(engine, asked, alone, tmp_path):
    monitor = Steps()
    report = engine(TWO, monitor).train(tmp_path / "together", **asked)
    assert same(tmp_path / "together", alone)
    assert report.iterations == (12, 12, 12)
    assert all(math.isfinite(loss) for loss in report.losses)
    assert {total for _, total, _ in monitor.seen} == {36}
    assert not list((tmp_path / "together").glob("checkpoint*"))


@pytest.mark.slow
def test_after_an_early_look_and_a_stop_they_go_on_to_the_same_weights(engine, asked, alone, tmp_path):
    engine(TWO).begin(tmp_path / "m", tmp_path / "early", **asked)
    assert len(list((tmp_path / "early").glob("member_*.pt"))) == 3
    assert not list((tmp_path / "m").glob("member_*.pt"))
    with pytest.raises(Cancelled):
        engine(TWO, Steps(2)).train(tmp_path / "m", **asked)
    assert list((tmp_path / "m").glob("checkpoint_*.pt"))
    engine(TWO).train(tmp_path / "m", **asked)
    assert same(tmp_path / "m", alone)


def children() -> list[int]:
    """Process ids of the workers of this process."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found if b"crew_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_the_others_stop_in_good_order(engine, asked, tmp_path):
    monitor = Steps(2, lambda: os.kill(children()[0], signal.SIGKILL))
    with pytest.raises(SegmentationError, match="training member 1: its process ended with exit code -9"):
        engine(TWO, monitor, iterations=400).train(tmp_path / "m", **asked)
    assert children() == []
    assert checkpoint_path(tmp_path / "m", 1).exists()


@pytest.mark.slow
def test_an_error_of_a_worker_keeps_its_kind_and_words(engine, asked, tmp_path):
    with pytest.raises(SegmentationError, match=r"training member [12]: .*loss is .* lower the profile's"):
        engine(TWO, learning_rate=1e30).train(tmp_path / "m", **asked)


def test_one_core_a_chain_or_a_short_training_needs_no_crew(engine, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "train_apart", None)
    engine(ONE, iterations=4, members=2).train(tmp_path / "one", **asked)
    engine(TWO, iterations=4, members=2, ensemble="chain").train(tmp_path / "chain", **asked)
    monkeypatch.setattr(training, "WORTH_STEPS", 5)
    engine(TWO, iterations=4, members=2).train(tmp_path / "short", **asked)


def test_a_cpu_is_shared_by_cores_and_gpus_one_a_member(monkeypatch):
    assert ONE.apart(5) == TWO.apart(1) == TWO.apart(0) == ()
    assert [place.threads for place in TWO.apart(5)] == [1, 1]
    assert [place.threads for place in replace(ONE, threads=16).apart(5)] == [3] * 5
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    gpus = replace(ONE, device=torch.device("cuda", 0), threads=16)
    assert [str(place.device) for place in gpus.apart(5)] == ["cuda:0", "cuda:1"]
    monkeypatch.setenv(MEMBERS_PER_GPU, "2")
    assert [str(place.device) for place in gpus.apart(5)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    monkeypatch.setenv(MEMBERS_PER_GPU, "many")
    with pytest.raises(SegmentationError, match="MEMBERS_PER_GPU=many: give a whole number"):
        gpus.apart(5)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_hardware_and_task_can_be_told_to_another_process(autocast):
    hardware = replace(ONE, device=torch.device("cuda", 1), autocast=autocast)
    assert Hardware.from_json(hardware.to_json()) == hardware
    for before in (None, Path("before")):
        task = TrainingTask(Path("work"), Profile("paper", members=3), Path("m"), ("a", "b"), 1, 2, before)
        assert TrainingTask.from_json(task.to_json()) == task
