"""The first part of a training, and that it changes nothing about the whole."""

from __future__ import annotations

import pytest
import torch

from nnactive_server.core.errors import Cancelled
from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.training.weights import load_weights

CPU = torch.device("cpu")
FOLDS = {"ensemble": "folds", "warm_start": False, "members": 2, "iterations": 10}
CHAIN = {"ensemble": "chain", "members": 4, "iterations": 3}


class Steps(Monitor):
    """Notes steps; asks to stop after `limit` of them."""

    def __init__(self, limit: int = 0) -> None:
        super().__init__()
        self.limit, self.seen = limit, []

    def report(self, stage, done, total, detail=""):  # noqa: ARG002
        if stage == "train":
            self.seen.append((done, total))
            if len(self.seen) == self.limit:
                self.cancel()


@pytest.fixture
def make(project, tmp_path):
    """Gives an engine and what a training of it is asked with."""

    def build(monitor=None, **changes):
        engine = Engine(project, tmp_path / "work", get_profile("smoke", **changes), monitor)
        engine.prepare(project.cases)
        engine.update_labels(project.cases[:4])
        return engine, {"cases": project.cases[:4], "seed": 3, "cycle": 0}

    return build


def read(folder):
    return {path.name: load_weights(path, CPU) for path in sorted(folder.glob("member_*.pt"))}


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("changes", [FOLDS, CHAIN], ids=["folds", "chain"])
def test_a_training_ends_with_the_same_weights_whether_or_not_there_was_an_early_look(
    make, tmp_path, changes
):
    monitor = Steps()
    engine, asked = make(monitor, **changes)
    engine.begin(tmp_path / "early_look", tmp_path / "early", **asked)
    engine.train(tmp_path / "early_look", **asked)
    done = [step for step, _ in monitor.seen]
    assert done == list(range(1, monitor.seen[0][1] + 1))  # no step twice, none left out
    engine.train(tmp_path / "plain", **asked)
    plain, other = read(tmp_path / "plain"), read(tmp_path / "early_look")
    assert list(plain) == list(other)
    assert all(same(plain[name], other[name]) for name in plain)
    assert not list((tmp_path / "early_look").glob("checkpoint*"))


def test_folds_are_all_there_after_a_part_of_their_steps(make, tmp_path):
    monitor = Steps()
    engine, asked = make(monitor, **FOLDS)
    engine.begin(tmp_path / "m", tmp_path / "early", **asked)
    assert monitor.seen == [(1, 20), (2, 20), (3, 20), (4, 20)]
    assert list(read(tmp_path / "early")) == ["member_0.pt", "member_1.pt"]
    assert not read(tmp_path / "m")
    engine.train(tmp_path / "m", **asked)
    early, final = read(tmp_path / "early"), read(tmp_path / "m")
    assert not any(same(early[name], final[name]) for name in early)


def test_of_a_chain_the_first_members_are_finished(make, tmp_path):
    engine, asked = make(**CHAIN)
    engine.begin(tmp_path / "m", tmp_path / "early", **asked)
    early, final = read(tmp_path / "early"), read(tmp_path / "m")
    assert list(early) == list(final) == ["member_0.pt", "member_1.pt"]
    assert all(same(early[name], final[name]) for name in early)


@pytest.mark.parametrize("changes", [FOLDS, CHAIN, FOLDS | {"members": 1}], ids=["folds", "chain", "one"])
def test_early_members_predict_as_an_ensemble_of_their_own(project, make, tmp_path, changes):
    engine, asked = make(**changes)
    engine.begin(tmp_path / "m", tmp_path / "early", **asked)
    found = list(engine.predict(tmp_path / "early", project.cases[0]))
    assert len(found) == min(2, changes["members"])
    assert len(engine.held_out(tmp_path / "early")) == len(found)


@pytest.mark.parametrize("changes", [FOLDS, CHAIN], ids=["folds", "chain"])
def test_an_early_look_that_was_stopped_goes_on(make, tmp_path, changes):
    engine, asked = make(Steps(3), **changes)
    with pytest.raises(Cancelled):
        engine.begin(tmp_path / "m", tmp_path / "early", **asked)
    assert not (tmp_path / "early" / "training.json").exists()
    engine, asked = make(**changes)
    engine.begin(tmp_path / "m", tmp_path / "early", **asked)
    engine.begin(tmp_path / "whole_m", tmp_path / "whole", **asked)
    first, second = read(tmp_path / "early"), read(tmp_path / "whole")
    assert list(first) == list(second)
    assert all(same(first[name], second[name]) for name in first)
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "early").glob("*.pt"))]
    engine.begin(tmp_path / "m", tmp_path / "early", **asked)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "early").glob("*.pt"))] == before
