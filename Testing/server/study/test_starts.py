"""First cycles that runs share: the same results as without, and taken only where runs begin alike."""

from __future__ import annotations

import json
import shutil

import pytest

from nnactive_server.core.errors import Cancelled
from nnactive_server.core.monitor import Monitor
from nnactive_server.study.settings import Settings
from nnactive_server.study.simulate import simulate
from nnactive_server.study.starts import publish_start, take_start
from testkit import numpy_engine


class Counting(numpy_engine.NumpyEngine):
    """Notes which cycles were trained here."""

    trained: list[int] = []  # noqa: RUF012 - one list for the test that reads it

    def train(self, out, **words):
        self.trained.append(words["cycle"])
        return super().train(out, **words)


def settings(**changes):
    plain = {"strategy": "clasp-pe", "cycles": 2, "query_size": 4, "patch": (4, 5, 4), "seed": 7}
    return Settings(**plain | {"profile": numpy_engine.NumpyProfile()} | changes)


def without_time(summary):
    cycles = [
        {k: v for k, v in c.items() if k not in ("seconds", "peak_memory_bytes")} for c in summary["cycles"]
    ]
    return summary | {"cycles": cycles}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return numpy_engine.make_source(tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def offered(source, tmp_path_factory):
    """A shared start, made by a run of another strategy."""
    root = tmp_path_factory.mktemp("offered")
    simulate(source, root / "run", settings(strategy="random"), make_engine=Counting, start=root / "start")
    return root / "start"


def trained_in(source, out, start, **changes):
    Counting.trained.clear()
    summary = simulate(source, out, settings(**changes), make_engine=Counting, start=start)
    return summary, list(Counting.trained)


def test_a_run_that_takes_a_start_ends_as_one_that_trains_its_own(source, offered, tmp_path):
    taken, cycles = trained_in(source, tmp_path / "taken", offered)
    own, all_cycles = trained_in(source, tmp_path / "own", None)
    assert (cycles, all_cycles) == ([1], [0, 1])
    assert without_time(taken) == without_time(own)
    assert taken["cycles"][0]["seconds"]["train"] > 0
    queries = [(tmp_path / name / "cycle_000/queries.json").read_text() for name in ("taken", "own")]
    assert queries[0] == queries[1]


@pytest.mark.parametrize(
    "change",
    [{"seed": 8}, {"start_size": 5}, {"patch": (5, 5, 4)}, {"test_fraction": 0.4}, {"all_labels": True}],
)
def test_a_run_that_begins_otherwise_trains_its_own(source, offered, tmp_path, change):
    _, cycles = trained_in(source, tmp_path / "run", offered, **change)
    assert cycles == [0, 1]


def test_what_a_run_took_it_may_change_without_the_others_seeing_it(source, offered, tmp_path):
    before = {path: path.read_bytes() for path in offered.rglob("*") if path.is_file()}
    trained_in(source, tmp_path / "run", offered)
    shutil.rmtree(tmp_path / "run")
    assert {path: path.read_bytes() for path in offered.rglob("*") if path.is_file()} == before


def test_a_run_whose_second_cycle_has_begun_offers_nothing(source, tmp_path):
    simulate(source, tmp_path / "run", settings(), make_engine=Counting)
    publish_start(tmp_path / "run", tmp_path / "start")
    assert not (tmp_path / "start").exists()


def test_a_run_keeps_its_own_first_cycle(source, offered, tmp_path):
    simulate(source, tmp_path / "run", settings(cycles=1), make_engine=Counting)
    assert not take_start(tmp_path / "run", offered)


class _StopsAtTraining(Monitor):
    def report(self, stage, *_):
        if "train" in stage:
            self.cancel()


def test_a_run_that_was_stopped_in_its_first_training_may_still_take_a_start(source, offered, tmp_path):
    with pytest.raises(Cancelled):
        simulate(source, tmp_path / "run", settings(), make_engine=Counting, monitor=_StopsAtTraining())
    taken, cycles = trained_in(source, tmp_path / "run", offered)
    own, _ = trained_in(source, tmp_path / "own", None)
    assert cycles == [1]
    assert without_time(taken) == without_time(own)


def test_the_time_of_predicting_for_another_query_is_not_taken_over(source, tmp_path):
    simulate(source, tmp_path / "run", settings(), make_engine=Counting, start=tmp_path / "start")
    costs = json.loads((tmp_path / "start" / "cycle_000" / "costs.json").read_text())
    assert set(costs["seconds"]) == {"label_update", "train", "evaluate"}
