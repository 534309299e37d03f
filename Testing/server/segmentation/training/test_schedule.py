"""The learning rate over a member's steps, and trainings that are cut short."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.training.schedule import Schedule, is_plateau, learning_rate
from nnactive_server.segmentation.training.weights import load_weights

CPU = torch.device("cpu")
FLAT = [1.0, 0.9, 1.1, 1.0]


def test_sgd_follows_the_polynomial_and_adamw_the_cosine_with_warm_up():
    sgd = get_profile("paper")
    assert learning_rate(sgd, 0, 0) == sgd.learning_rate
    assert learning_rate(sgd, 50, 0.5) == pytest.approx(sgd.learning_rate * 0.5**0.9)
    adam = get_profile("fast-cpu", warm_up=10)
    assert learning_rate(adam, 0, 0) == pytest.approx(adam.learning_rate / 10)
    assert learning_rate(adam, 50, 0.5) == pytest.approx(adam.learning_rate / 2)


def falling(count, start=0):
    """Losses that fall clearly from step to step."""
    return [10.0 - 0.1 * step - 0.01 * (step % 2) for step in range(start, start + count)]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (falling(8), False),
        (FLAT + FLAT, True),
        ([*FLAT, *(value + 1 for value in FLAT)], True),
        ([*FLAT, *(value - 0.5 for value in FLAT)], False),
        ([*FLAT, *(value - 0.01 for value in FLAT)], True),
        ([9.0] * 4 + FLAT + [0.1 * value for value in FLAT], False),
    ],
)
def test_losses_that_fall_only_by_chance_are_a_plateau(losses, expected):
    assert is_plateau(losses, 4) is expected


def test_without_patience_nothing_changes():
    schedule = Schedule(get_profile("paper"), 100)
    schedule.tell([1.0] * 60)
    assert (schedule.turn, schedule.end) == (None, 100)
    assert schedule.learning_rate(60) == learning_rate(get_profile("paper"), 60, 0.6)


def test_after_a_plateau_the_rest_of_the_curve_is_passed_in_as_many_steps():
    profile = get_profile("paper", patience=10)
    schedule = Schedule(profile, 100)
    schedule.tell(falling(20))
    assert schedule.turn is None
    schedule.tell([*FLAT, *FLAT, 1.0, 1.0])
    assert schedule.turn is None  # half of what is compared still fell
    schedule.tell([*FLAT, *FLAT, 1.0, 1.0])
    assert (schedule.turn, schedule.end) == (40, 50)
    rates = [schedule.learning_rate(step) for step in range(50)]
    assert rates == sorted(rates, reverse=True)
    assert rates[40] == learning_rate(profile, 40, 0.4)
    assert rates[45] == pytest.approx(learning_rate(profile, 45, 0.7))
    assert 0 < rates[49] < rates[0] / 10


@given(st.integers(2, 30), st.integers(1, 200), st.integers(0, 99))
def test_no_training_gets_longer_than_planned_and_a_restart_changes_nothing(patience, steps, seed):
    profile = get_profile("paper", patience=patience)
    whole, stopped = Schedule(profile, steps), Schedule(profile, steps)
    losses = np.random.default_rng(seed).normal(size=steps).tolist()
    done = 0
    while done < whole.end:
        for schedule in (whole, stopped):
            schedule.tell([losses[done]])
        done += 1
        again = Schedule(profile, steps)
        again.load(json.loads(json.dumps(stopped.state())))
        stopped = again
    assert done == whole.end == stopped.end <= steps
    assert all(whole.learning_rate(step) == stopped.learning_rate(step) for step in range(done))


def test_patience_of_one_step_is_refused():
    with pytest.raises(SegmentationError, match="patience = 1"):
        get_profile("paper", patience=1)


class Stop(Monitor):
    """Dies at a step, as a killed process would."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at, self.seen = at, []

    def report(self, stage, done, total, detail=""):  # noqa: ARG002
        if stage == "train":
            self.seen.append((done, total))
            if done == self._at:
                raise KeyboardInterrupt


@pytest.fixture
def train(project, tmp_path):
    """Trains one member with a learning rate at which nothing is learned; the report, and where it lies."""

    def run(name="m", monitor=None, **changes):
        words = {"members": 1, "iterations": 24, "learning_rate": 1e-12, "patience": 4, **changes}
        engine = Engine(project, tmp_path / "work", get_profile("smoke", **words), monitor)
        engine.prepare(project.cases)
        engine.update_labels(project.cases[:4])
        found = engine.train(tmp_path / name, cases=project.cases[:4], seed=3, cycle=0)
        return found, load_weights(tmp_path / name / "member_0.pt", CPU)

    return run


def test_a_member_that_learns_nothing_more_is_cut_short_and_says_so(train):
    report, _ = train()
    assert report.iterations[0] < 24
    assert train()[0].iterations == report.iterations  # also when it was there already
    assert train("patient", patience=0)[0].iterations == (24,)


def test_a_member_that_was_cut_short_and_killed_goes_on_to_the_same_weights(train):
    report, whole = train()
    steps = report.iterations[0]
    for number, at in enumerate((3, steps - 2)):
        with pytest.raises(KeyboardInterrupt):
            train(f"killed_{number}", Stop(at))
        again, weights = train(f"killed_{number}")
        assert again.iterations == report.iterations
        assert all(torch.equal(weights[name], value) for name, value in whole.items())


def test_progress_of_members_that_were_cut_short_goes_on_with_the_next(train):
    monitor = Stop(-1)
    train(monitor=monitor, members=2)
    done = [step for step, _ in monitor.seen]
    assert done == sorted(done)
    assert 24 < done[-1] <= 48
