"""Answers of the store become label maps, loop files and a summary."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnactive_server.core.errors import DatasetError, LoopError, StoreError
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset, loop_path, read_loops
from nnactive_server.jobs.materialise import answers_path, materialise
from nnactive_server.jobs.projects_on_disk import open_project
from nnactive_server.loop import CycleFolder, export_project
from nnactive_server.store import Kind, Reason, Store
from testkit.clinic import Clinic

IGNORE = 3
Materialise = Callable[..., dict[str, Any]]


class Killed(BaseException):
    """As a killed process: nothing of ours catches it."""


class Killer(Monitor):
    """Kills at the k-th time the work asks whether to stop."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.left = k

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.fixture
def clinic(store: Store, data: Path, source: RawDataset) -> Clinic:
    return Clinic.found(store, data, source)


@pytest.fixture
def work(clinic: Clinic) -> Materialise:
    def do(number: int = 0, monitor: Monitor | None = None) -> dict[str, Any]:
        return materialise(
            clinic.store,
            clinic.project.id,
            CycleFolder(clinic.root, number),
            lambda: open_project(clinic.data, clinic.project, clinic.store.cases, clinic.store.blobs),
            monitor or Monitor(),
        )

    return do


def label(clinic: Clinic, case: str) -> np.ndarray:
    return RawDataset.open(clinic.root).read_label(case).array


def maps(clinic: Clinic) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (clinic.root / "labelsTr").iterdir()}


def expected(clinic: Clinic, case: str, *boxes: Patch) -> np.ndarray:
    truth = clinic.truth(case)
    found = np.full(truth.shape, IGNORE)
    for box in boxes:
        found[box.slices] = truth[box.slices]
    return found


def test_label_maps_hold_the_truth_inside_the_boxes_and_ignore_elsewhere(
    clinic: Clinic, work: Materialise
) -> None:
    placed = clinic.start()
    found = work()
    for case in ("case_0", "case_1", "case_2"):
        boxes = [patch.box for patch in placed if clinic.case_name(patch) == case]
        np.testing.assert_array_equal(label(clinic, case), expected(clinic, case, *boxes))
    assert sorted(maps(clinic)) == ["case_0.nii", "case_1.nii", "case_2.nii"]
    assert found["patches"] == 4
    assert found["annotated_voxels"] == sum(patch.box.voxels for patch in placed)
    truths = [clinic.truth(clinic.case_name(patch))[patch.box.slices] for patch in placed]
    assert found["foreground_voxels"] == sum(int((truth > 0).sum()) for truth in truths)
    assert found["classes"] == {
        name: sum(bool((truth == value).any()) for truth in truths)
        for value, name in enumerate(("large", "small"), 1)
    }
    assert found["classes"]["small"] > 0
    assert found["minutes"] == pytest.approx(4 * 30 / 60)
    assert sorted(found["cases"]) == ["case_0", "case_1", "case_2", "case_3"]
    assert found["cases"]["case_3"] == [0, 0]
    assert found["before_training"] is None


def test_an_empty_patch_is_background_and_unsure_voxels_are_never_learned(
    clinic: Clinic, work: Materialise
) -> None:
    empty, labelled = clinic.place("case_0", (0, 0, 0)), clinic.place("case_1", (4, 5, 5))
    unsure = np.zeros((4, 5, 4), np.uint8)
    unsure[1, 2, 3] = 1
    clinic.answer(empty, Kind.EMPTY, unsure=unsure)
    clinic.answer(labelled, Kind.CONFIRMED, unsure=unsure)
    found = work()
    wanted = np.zeros((4, 5, 4), int)
    wanted[1, 2, 3] = IGNORE
    np.testing.assert_array_equal(label(clinic, "case_0")[empty.box.slices], wanted)
    truth = clinic.truth("case_1")[labelled.box.slices].astype(int)
    truth[1, 2, 3] = IGNORE
    np.testing.assert_array_equal(label(clinic, "case_1")[labelled.box.slices], truth)
    assert found["annotated_voxels"] == 2 * (4 * 5 * 4 - 1)


def test_loop_files_tell_of_every_patch_whatever_its_state(clinic: Clinic, work: Materialise) -> None:
    done, skipped, referred, still_open = [clinic.place("case_0", (0, 0, x)) for x in (0, 3, 6, 8)]
    clinic.answer(done)
    clinic.answer(skipped, Kind.SKIPPED, reason=Reason.BAD_IMAGE)
    clinic.answer(referred, Kind.REFERRED, referred_to="chief")
    work()
    (loop,) = read_loops(clinic.root)
    assert [(p.case, p.patch, p.status) for p in loop] == [
        ("case_0", done.box, "answered"),
        ("case_0", skipped.box, "skipped"),
        ("case_0", referred.box, "referred"),
        ("case_0", still_open.box, "open"),
    ]
    assert [(p.annotator, p.seconds) for p in loop] == [("ann", 30.0)] * 3 + [(None, None)]
    assert [p.rank for p in loop] == [1, 2, 3, 4]
    corner = RawDataset.open(clinic.root).geometry("case_0").index_to_world(skipped.box.start)
    assert loop[1].world_corner == pytest.approx(corner, abs=1e-4)
    np.testing.assert_array_equal(label(clinic, "case_0"), expected(clinic, "case_0", done.box))


def test_there_is_a_loop_file_for_every_cycle_also_one_without_patches(
    clinic: Clinic, work: Materialise
) -> None:
    clinic.start()
    clinic.place("case_1", (0, 0, 0), cycle=2)
    work(2)
    assert [len(loop) for loop in read_loops(clinic.root)] == [4, 0, 1]


def test_a_reopened_patch_leaves_the_label_map_and_a_revised_one_replaces(
    clinic: Clinic, work: Materialise
) -> None:
    reopened, revised, alone, same = [
        clinic.place(case, start)
        for case, start in (
            ("case_0", (0, 0, 0)),
            ("case_0", (6, 5, 4)),
            ("case_1", (4, 5, 5)),
            ("case_2", (5, 4, 4)),
        )
    ]
    for patch in (reopened, revised, alone, same):
        clinic.answer(patch)
    work()
    before = maps(clinic)
    clinic.answer(reopened, Kind.REOPENED)
    clinic.answer(alone, Kind.REOPENED)
    clinic.answer(revised, labels=np.full((4, 5, 4), 2))
    found = work(1)
    assert found["changed"] == ["case_0", "case_1"]
    wanted = expected(clinic, "case_0")
    wanted[revised.box.slices] = 2
    np.testing.assert_array_equal(label(clinic, "case_0"), wanted)
    assert sorted(maps(clinic)) == ["case_0.nii", "case_2.nii"]
    assert maps(clinic)["case_2.nii"] == before["case_2.nii"]
    assert found["cases"]["case_1"] == [0, 0]
    assert (found["patches"], found["annotated_voxels"]) == (2, 2 * 80)
    assert [p.status for p in read_loops(clinic.root)[0]] == ["open", "answered", "open", "answered"]


def test_of_overlapping_boxes_the_newest_answer_holds(clinic: Clinic, work: Materialise) -> None:
    first, second = clinic.place("case_0", (0, 0, 0)), clinic.place("case_0", (2, 2, 2))
    clinic.answer(second, labels=np.full((4, 5, 4), 2))
    clinic.answer(first, labels=np.full((4, 5, 4), 1))
    found = work()
    assert (label(clinic, "case_0")[3, 4, 3], label(clinic, "case_0")[5, 6, 5]) == (1, 2)
    assert found["annotated_voxels"] == 160 - 2 * 3 * 2
    clinic.answer(second, labels=np.full((4, 5, 4), 2))
    work(1)
    assert (label(clinic, "case_0")[3, 4, 3], label(clinic, "case_0")[0, 0, 0]) == (2, 1)


def test_a_late_answer_to_an_older_patch_counts_at_the_next_cycle(clinic: Clinic, work: Materialise) -> None:
    late = clinic.place("case_3", (4, 4, 4))
    clinic.start()
    work()
    assert "case_3.nii" not in maps(clinic)
    clinic.answer(late)
    found = work(1)
    assert found["changed"] == ["case_3"]
    np.testing.assert_array_equal(label(clinic, "case_3"), expected(clinic, "case_3", late.box))


def test_an_answer_that_came_before_its_cycle_is_not_forgotten(clinic: Clinic, work: Materialise) -> None:
    """Placed and answered while the training before went on, and older than an answer that one knew."""
    placed = clinic.place("case_3", (4, 4, 4), cycle=1)
    clinic.answer(placed)
    clinic.start()
    assert work()["patches"] == 4
    assert "case_3.nii" not in maps(clinic)
    found = work(1)
    assert found["patches"] == 5
    np.testing.assert_array_equal(label(clinic, "case_3"), expected(clinic, "case_3", placed.box))


def test_what_was_materialised_stays(clinic: Clinic, work: Materialise) -> None:
    placed = clinic.start()
    first = work()
    files = maps(clinic)
    clinic.answer(placed[0], labels=np.full((4, 5, 4), 2))
    assert work() == first
    assert maps(clinic) == files


def test_without_the_summary_of_the_cycle_before_everything_is_read(
    clinic: Clinic, work: Materialise
) -> None:
    clinic.start()
    work()
    whole = work(1)
    assert whole["changed"] == []
    for number in (0, 1):
        answers_path(CycleFolder(clinic.root, number)).unlink()
    for path in (clinic.root / "labelsTr").iterdir():
        path.unlink()
    again = work(1)
    assert again["changed"] == ["case_0", "case_1", "case_2"]
    assert {k: again[k] for k in whole if k != "changed"} == {k: whole[k] for k in whole if k != "changed"}
    assert sorted(maps(clinic)) == ["case_0.nii", "case_1.nii", "case_2.nii"]


def test_nothing_annotated_is_said_and_nothing_is_frozen(clinic: Clinic, work: Materialise) -> None:
    patch = clinic.place("case_0", (0, 0, 0))
    for prepare in (
        lambda: None,
        lambda: clinic.answer(patch, Kind.SKIPPED, reason=Reason.CANNOT_TELL),
        lambda: clinic.answer(patch, unsure=np.ones((4, 5, 4), np.uint8)),
    ):
        prepare()
        with pytest.raises(LoopError, match="nothing is annotated"):
            work()
    clinic.answer(patch)
    assert work()["patches"] == 1


@pytest.mark.parametrize("part", ["labels", "unsure"])
def test_a_damaged_or_missing_file_is_named(clinic: Clinic, work: Materialise, part: str) -> None:
    patch = clinic.place("case_0", (0, 0, 0))
    clinic.answer(patch, unsure=np.zeros((4, 5, 4), np.uint8))
    answer = clinic.store.answers.newest(patch.id)[1].answer
    sha256 = getattr(answer, part)
    path = clinic.store.blobs.path(sha256)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(StoreError, match=rf"patch {patch.id}: stored file {sha256}"):
        work()
    path.unlink()
    with pytest.raises(StoreError, match=rf"patch {patch.id}: stored file {sha256} is missing"):
        work()


def test_labels_the_project_does_not_know_are_refused(clinic: Clinic, work: Materialise) -> None:
    clinic.answer(clinic.place("case_0", (0, 0, 0)), labels=np.full((4, 5, 4), 9))
    with pytest.raises(DatasetError, match=r"case_0: patch at .*\[9\]"):
        work()


def test_killed_anywhere_the_repetition_gives_the_same(clinic: Clinic, work: Materialise) -> None:
    placed = clinic.start()
    work()
    clinic.answer(placed[3], Kind.REOPENED)
    clinic.answer(placed[1], labels=np.full((4, 5, 4), 2))
    clinic.answer(clinic.place("case_3", (4, 4, 4), cycle=1))
    labels_before, loop_before = maps(clinic), loop_path(clinic.root, 0).read_bytes()
    whole = work(1)
    labels_after = maps(clinic)
    path = answers_path(CycleFolder(clinic.root, 1))
    kills = 0
    while True:
        path.unlink()
        for name, content in labels_before.items():
            (clinic.root / "labelsTr" / name).write_bytes(content)
        (clinic.root / "labelsTr" / "case_3.nii").unlink()
        loop_path(clinic.root, 0).write_bytes(loop_before)
        loop_path(clinic.root, 1).unlink()
        try:
            work(1, Killer(kills + 1))
        except Killed:
            kills += 1
            assert not path.exists()
        else:
            break
        assert work(1) == whole
        assert maps(clinic) == labels_after
    assert kills > 5


def test_a_patch_reopened_after_a_kill_leaves_the_map_again(clinic: Clinic, work: Materialise) -> None:
    """The killed attempt wrote its labels; the next cycle's snapshot is as if they had never been."""
    clinic.start()
    work()
    late = clinic.place("case_3", (4, 4, 4))
    clinic.answer(late)
    with pytest.raises(Killed):
        work(1, Killer(3))
    assert "case_3.nii" in maps(clinic)
    clinic.answer(late, Kind.REOPENED)
    work(1)
    assert "case_3.nii" not in maps(clinic)


def test_the_folder_can_be_given_away(clinic: Clinic, work: Materialise, tmp_path: Path) -> None:
    clinic.start()
    work()
    folder = CycleFolder(clinic.root, 0)
    folder.training.write_text("{}")
    told = export_project(clinic.root, tmp_path / "export", lambda _work, _members, dest: dest)
    assert (told["label_maps"], told["patches"]) == (3, 4)
    with (tmp_path / "export" / "patches.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["answered"] * 4
