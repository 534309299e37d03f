"""Cross-validation on annotated boxes, and the figure from before a training."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from nnactive_server.core.errors import Cancelled, LoopError, NNActiveError
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset, write_patches
from nnactive_server.evaluation import overlap_per_class
from nnactive_server.loop import Clock, CycleFolder, read_costs
from nnactive_server.loop.crossval import before_training, cross_validate, crossval_path
from testkit.numpy_engine import LABELS, NumpyEngine, NumpyProfile

UNSURE = LABELS.as_partial().ignore
ROW = Patch((2, 3, 4), (1, 1, 6))


class DiesAt(Monitor):
    """Ends the process, so to say, at a report of the stage "evaluate"."""

    def __init__(self, report: int) -> None:
        super().__init__()
        self.left = report

    def report(self, stage, *_):
        self.left -= stage == "evaluate"
        if self.left == 0:
            raise KeyboardInterrupt


class Fixed(NumpyEngine):
    """Members whose predictions are given: 1 everywhere but in one row of voxels."""

    rows: dict[tuple[int, str], tuple[int, ...]]

    def held_out(self, members):
        del members
        return tuple(tuple(case for m, case in self.rows if m == member) for member in range(3))

    def independent(self, members):
        del members
        return True

    def predict_member(self, members, case, member):
        del members
        predicted = np.ones(self.project.geometry(case).shape, int)
        predicted[ROW.slices] = self.rows[member, case]
        return np.eye(3, dtype=np.float32)[predicted].transpose(3, 0, 1, 2)


@pytest.fixture
def bare(source, tmp_path) -> RawDataset:
    """A project nobody has annotated."""
    shutil.copytree(source.root / "imagesTr", tmp_path / "bare" / "imagesTr")
    return RawDataset.create(tmp_path / "bare", source.labels.as_partial(), source.channels)


@pytest.fixture
def make_trained(bench):
    """An engine and the folder of its first cycle, four cases annotated."""

    def train(**profile) -> tuple[NumpyEngine, CycleFolder]:
        for number, case in enumerate(bench.project.cases[2:4]):
            box = Patch((2, 3, 3 + number), (6, 6, 6))
            write_patches(bench.project, case, {box: bench.truth(case)[box.slices]})
        engine = NumpyEngine(bench.project, bench.project.root / "work", NumpyProfile(**profile))
        engine.prepare(bench.project.cases)
        engine.update_labels(bench.project.cases[:4])
        folder = CycleFolder(bench.project.root, 0)
        engine.train(folder.members, cases=bench.project.cases[:4], seed=1, cycle=0)
        return engine, folder

    return train


def answer(project, case, values):
    write_patches(project, case, {ROW: np.array(values, np.uint8).reshape(ROW.size)})


def held_out_pairs(engine, folder):
    return [(m, case) for m, cases in enumerate(engine.held_out(folder.members)) for case in cases]


def test_counts_by_hand(bare):
    engine = Fixed(bare, bare.root / "work", NumpyProfile())
    answer(bare, "case_0", (1, 1, 1, 0, 2, UNSURE))
    answer(bare, "case_1", (1, 0, 0, UNSURE, UNSURE, UNSURE))
    answer(bare, "case_2", (1, 1, 0, UNSURE, UNSURE, UNSURE))
    engine.rows = {
        (0, "case_0"): (1, 1, 0, 0, 2, 2),  # class 1: 2 TP, 1 FN; class 2: 1 TP
        (0, "case_1"): (0, 1, 1, 2, 2, 2),  # class 1: 2 FP, 1 FN
        (2, "case_2"): (1, 1, 1, 2, 2, 2),  # class 1: 2 TP, 1 FP
    }
    found = cross_validate(CycleFolder(bare.root, 0), bare, engine)
    assert found["folds"] == [
        {"member": 0, "cases": 2, "dice_per_class": {"large": 4 / 8, "small": 1.0}},
        {"member": 2, "cases": 1, "dice_per_class": {"large": 4 / 5, "small": None}},
    ]
    assert found["dice_per_class"] == {"large": 8 / 13, "small": 1.0}
    assert found["mean_dice"] == pytest.approx((8 / 13 + 1) / 2)
    assert found["fold_spread"] == {"large": pytest.approx(0.3 / 2**0.5), "small": None}
    assert found["independent"] is True
    assert found == json.loads((bare.root / "cycle_000" / "crossval.json").read_text())


def test_a_class_nobody_drew_or_predicted_is_left_out_of_the_mean(bare):
    engine = Fixed(bare, bare.root / "work", NumpyProfile())
    answer(bare, "case_0", (1, 1, 0, 0, 0, 0))
    engine.rows = {(0, "case_0"): (1, 0, 0, 0, 0, 0)}
    found = cross_validate(CycleFolder(bare.root, 0), bare, engine)
    assert found["dice_per_class"] == {"large": 2 / 3, "small": None}
    assert found["mean_dice"] == pytest.approx(2 / 3)
    assert found["fold_spread"] == {"large": None, "small": None}


def test_a_held_out_case_without_a_label_map_is_left_out(bare):
    engine = Fixed(bare, bare.root / "work", NumpyProfile())
    answer(bare, "case_0", (1, 1, 0, 0, 0, 0))
    engine.rows = {(0, "case_0"): (1, 1, 0, 0, 0, 0), (1, "case_1"): (2, 2, 2, 2, 2, 2)}
    found = cross_validate(CycleFolder(bare.root, 0), bare, engine)
    assert [(fold["member"], fold["cases"]) for fold in found["folds"]] == [(0, 1)]


def test_cases_in_slabs_give_the_same_figures(make_trained):
    engine, folder = make_trained()
    whole = cross_validate(folder, engine.project, engine)
    crossval_path(folder).unlink()
    engine.slab_axis, engine.slab_planes = 1, 5
    assert cross_validate(folder, engine.project, engine) == whole
    assert whole["mean_dice"] > 0.2


def test_each_case_is_judged_by_the_member_that_never_saw_it(make_trained):
    engine, folder = make_trained()
    found = cross_validate(folder, engine.project, engine)
    assert sorted(case for _, case in engine.judged) == list(engine.project.cases[:4])
    assert engine.judged == held_out_pairs(engine, folder) == engine.expected
    assert [fold["cases"] for fold in found["folds"]] == [2, 1, 1]
    for fold, cases in zip(found["folds"], engine.held_out(folder.members), strict=True):
        truth = [engine.project.read_label(case).array.ravel() for case in cases]
        softmax = [engine.predict_member(folder.members, case, fold["member"]) for case in cases]
        voted = [array.argmax(axis=0).ravel() for array in softmax]
        counts = overlap_per_class(np.concatenate(voted), np.concatenate(truth), engine.project.labels)
        assert list(fold["dice_per_class"].values()) == [count.dice for count in counts]
    assert 0.2 < found["mean_dice"] < 1
    assert all(spread > 0 for spread in found["fold_spread"].values())


def test_a_member_of_the_numpy_engine_does_not_learn_from_what_it_holds_out(make_trained):
    engine, folder = make_trained()
    out = engine.held_out(folder.members)[0]
    for case in out:
        label = np.load(engine._label(case))
        engine._save(engine._label(case), np.where(label == 1, 2, np.where(label == 2, 1, label)))
    engine.train(folder.path / "other", cases=engine.project.cases[:4], seed=1, cycle=0)
    assert engine.held_out(folder.path / "other")[0] == out
    for member, same in ((0, True), (1, False)):
        first, second = (np.load(f / f"member_{member}.npy") for f in (folder.members, folder.path / "other"))
        assert np.array_equal(first, second) is same


@pytest.mark.parametrize("last", [1, 2, 4])
def test_a_killed_call_goes_on_with_the_next_case(make_trained, last):
    engine, folder = make_trained()
    whole = cross_validate(folder, engine.project, engine)
    pairs = list(engine.judged)
    crossval_path(folder).unlink()
    engine.judged.clear()
    with pytest.raises(KeyboardInterrupt):
        cross_validate(folder, engine.project, engine, Clock(DiesAt(last)))
    assert not crossval_path(folder).exists()
    assert engine.judged == pairs[:last]
    assert cross_validate(folder, engine.project, engine) == whole
    assert engine.judged == pairs
    assert {path.name for path in folder.path.iterdir()} == {"members", "costs.json", "crossval.json"}


def test_stopping_comes_between_cases(make_trained, recorder):
    engine, folder = make_trained()
    with pytest.raises(Cancelled):
        cross_validate(folder, engine.project, engine, Clock(recorder("evaluate", limit=2)))
    assert len(engine.judged) == 2
    cross_validate(folder, engine.project, engine)
    assert len(engine.judged) == 4


def test_what_is_there_is_not_made_again(make_trained):
    engine, folder = make_trained()
    first = cross_validate(folder, engine.project, engine)
    stamps = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    assert cross_validate(folder, engine.project, engine) == first
    assert len(engine.judged) == 4
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == stamps


def test_parts_left_by_a_kill_after_the_last_write_go(make_trained):
    engine, folder = make_trained()
    cross_validate(folder, engine.project, engine)
    left = folder.path / "crossval" / "member_0" / "case_0.json"
    left.parent.mkdir(parents=True)
    left.write_text("{}")
    cross_validate(folder, engine.project, engine)
    assert not left.parent.parent.exists()


def test_time_goes_to_the_stage_evaluate(make_trained, recorder):
    engine, folder = make_trained()
    monitor = recorder()
    cross_validate(folder, engine.project, engine, Clock(monitor))
    assert monitor.stages == ["evaluate"] * 4
    assert set(read_costs(folder.costs)["seconds"]) == {"evaluate"}


def test_a_single_member_holds_nothing_out(make_trained):
    engine, folder = make_trained(members=1)
    assert cross_validate(folder, engine.project, engine) == {
        "folds": [],
        "dice_per_class": None,
        "mean_dice": None,
        "fold_spread": None,
        "independent": True,
    }
    assert engine.judged == []


def test_with_fewer_cases_than_members_a_case_counts_for_each_member_without_it(make_trained):
    engine, folder = make_trained(members=7)
    cases = engine.held_out(folder.members)
    assert max(sum(case in out for out in cases) for case in engine.project.cases) > 1
    found = cross_validate(folder, engine.project, engine)
    kept = {member: len(out) for member, out in enumerate(cases) if out}
    assert {fold["member"]: fold["cases"] for fold in found["folds"]} == kept
    assert len(engine.judged) == sum(kept.values()) > 4


def test_members_that_went_on_from_others_are_told(make_trained):
    engine, folder = make_trained()
    after = CycleFolder(engine.project.root, 1)
    engine.train(after.members, cases=engine.project.cases[:4], seed=1, cycle=1, warm_start=folder.members)
    assert cross_validate(folder, engine.project, engine)["independent"] is True
    assert cross_validate(after, engine.project, engine)["independent"] is False


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"large": [1, 2, 3, 4], "small": [1, 2, 3]}'])
def test_a_damaged_part_is_named(make_trained, content):
    engine, folder = make_trained()
    member, case = held_out_pairs(engine, folder)[0]
    part = folder.path / "crossval" / f"member_{member}" / f"{case}.json"
    part.parent.mkdir(parents=True)
    part.write_text(content)
    with pytest.raises(LoopError, match=part.name):
        cross_validate(folder, engine.project, engine)


def crop(*values: int) -> np.ndarray:
    return np.array(values, np.uint8).reshape(1, 1, -1)


def test_before_training_counts_new_boxes_by_hand():
    labels = LABELS.as_partial()
    predicted = {name: np.ones((3, 4, 8), np.uint8) for name in "ab"}
    predicted["a"][0, 0, :4] = (1, 0, 0, 2)
    new = {
        "a": [
            (Patch((0, 0, 0), (1, 1, 4)), crop(1, 1, 0, UNSURE)),  # 1 TP, 1 FN; class 2 unsure
            (Patch((1, 1, 1), (1, 1, 2)), crop(1, 0)),  # 1 TP, 1 FP
        ],
        "b": [(Patch((2, 3, 7), (1, 1, 1)), crop(0))],  # 1 FP
        "unknown": [(Patch((0, 0, 0), (1, 1, 1)), crop(2))],
        "empty": [],
    }
    assert before_training(predicted.get, new, labels) == {"large": 4 / 7, "small": None}


@pytest.mark.parametrize("new", [{}, {"a": []}, {"a": [(Patch((0, 0, 0), (1, 1, 1)), crop(1))]}])
def test_before_training_without_anything_to_compare(new):
    assert before_training(lambda _: None, new, LABELS.as_partial()) == {"large": None, "small": None}


@pytest.mark.parametrize(
    ("box", "answer"),
    [(Patch((0, 0, 7), (1, 1, 2)), crop(1, 1)), (Patch((0, 0, 0), (1, 1, 2)), crop(1))],
)
def test_before_training_refuses_boxes_that_do_not_fit(box, answer):
    with pytest.raises(NNActiveError, match="shape"):
        before_training(lambda _: np.ones((3, 4, 8), np.uint8), {"a": [(box, answer)]}, LABELS.as_partial())


def test_a_cycle_evaluates_between_training_and_query(bench):
    found = []

    def evaluate(folder):
        found.append(cross_validate(folder, bench.project, bench.engine))

    bench.cycle(seed=4).run(evaluate)
    assert found[0]["independent"] is True
    assert found[0]["folds"]
