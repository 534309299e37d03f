"""The job `cycle` with an early proposal, in this process and with the numpy engine."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from nnactive_server.core.errors import Cancelled
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset import RawDataset
from nnactive_server.jobs.reporting import JobMonitor
from nnactive_server.loop import CycleFolder
from nnactive_server.store import JobState, PatchRecord, Store
from testkit.clinic import Clinic


class Meanwhile(Monitor):
    """Does something once early patches are there and the training goes on; may then ask to stop."""

    def __init__(self, clinic: Clinic, act: Callable[[tuple[PatchRecord, ...]], object], stop=False) -> None:
        super().__init__()
        self._clinic, self._act, self._stop = clinic, act, stop
        self.seen: tuple[PatchRecord, ...] = ()

    def report(self, stage: str, *_: object) -> None:
        early = () if self.seen else self._clinic.batch(1)
        if stage == "train" and early:
            self.seen = early
            self._act(early)
            if self._stop:
                self.cancel()


@pytest.fixture
def clinic(store: Store, data: Path, source: RawDataset) -> Clinic:
    made = Clinic.found(store, data, source)
    made.start()
    return made


def test_early_patches_are_there_while_the_training_goes_on_and_give_way_when_it_ends(clinic: Clinic) -> None:
    during = Meanwhile(clinic, lambda _: None)
    result = clinic.work(clinic.job(early=True), during)
    assert [patch.early for patch in during.seen] == [True] * 3
    assert during.seen[0].explanation["sentence"]
    final = clinic.batch(1)
    assert len(final) == result["proposed"] == 3
    kept = {patch.id for patch in during.seen} & {patch.id for patch in final}
    assert all((patch.id in kept) == patch.early for patch in final)
    assert not CycleFolder(clinic.root, 0).early.path.exists()
    assert "early" in result["seconds"]


def test_the_final_patches_are_those_of_a_training_without(
    clinic: Clinic, tmp_path: Path, source: RawDataset
) -> None:
    def boxes(where: Clinic) -> set[tuple[str, tuple[int, ...]]]:
        return {(where.case_name(patch), patch.box.start) for patch in where.batch(1)}

    clinic.work(clinic.job(early=True))
    (tmp_path / "other").mkdir()
    with Store(tmp_path / "other") as second:
        plain = Clinic.found(second, tmp_path / "other", source)
        plain.start()
        plain.cycle()
        assert boxes(plain) == boxes(clinic)


def test_early_patches_that_were_answered_or_are_held_stay_and_nothing_overlaps_them(clinic: Clinic) -> None:
    def act(early: tuple[PatchRecord, ...]) -> None:
        clinic.answer(early[0])
        clinic.store.leases.take(early[1].id, "ben", 3600)

    during = Meanwhile(clinic, act)
    result = clinic.work(clinic.job(early=True), during)
    final = clinic.batch(1)
    assert len(final) == result["proposed"] == 3
    assert {patch.id for patch in during.seen[:2]} <= {patch.id for patch in final}
    for one, other in combinations(final, 2):
        assert one.case != other.case or not one.box.overlap(other.box)
    clinic.answer_batch(1)
    assert clinic.cycle()["patches"] == 7


def test_a_job_stopped_after_its_early_proposal_goes_on_with_it(clinic: Clinic) -> None:
    job = clinic.job(early=True)
    during = Meanwhile(clinic, lambda early: clinic.answer(early[0]), stop=True)
    with pytest.raises(Cancelled):
        clinic.work(job, during)
    assert [patch.id for patch in clinic.batch(1)] == [patch.id for patch in during.seen]
    result = clinic.work(clinic.again(job))
    assert during.seen[0].id in {patch.id for patch in clinic.batch(1)}
    assert len(clinic.batch(1)) == result["proposed"] == 3


def test_a_new_job_after_one_that_was_given_up_takes_over_the_early_patches(clinic: Clinic) -> None:
    job = clinic.job(early=True)
    during = Meanwhile(clinic, lambda early: clinic.answer(early[0]), stop=True)
    with pytest.raises(Cancelled):
        clinic.work(job, during)
    clinic.store.jobs.cancel(job.id)
    result = clinic.cycle()
    assert (result["cycle"], result["patches"], result["proposed"]) == (0, 4, 3)
    assert during.seen[0].id in {patch.id for patch in clinic.batch(1)}
    assert clinic.cycle()["patches"] == 5


def test_a_training_without_proposes_nothing_early(clinic: Clinic) -> None:
    during = Meanwhile(clinic, lambda _: None)
    clinic.cycle(monitor=during)
    assert during.seen == ()
    assert not any(patch.early for patch in clinic.batch(1))
    assert clinic.store.jobs.list(clinic.project.id)[0].state == JobState.SUCCEEDED


def test_the_time_of_an_early_proposal_is_only_expected_where_there_is_one(clinic: Clinic) -> None:
    clinic.work(clinic.job(early=True))
    clinic.answer_batch(1)
    expected = []
    for early in (True, False):
        monitor = JobMonitor()
        clinic.work(clinic.job(early=early), monitor)
        expected.append("early" in monitor.expected)
        clinic.answer_batch(clinic.next_cycle)
    assert expected == [True, False]
