from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from nnactive_server.core.errors import Cancelled, SegmentationError
from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.training.weights import load_weights, member_path

CPU = torch.device("cpu")


class StopAt(Monitor):
    """Cancels, or dies as a killed process would, after a number of training steps."""

    def __init__(self, step: int, die: bool = False) -> None:
        super().__init__()
        self.step, self.die, self.seen = step, die, []

    def report(self, stage, done, total, detail=""):  # noqa: ARG002
        if stage == "train":
            self.seen.append(done)
            if done == self.step and self.die:
                raise KeyboardInterrupt
            if done == self.step:
                self.cancel()


def engine_for(project, work, monitor=None, **overrides) -> Engine:
    engine = Engine(project, work, get_profile("smoke", **overrides), monitor)
    engine.prepare(project.cases)
    engine.update_labels(project.cases[:4])
    return engine


def weights(folder) -> list[dict[str, torch.Tensor]]:
    return [load_weights(path, CPU) for path in sorted(folder.glob("member_*.pt"))]


def assert_same(first, second) -> None:
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


@pytest.mark.parametrize("stop", [1, 4, 6, 9])
@pytest.mark.parametrize("die", [False, True])
def test_a_stopped_training_goes_on_to_the_same_weights(project, trained, tmp_path, stop, die):
    _, whole = trained
    with pytest.raises(KeyboardInterrupt if die else Cancelled):
        engine_for(project, tmp_path, StopAt(stop, die)).train(
            tmp_path / "m", cases=project.cases[:4], seed=3, cycle=0
        )
    engine_for(project, tmp_path).train(tmp_path / "m", cases=project.cases[:4], seed=3, cycle=0)
    assert_same(weights(whole), weights(tmp_path / "m"))


def test_a_stopped_training_with_dropout_goes_on_to_the_same_weights(project, with_dropout, tmp_path):
    engine, whole = with_dropout
    with pytest.raises(KeyboardInterrupt):
        Engine(project, engine._workdir, engine._profile, StopAt(4, die=True)).train(
            tmp_path / "m", cases=project.cases[:4], seed=3, cycle=0
        )
    torch.rand(3)  # somebody else draws from torch's own generator
    engine.train(tmp_path / "m", cases=project.cases[:4], seed=3, cycle=0)
    assert_same(weights(whole), weights(tmp_path / "m"))


def test_a_killed_training_loses_at_most_one_checkpoint_interval(project, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        engine_for(project, tmp_path, StopAt(5, die=True)).train(
            tmp_path / "m", cases=project.cases[:4], seed=3, cycle=0
        )
    again = StopAt(10**6)
    engine_for(project, tmp_path, again).train(tmp_path / "m", cases=project.cases[:4], seed=3, cycle=0)
    assert again.seen[0] == 5


def test_finished_members_are_kept(project, trained):
    engine, folder = trained
    before = [path.stat().st_mtime_ns for path in sorted(folder.glob("member_*.pt"))]
    engine.train(folder, cases=project.cases[:4], seed=3, cycle=0)
    assert [path.stat().st_mtime_ns for path in sorted(folder.glob("member_*.pt"))] == before
    assert not (folder / "checkpoint_0.pt").exists()


def test_members_differ(trained):
    first, second = weights(trained[1])
    assert any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("change", [{"seed": 4}, {"cycle": 1}, {"cases": 3}])
def test_a_folder_with_another_training_is_refused(project, trained, change):
    engine, folder = trained
    settings = {"seed": 3, "cycle": 0, "cases": 4} | change
    cases = project.cases[: settings.pop("cases")]
    with pytest.raises(SegmentationError, match="holds another training"):
        engine.train(folder, cases=cases, **settings)


def test_warm_start_goes_on_from_the_cycle_before(project, trained, tmp_path):
    engine, folder = trained
    frozen = dataclasses.replace(engine._profile, learning_rate=1e-12, weight_decay=0.0, iterations=2)
    slow = Engine(project, engine._workdir, frozen)
    slow.train(tmp_path / "m", cases=project.cases[:4], seed=3, cycle=1, warm_start=folder)
    last = weights(folder)[-1]
    for name, value in weights(tmp_path / "m")[0].items():
        torch.testing.assert_close(value, last[name], rtol=0, atol=1e-6)


def test_members_of_folds_start_from_their_own_random_weights(project, tmp_path):
    engine = engine_for(project, tmp_path, ensemble="folds", iterations=1, learning_rate=1e-12)
    engine.train(tmp_path / "m", cases=project.cases[:4], seed=3, cycle=0)
    first, second = weights(tmp_path / "m")
    assert not torch.allclose(next(iter(first.values())), next(iter(second.values())))


def test_training_learns(project, tmp_path):
    engine = engine_for(project, tmp_path, members=1, iterations=60, learning_rate=5e-3)
    report = engine.train(tmp_path / "m", cases=project.cases[:4], seed=3, cycle=0)
    assert report.losses[0] < 0.5


def test_a_loss_that_is_not_finite_names_the_step(project, tmp_path):
    engine = engine_for(project, tmp_path)
    path = next((tmp_path / "cases").glob("case_0.image.npy"))
    for path in (tmp_path / "cases").glob("*.image.npy"):
        np.save(path, np.full_like(np.load(path), np.nan))
    with pytest.raises(SegmentationError, match="loss is nan at step 0"):
        engine.train(tmp_path / "m", cases=project.cases[:4], seed=3, cycle=0)


def test_the_training_file_says_which_cases_each_member_saw(trained):
    told = json.loads((trained[1] / "training.json").read_text())
    assert len(told["splits"]) == 2
    assert set(told["splits"][0]["train"]) | set(told["splits"][0]["held_out"]) == {
        f"case_{n}" for n in range(4)
    }


def test_a_broken_model_file_is_named(tmp_path):
    member_path(tmp_path, 0).write_bytes(b"not a model")
    with pytest.raises(SegmentationError, match=r"member_0\.pt"):
        load_weights(member_path(tmp_path, 0), CPU)
