"""The job `cycle`, in this process and with the numpy engine."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnactive_server.core.economy import NOT_ENOUGH
from nnactive_server.core.errors import Cancelled, LoopError
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset import RawDataset, read_loops
from nnactive_server.evaluation.saving import next_gain
from nnactive_server.jobs.outlook import outlook
from nnactive_server.jobs.reporting import JobMonitor
from nnactive_server.loop import BusyProject, CycleFolder, project_lock, read_maps
from nnactive_server.query import strategy_names
from nnactive_server.store import JobState, Kind, NewPatch, Origin, PatchRecord, Reason, Store
from testkit import numpy_engine
from testkit.clinic import SETTINGS, Clinic

RESULT = {
    "cycle", "model", "patches", "annotated_voxels", "foreground_voxels", "minutes", "classes",
    "dice_per_class", "mean_dice", "fold_spread", "folds", "independent", "before_training", "seconds",
    "quality", "proposed", "missing", "shortages", "outlook",
}  # fmt: skip


class Stopper(Monitor):
    """Asks to stop, and does something before, when a stage is reported."""

    def __init__(self, stage: str, act: Callable[[], object] = lambda: None, stop: bool = True) -> None:
        super().__init__()
        self._stage, self._act, self._stop, self.acted = stage, act, stop, False

    def report(self, stage: str, *_: object) -> None:
        if stage == self._stage and not self.acted:
            self.acted = True
            self._act()
            if self._stop:
                self.cancel()


@pytest.fixture
def clinic(store: Store, data: Path, source: RawDataset) -> Clinic:
    return Clinic.found(store, data, source)


def change(clinic: Clinic, **settings: Any) -> None:
    known = clinic.store.projects.get(clinic.project.id)
    clinic.store.projects.change(known.id, known.revision, {**known.settings, **settings})


def boxes(patches: tuple[PatchRecord, ...]) -> list[tuple[str, tuple[int, ...]]]:
    return [(patch.case, patch.box.start) for patch in patches]


def test_answers_become_a_model_its_figures_and_the_next_patches(clinic: Clinic) -> None:
    placed = clinic.start()
    result = clinic.cycle()
    assert set(result) == RESULT
    assert (result["cycle"], result["model"], result["patches"]) == (0, "cycle-000", 4)
    assert result["annotated_voxels"] == sum(patch.box.voxels for patch in placed)
    assert set(result["seconds"]) >= {"answers", "label_update", "train", "evaluate", "predict", "query"}
    assert sorted(result["quality"]) == ["case_0", "case_1", "case_2", "case_3"]
    assert result["before_training"] is None
    assert 0.2 < result["mean_dice"] <= 1
    batch = clinic.batch(1)
    assert (len(batch), result["proposed"], result["missing"]) == (3, 3, 0)
    for rank, patch in enumerate(batch, start=1):
        assert (patch.rank, patch.origin, patch.state, patch.box.size) == (rank, "query", "open", (4, 5, 4))
        assert set(patch.explanation) >= {"mean", "class_shares", "sentence"}
        assert "Predicted:" in patch.explanation["sentence"]
    about = {patch.group: patch.explanation.get("class") for patch in batch}
    assert about == {g: {"class-1": "large", "class-2": "small"}.get(g) for g in about}
    assert set(about) & {"class-1", "class-2"}


def test_the_stored_result_is_what_was_returned(clinic: Clinic) -> None:
    clinic.start()
    result = clinic.cycle()
    (job,) = clinic.store.jobs.list(clinic.project.id)
    assert (job.state, job.result) == (JobState.SUCCEEDED, result)


def test_no_box_is_ever_shown_twice_also_past_the_plan(clinic: Clinic) -> None:
    clinic.start()
    clinic.place("case_3", (0, 0, 0))
    shown = 5
    for cycle in range(4):
        during = Stopper("train", lambda c=cycle: clinic.place("case_3", (7, 9, c), cycle=c + 1), stop=False)
        result = clinic.cycle(monitor=during)
        assert during.acted
        shown += result["proposed"] + 1
        first, *others = [p for p in clinic.batch(cycle + 1) if p.origin == Origin.QUERY]
        clinic.answer(first, Kind.SKIPPED, reason=Reason.BAD_IMAGE)
        for patch in others[1:]:
            clinic.answer(patch)
    patches = clinic.store.patches.list(clinic.project.id)
    assert len(patches) == shown
    asked = {p.id for p in patches if p.origin == Origin.QUERY}
    assert len(asked) >= 8
    for one, other in combinations(patches, 2):
        if one.case == other.case and {one.id, other.id} & asked:
            assert one.box.overlap(other.box) == 0, (one, other)


def test_boxes_placed_while_a_training_goes_on_are_not_asked_for(clinic: Clinic) -> None:
    clinic.start()

    def place() -> None:
        for name in ("case_0", "case_1", "case_2"):
            clinic.place(name, (0, 0, 0), clinic.truth(name).shape, cycle=1)

    result = clinic.cycle(monitor=Stopper("train", place, stop=False))
    asked = [patch for patch in clinic.batch(1) if patch.origin == Origin.QUERY]
    assert len(asked) == result["proposed"] == 3
    assert {clinic.case_name(patch) for patch in asked} == {"case_3"}


def test_the_second_cycle_learns_from_revised_late_and_reopened_answers(
    store: Store, data: Path, source: RawDataset
) -> None:
    clinic = Clinic.found(store, data, source, query_size=1)
    late = clinic.place("case_3", (4, 4, 4))
    placed = clinic.start()
    clinic.cycle()
    clinic.answer(late)
    clinic.answer(placed[3], Kind.REOPENED)
    for patch in placed[:3]:
        clinic.answer(patch, labels=np.full((4, 5, 4), 2))
    told: list[list[str]] = []

    class Watched(numpy_engine.NumpyEngine):
        def update_labels(self, cases: Any) -> None:
            told.append(list(cases))
            super().update_labels(cases)

    clinic.cycle(make_engine=lambda p, w, _, m: Watched(p, w, numpy_engine.NumpyProfile(), m))
    # The batch has one patch, so most of these are in no newer loop file.
    assert told == [["case_0", "case_1", "case_2", "case_3"]]
    project = RawDataset.open(clinic.root)
    for case in project.cases:
        known = np.load(clinic.root / "work" / f"{case}.label.npy")
        np.testing.assert_array_equal(known, project.read_label(case).array)
    assert (project.read_label("case_0").array[placed[0].box.slices] == 2).all()
    assert [len(loop) for loop in read_loops(clinic.root)] == [5, 1]


def test_the_model_before_is_judged_on_what_it_had_not_seen(clinic: Clinic) -> None:
    placed = clinic.start()
    clinic.cycle()
    predictions = {
        case: read_maps(CycleFolder(clinic.root, 0).maps(case))[0]
        for case in ("case_0", "case_1", "case_2", "case_3")
    }
    both = sizes = 0
    unsure = np.zeros((4, 5, 4), np.uint8)
    unsure[:2] = 1
    for patch in clinic.batch(1):
        clinic.answer(patch, unsure=unsure)
        case = clinic.case_name(patch)
        found, truth = (a[patch.box.slices][2:] == 1 for a in (predictions[case], clinic.truth(case)))
        both, sizes = both + (found & truth).sum(), sizes + found.sum() + truth.sum()
    clinic.answer(placed[0], labels=np.full((4, 5, 4), 2))  # revised: the model has seen this box
    result = clinic.cycle()
    assert sizes > 0
    assert result["before_training"]["large"] == pytest.approx(2 * both / sizes)


@pytest.mark.parametrize("strategy", ["random", *strategy_names()[3:5]])
def test_every_case_has_maps_and_a_quality_whatever_the_strategy(
    store: Store, data: Path, source: RawDataset, strategy: str
) -> None:
    clinic = Clinic.found(store, data, source, strategy=strategy)
    clinic.start()
    quality = clinic.cycle()["quality"]
    for case in source.cases:
        assert quality[case] is None or 0 <= quality[case] <= 1
        assert CycleFolder(clinic.root, 0).maps(case).exists()
    assert len(quality) == 4


def test_nothing_annotated_is_a_sentence_and_the_job_can_go_on_later(clinic: Clinic) -> None:
    job = clinic.job()
    with pytest.raises(LoopError, match="nothing is annotated"):
        clinic.work(job)
    clinic.start()
    assert clinic.work(clinic.again(job))["patches"] == 4


def test_a_resumed_job_goes_on_with_its_own_settings_answers_and_cases(
    store: Store, data: Path, source: RawDataset
) -> None:
    clinic = Clinic.found(store, data, source, cases=3)
    placed = clinic.start()
    job = clinic.job()
    with pytest.raises(Cancelled):
        clinic.work(job, Stopper("train"))
    change(clinic, query_size=1, patch_size=[3, 3, 3], strategy="random", planned_cycles=9)
    clinic.answer(placed[0], labels=np.full((4, 5, 4), 2))
    clinic.add_case("case_3")
    result = clinic.work(clinic.again(job))
    assert (result["proposed"], result["patches"]) == (3, 4)
    assert {patch.box.size for patch in clinic.batch(1)} == {(4, 5, 4)}
    assert sorted(result["quality"]) == ["case_0", "case_1", "case_2"]
    clinic.answer_batch(1)
    result = clinic.cycle()
    assert (result["proposed"], len(result["quality"])) == (1, 4)
    assert clinic.batch(2)[0].box.size == (3, 3, 3)


def test_a_new_job_for_the_same_cycle_begins_anew(clinic: Clinic) -> None:
    placed = clinic.start()
    first = clinic.job()
    with pytest.raises(Cancelled):
        clinic.work(first, Stopper("predict"))
    clinic.store.jobs.cancel(first.id)
    change(clinic, query_size=2)
    clinic.answer(placed[0], labels=np.full((4, 5, 4), 2))
    clinic.answer(clinic.place("case_3", (4, 4, 4)))
    result = clinic.cycle()
    assert (result["cycle"], result["proposed"], result["patches"]) == (0, 2, 5)
    assert (RawDataset.open(clinic.root).read_label("case_0").array[placed[0].box.slices] == 2).all()
    assert not list(clinic.root.glob(".discarded*"))
    with pytest.raises(LoopError, match="cycle 1 is the next"):
        clinic.work(clinic.again(first))


def test_a_new_job_only_ends_what_had_proposed_its_patches(clinic: Clinic) -> None:
    clinic.start()
    first = clinic.job()
    context_store, before = clinic.store.patches, []

    class Lost(Exception):
        pass

    def propose_and_die(*args: Any, **words: Any) -> None:
        before.extend(type(context_store).propose(context_store, *args, **words))
        raise Lost

    context_store.propose = propose_and_die  # type: ignore[method-assign]
    with pytest.raises(Lost):
        clinic.work(first)
    del context_store.propose  # type: ignore[method-assign]
    clinic.store.jobs.cancel(first.id)
    clinic.answer(clinic.batch(1)[0])
    change(clinic, query_size=1)
    result = clinic.cycle()
    assert (result["cycle"], result["proposed"], result["patches"]) == (0, 3, 4)
    assert [p.id for p in clinic.batch(1)] == [p.id for p in before]


def test_a_new_job_for_the_first_cycle_makes_a_new_plan(clinic: Clinic) -> None:
    clinic.start()
    job = clinic.job()
    with pytest.raises(Cancelled):
        clinic.work(job, Stopper("train"))
    clinic.store.jobs.cancel(job.id)
    (clinic.root / "work" / "old").touch()
    clinic.cycle()
    assert not (clinic.root / "work" / "old").exists()
    clinic.answer_batch(1)
    job = clinic.job()
    with pytest.raises(Cancelled):
        clinic.work(job, Stopper("train"))
    clinic.store.jobs.cancel(job.id)
    (clinic.root / "work" / "kept").touch()
    clinic.cycle()
    assert (clinic.root / "work" / "kept").exists()


@pytest.mark.parametrize("number", [1, 7])
def test_a_cycle_out_of_turn_is_refused(clinic: Clinic, number: int) -> None:
    clinic.start()
    clinic.store.jobs.enqueue(clinic.project.id, "cycle", {"cycle": number})
    job = clinic.store.jobs.claim(1)
    assert job is not None
    with pytest.raises(LoopError, match="cycle 0 is the next"):
        clinic.work(job)
    assert not CycleFolder(clinic.root, number).path.exists()


def test_only_one_process_works_on_a_project(clinic: Clinic) -> None:
    clinic.start()
    clinic.root.mkdir(parents=True)
    with project_lock(clinic.root), pytest.raises(BusyProject):
        clinic.cycle()


def test_wrong_settings_are_told_before_hours_of_training(
    store: Store, data: Path, source: RawDataset
) -> None:
    clinic = Clinic.found(store, data, source, strategy_parameters={"alpha": 7.0})
    clinic.start()
    with pytest.raises(Exception, match="alpha"):
        clinic.cycle()
    assert not (CycleFolder(clinic.root, 0).members).exists()


def test_the_seconds_of_a_cycle_are_expected_of_the_next(clinic: Clinic) -> None:
    clinic.start()
    monitor = JobMonitor()
    clinic.cycle(monitor=monitor)
    assert monitor.expected == {}
    clinic.answer_batch(1)
    monitor = JobMonitor()
    result = clinic.cycle(monitor=monitor)
    assert list(monitor.expected) == ["train", "evaluate", "predict", "query"]
    assert result["seconds"].keys() >= monitor.expected.keys()


@pytest.mark.parametrize(
    ("warm", "judged_on", "trainings"), [(False, "held-out", 5), (True, "before-training", 4)]
)
def test_after_enough_trainings_the_next_one_has_an_outlook(
    store: Store, data: Path, source: RawDataset, warm: bool, judged_on: str, trainings: int
) -> None:
    clinic = Clinic.found(store, data, source, profile_overrides={"warm_start": warm})
    clinic.start()
    results = [clinic.cycle()]
    assert results[0]["outlook"]["verdict"] == NOT_ENOUGH
    for number in range(1, 5):
        clinic.answer_batch(number)
        results.append(clinic.cycle())
    told = results[-1]["outlook"]
    assert (told["judged_on"], told["trainings"], told["patches"]) == (judged_on, trainings, 3)
    curve = [r["before_training"] for r in results[1:]] if warm else [r["dice_per_class"] for r in results]
    known = [name for name in ("large", "small") if all(one[name] is not None for one in curve)]
    dice = [sum(one[name] for name in known) / len(known) for one in curve]
    amounts = [r["patches"] for r in results]
    assert told["mean"] == pytest.approx(next_gain(amounts[:trainings], dice, 3, since=amounts[-1]).mean)
    assert told["low"] <= told["mean"] <= told["high"]
    (*_, (_, newest)) = clinic.store.jobs.results(clinic.project.id, "cycle")
    assert newest["outlook"] == told
    older = [{key: value for key, value in one.items() if key != "outlook"} for one in results]
    assert outlook(older) == told


def test_start_patches_and_two_projects_do_not_meet(clinic: Clinic, source: RawDataset) -> None:
    other = Clinic(clinic.store, clinic.data, source, clinic.store.projects.create("Other", SETTINGS))
    for name in source.cases[:2]:
        other.add_case(name)
    case = clinic.store.cases.by_name(clinic.project.id, "case_0")
    middle = (4, 5, 4)
    batch = [NewPatch(case.id, clinic.place("case_1", middle).box)]
    for patch in clinic.store.patches.propose(clinic.project.id, 0, batch, Origin.START):
        clinic.answer(patch)
    other.answer(other.place("case_1", middle))
    assert clinic.cycle()["patches"] == 1
    assert sorted(other.cycle()["quality"]) == ["case_0", "case_1"]
    assert len(clinic.batch(1)) == len(other.batch(1)) == 3
