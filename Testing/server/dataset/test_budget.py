from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.labels import LabelSet
from nnactive_server.dataset import LoopPatch, start_budget

LABELS = LabelSet(("organ", "lesion", "rare"))
Index3 = tuple[int, int, int]


def truths(
    cases: int, shape: Index3 = (12, 14, 16), rare_in: tuple[int, ...] = (1, 3)
) -> dict[str, np.ndarray]:
    """An organ and a lesion at random places in each case, one rare voxel in a few."""
    found = {}
    for i in range(cases):
        rng, label = np.random.default_rng(i), np.zeros(shape, np.uint8)
        for value, edge in ((1, 5), (2, 2)):
            z, y, x = rng.integers(0, np.array(shape) - edge)
            label[z : z + edge, y : y + edge, x : x + edge] = value
        if i in rare_in:
            label[tuple(rng.integers(0, shape))] = 3
        found[f"c{i}"] = label
    return found


def choose(
    truth: dict[str, np.ndarray],
    q: int = 24,
    patch: Index3 = (4, 4, 4),
    seed: int = 1,
    labels: LabelSet = LABELS,
) -> list[LoopPatch]:
    shapes = {case: label.shape for case, label in truth.items()}
    return start_budget(shapes, truth.__getitem__, labels, patch, q, seed)


def values_in(truth: dict[str, np.ndarray], entry: LoopPatch) -> set[int]:
    return set(np.unique(truth[entry.case][entry.patch.slices]).tolist())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 9999), q=st.integers(8, 30), edge=st.integers(1, 5))
def test_every_class_is_there_twice_in_different_images_and_nothing_overlaps(
    seed: int, q: int, edge: int
) -> None:
    truth = truths(8, rare_in=(1, 3, 6))
    chosen = choose(truth, q, (edge, edge, edge), seed)
    assert len(chosen) == q
    for a, b in combinations(chosen, 2):
        assert a.case != b.case or a.patch.overlap(b.patch) == 0
    for value in range(4):
        assert len({entry.case for entry in chosen if value in values_in(truth, entry)}) >= 2
    for entry in chosen:
        assert entry.patch.inside(truth[entry.case].shape)


def test_a_third_is_for_targets_evenly_over_the_classes() -> None:
    truth = truths(40, rare_in=tuple(range(40)))
    groups = Counter(entry.group for entry in choose(truth, q=90))
    assert groups == {"organ": 10, "lesion": 10, "rare": 10, "background": 2, "uniform": 58}


def test_a_patch_chosen_for_a_class_holds_it() -> None:
    truth = truths(8)
    names = {LABELS.name(value): value for value in range(4)}
    chosen = [entry for entry in choose(truth) if entry.group in names]
    assert len(chosen) >= 8
    for entry in chosen:
        assert names[entry.group or ""] in values_in(truth, entry)


def test_uniform_patches_are_spread_over_the_images() -> None:
    per_case = Counter(entry.case for entry in choose(truths(10), q=40))
    assert max(per_case.values()) - min(per_case.values()) <= 1


def test_the_order_of_the_cases_does_not_matter_but_the_seed_does() -> None:
    truth = truths(8)
    backwards = dict(reversed(truth.items()))
    assert choose(truth) == choose(backwards)
    assert choose(truth) != choose(truth, seed=2)


def test_label_maps_are_read_once_and_only_as_far_as_needed() -> None:
    truth, read = truths(30, rare_in=tuple(range(30))), Counter[str]()

    def reader(case: str) -> np.ndarray:
        read[case] += 1
        return truth[case]

    start_budget({case: label.shape for case, label in truth.items()}, reader, LABELS, (4, 4, 4), 12, 1)
    assert set(read.values()) == {1}
    assert len(read) < 15


def test_a_class_that_no_case_has_costs_no_patch() -> None:
    chosen = choose(truths(4, rare_in=()), q=16)
    assert len(chosen) == 16
    assert "rare" not in {entry.group for entry in chosen}


def test_a_pool_without_room_gives_as_many_as_fit() -> None:
    chosen = choose(truths(2, shape=(8, 8, 8), rare_in=()), q=50, patch=(8, 8, 5))
    assert len(chosen) == 2
    assert len(choose(truths(1, shape=(6, 6, 6), rare_in=()), q=500, patch=(1, 1, 1))) == 216


def test_an_image_smaller_than_the_patch_gives_a_smaller_patch() -> None:
    chosen = choose(truths(3, shape=(6, 14, 16)), q=3, patch=(20, 4, 4))
    assert {entry.patch.size for entry in chosen} == {(6, 4, 4)}


def test_a_budget_smaller_than_the_classes_is_used_up() -> None:
    assert [entry.rank for entry in choose(truths(5), q=2)] == [1, 2]


def test_an_ignored_region_of_the_truth_is_no_target() -> None:
    truth = {"a": np.full((9, 9, 9), LABELS.ignore, np.uint8)}
    assert {entry.group for entry in choose(truth, q=4)} == {"uniform"}


@pytest.mark.parametrize(("cases", "q"), [(0, 5), (3, 0)])
def test_nothing_to_choose_is_an_error(cases: int, q: int) -> None:
    with pytest.raises(DatasetError, match="nothing to choose"):
        choose(truths(cases), q)


def test_a_label_map_of_another_shape_is_refused() -> None:
    reader: Callable[[str], np.ndarray] = lambda case: np.zeros((3, 3, 3), np.uint8)  # noqa: ARG005, E731
    with pytest.raises(DatasetError, match=r"a: label map of shape \(3, 3, 3\)"):
        start_budget({"a": (3, 3, 4)}, reader, LABELS, (2, 2, 2), 4, 1)
