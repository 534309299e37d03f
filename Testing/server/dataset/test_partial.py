from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset, annotated_mask, empty_label, rebuild_label, write_patches

Make = Callable[..., RawDataset]
SHAPE = (8, 9, 10)


@st.composite
def boxes(draw: st.DrawFn) -> Patch:
    start = [draw(st.integers(0, n - 1)) for n in SHAPE]
    size = [draw(st.integers(1, n - s)) for n, s in zip(SHAPE, start, strict=True)]
    return Patch((start[0], start[1], start[2]), (size[0], size[1], size[2]))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patches=st.lists(boxes(), min_size=1, max_size=5), seed=st.integers(0, 999))
def test_only_the_answered_boxes_change(make_project: Make, patches: list[Patch], seed: int) -> None:
    project = make_project(cases=1)
    expected = empty_label(project.geometry("c0"), project.labels)
    rng = np.random.default_rng(seed)
    for patch in patches:
        crop = rng.integers(0, project.labels.ignore + 1, patch.size)
        expected[patch.slices] = crop
        write_patches(project, "c0", {patch: crop})
    written = project.read_label("c0")
    np.testing.assert_array_equal(written.array, expected)
    np.testing.assert_array_equal(annotated_mask(written.array, project.labels), expected != 3)
    assert written.geometry.differences(project.geometry("c0"), tolerance_voxels=1e-6) == []


def test_a_first_answer_leaves_all_else_unknown(make_project: Make) -> None:
    project = make_project()
    patch = Patch((1, 2, 3), (2, 3, 4))
    write_patches(project, "c0", {patch: np.zeros(patch.size, np.uint8)})
    assert annotated_mask(project.read_label("c0").array, project.labels).sum() == patch.voxels
    assert not project.has_label("c1")


def test_unsure_voxels_stay_unknown(make_project: Make) -> None:
    project = make_project()
    crop = np.ones((2, 2, 2), np.uint8)
    crop[0, 0, 0] = project.labels.ignore
    write_patches(project, "c0", {Patch((0, 0, 0), (2, 2, 2)): crop})
    assert annotated_mask(project.read_label("c0").array, project.labels).sum() == 7


@pytest.mark.parametrize(
    ("patch", "crop", "words"),
    [
        (Patch((7, 0, 0), (2, 2, 2)), np.zeros((2, 2, 2), int), "outside the image"),
        (Patch((0, 0, 0), (2, 2, 2)), np.zeros((2, 2, 3), int), "needs labels of that size"),
        (Patch((0, 0, 0), (2, 2, 2)), np.full((2, 2, 2), 4), r"label values \[4\]"),
        (Patch((0, 0, 0), (2, 2, 2)), np.full((2, 2, 2), -1), r"label values \[-1\]"),
        (Patch((0, 0, 0), (2, 2, 2)), np.zeros((2, 2, 2)), "whole numbers"),
    ],
)
def test_one_bad_answer_leaves_the_file_as_it_was(
    make_project: Make, patch: Patch, crop: np.ndarray, words: str
) -> None:
    project = make_project()
    good = Patch((4, 4, 4), (2, 2, 2))
    write_patches(project, "c0", {good: np.ones((2, 2, 2), int)})
    before = project.label_path("c0").read_bytes()
    with pytest.raises(DatasetError, match=words):
        write_patches(project, "c0", {good: np.zeros((2, 2, 2), int), patch: crop})
    assert project.label_path("c0").read_bytes() == before


def test_answers_that_contradict_each_other_are_refused(make_project: Make) -> None:
    project = make_project()
    first, second = Patch((0, 0, 0), (2, 2, 2)), Patch((1, 1, 1), (2, 2, 2))
    with pytest.raises(DatasetError, match="overlaps another one"):
        write_patches(project, "c0", {first: np.ones((2, 2, 2), int), second: np.zeros((2, 2, 2), int)})
    assert not project.has_label("c0")
    write_patches(project, "c0", {first: np.ones((2, 2, 2), int), second: np.ones((2, 2, 2), int)})
    assert annotated_mask(project.read_label("c0").array, project.labels).sum() == 15


def test_a_dense_data_set_takes_no_patches(make_source: Make) -> None:
    with pytest.raises(DatasetError, match="no 'ignore'"):
        write_patches(make_source(), "c0", {Patch((0, 0, 0), (1, 1, 1)): np.zeros((1, 1, 1), int)})


def test_nothing_but_the_label_map_is_left_behind(make_project: Make) -> None:
    project = make_project()
    write_patches(project, "c0", {Patch((0, 0, 0), (1, 1, 1)): np.zeros((1, 1, 1), int)})
    assert [path.name for path in Path(project.root / "labelsTr").iterdir()] == ["c0.nii.gz"]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patches=st.lists(boxes(), min_size=1, max_size=5), seed=st.integers(0, 999))
def test_a_map_made_anew_holds_these_boxes_and_nothing_else(
    make_project: Make, patches: list[Patch], seed: int
) -> None:
    project = make_project(cases=1)
    ignore, rng = project.labels.ignore, np.random.default_rng(seed)
    write_patches(project, "c0", {Patch((0, 0, 0), SHAPE): np.ones(SHAPE, int)})
    expected = np.full(SHAPE, ignore)
    answers = [(patch, rng.integers(0, ignore + 1, patch.size)) for patch in patches]
    for patch, crop in answers:
        expected[patch.slices] = crop
    made = rebuild_label(project, "c0", answers)
    np.testing.assert_array_equal(made, expected)
    written = project.read_label("c0")
    np.testing.assert_array_equal(written.array, expected)
    assert written.geometry.differences(project.geometry("c0"), tolerance_voxels=1e-6) == []


def test_of_overlapping_boxes_the_later_one_holds_also_where_it_is_unsure(make_project: Make) -> None:
    project = make_project(cases=1)
    first, second = Patch((0, 0, 0), (2, 2, 2)), Patch((1, 1, 1), (2, 2, 2))
    ones, twos = np.ones((2, 2, 2), int), np.full((2, 2, 2), 2)
    twos[0, 0, 0] = project.labels.ignore
    label = rebuild_label(project, "c0", [(first, ones), (second, twos)])
    assert label is not None
    assert (label[1, 1, 1], label[0, 0, 0], label[2, 2, 2]) == (project.labels.ignore, 1, 2)
    other_way = rebuild_label(project, "c0", [(second, twos), (first, ones)])
    assert other_way is not None
    assert other_way[1, 1, 1] == 1


def test_without_answers_there_is_no_label_map(make_project: Make) -> None:
    project = make_project(cases=1)
    assert rebuild_label(project, "c0", []) is None
    rebuild_label(project, "c0", [(Patch((0, 0, 0), (1, 1, 1)), np.ones((1, 1, 1), int))])
    assert project.has_label("c0")
    assert rebuild_label(project, "c0", []) is None
    assert not project.has_label("c0")


def test_a_bad_answer_keeps_the_map_that_was_there(make_project: Make, make_source: Make) -> None:
    project = make_project(cases=1)
    good = Patch((4, 4, 4), (2, 2, 2))
    rebuild_label(project, "c0", [(good, np.ones((2, 2, 2), int))])
    before = project.label_path("c0").read_bytes()
    for crop in (np.ones((2, 2, 3), int), np.full((2, 2, 2), 4), np.ones((2, 2, 2))):
        with pytest.raises(DatasetError, match="c0: patch at"):
            rebuild_label(
                project, "c0", [(good, np.zeros((2, 2, 2), int)), (Patch((0, 0, 0), (2, 2, 2)), crop)]
            )
    assert project.label_path("c0").read_bytes() == before
    with pytest.raises(DatasetError, match="no 'ignore'"):
        rebuild_label(make_source(name="dense"), "c0", [])
