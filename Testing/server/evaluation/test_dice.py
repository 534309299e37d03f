import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.labels import LabelSet
from nnactive_server.evaluation import (
    Overlap,
    class_means,
    dice_per_class,
    mean_dice,
    overlap_per_class,
    pairwise_dice,
)

LABELS = LabelSet(("a", "b"))
SHAPE = (3, 4, 5)
label_maps = arrays.arrays(np.uint8, SHAPE, elements=st.integers(0, 2))


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(1, 1, -1)


def test_hand_counted_overlap() -> None:
    prediction, reference = line(1, 1, 1, 0, 2, 2), line(1, 1, 0, 0, 2, 0)
    assert dice_per_class(prediction, reference, LABELS) == pytest.approx((4 / 5, 2 / 3))


def test_a_class_absent_from_both_is_undefined_and_one_only_predicted_is_zero() -> None:
    absent, invented = dice_per_class(line(0, 2), line(0, 0), LABELS)
    assert math.isnan(absent)
    assert invented == 0


def test_a_class_that_was_missed_is_zero() -> None:
    assert dice_per_class(line(0, 0), line(1, 2), LABELS) == (0, 0)


def test_voxels_nobody_annotated_do_not_count() -> None:
    labels = LABELS.as_partial()
    reference = line(1, 1, labels.ignore, labels.ignore)
    a, b = dice_per_class(line(1, 0, 1, 2), reference, labels)
    assert a == pytest.approx(2 / 3)
    assert math.isnan(b)


def test_arrays_on_different_grids_are_refused() -> None:
    with pytest.raises(NNActiveError, match="shape"):
        dice_per_class(line(0, 1), line(0, 1, 1), LABELS)


def test_voxels_are_counted_by_hand() -> None:
    prediction, reference = line(1, 1, 1, 0, 2, 2), line(1, 1, 0, 1, 2, 3)
    counted = overlap_per_class(prediction, reference, LABELS.as_partial())
    assert counted == (Overlap(2, 1, 1), Overlap(1, 0, 0))
    assert counted[0].dice == pytest.approx(4 / 6)
    assert math.isnan(Overlap().dice)


@settings(deadline=None, max_examples=50)
@given(label_maps, label_maps)
def test_counts_of_two_halves_add_up_to_those_of_the_whole(a: np.ndarray, b: np.ndarray) -> None:
    halves = [overlap_per_class(a[:, part], b[:, part], LABELS) for part in (slice(0, 2), slice(2, 4))]
    whole = overlap_per_class(a, b, LABELS)
    assert tuple(first + second for first, second in zip(*halves, strict=True)) == whole


@settings(deadline=None, max_examples=50)
@given(label_maps, label_maps)
def test_dice_is_symmetric_between_0_and_1_and_1_on_itself(a: np.ndarray, b: np.ndarray) -> None:
    forth, back = dice_per_class(a, b, LABELS), dice_per_class(b, a, LABELS)
    np.testing.assert_array_equal(forth, back)
    assert all(math.isnan(d) or 0 <= d <= 1 for d in forth)
    assert all(math.isnan(d) or d == 1 for d in dice_per_class(a, a, LABELS))


def test_mean_dice_averages_cases_before_classes() -> None:
    table = [(0.5, math.nan), (0.7, 0.2), (0.9, math.nan)]
    assert class_means(table) == pytest.approx((0.7, 0.2))
    # Averaging all four defined numbers at once would give 0.575.
    assert mean_dice(table) == pytest.approx(0.45)


def test_a_class_no_test_case_shows_is_left_out_of_the_mean() -> None:
    assert mean_dice([(0.5, math.nan), (0.7, math.nan)]) == pytest.approx(0.6)
    assert math.isnan(mean_dice([(math.nan, math.nan)]))


def test_a_mean_over_no_case_is_refused() -> None:
    with pytest.raises(NNActiveError, match="at least one case"):
        mean_dice([])


def test_pairwise_dice_averages_over_pairs_of_members() -> None:
    members = [line(1, 1, 0, 0), line(1, 0, 0, 0), line(1, 1, 0, 0)]
    assert pairwise_dice(members, LABELS) == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)


def test_pairs_without_foreground_are_skipped() -> None:
    empty, full = line(0, 0), line(1, 1)
    assert pairwise_dice([empty, empty, full], LABELS) == pytest.approx(0.0)
    assert math.isnan(pairwise_dice([empty, empty], LABELS))
    assert math.isnan(pairwise_dice([full], LABELS))
