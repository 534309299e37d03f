from __future__ import annotations

import json
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import start_budget
from nnactive_server.jobs.handlers_project import start_patches, suggest

SHAPES = {"a": [12, 14, 16], "b": [20, 14, 6], "c": [12, 14, 16]}


def params(**changes: Any) -> dict[str, Any]:
    return {"shapes": SHAPES, "patch_size": [4, 4, 4], "count": 9, "seed": 1} | changes


def boxes(found: dict[str, Any]) -> list[tuple[str, Patch]]:
    return [(each["case"], Patch(each["start"], each["size"])) for each in found["patches"]]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 9999), count=st.integers(1, 25), edge=st.integers(1, 7))
def test_start_patches_lie_inside_and_apart_from_each_other_and_from_what_is_taken(
    seed: int, count: int, edge: int
) -> None:
    taken = {"a": [{"start": [0, 0, 0], "size": [6, 14, 16]}]}
    found = boxes(start_patches(params(seed=seed, count=count, patch_size=[edge] * 3, taken=taken)))
    for case, box in found:
        assert box.inside(SHAPES[case])
        assert case != "a" or box.start[0] >= 6
    for (case, box), (other, second) in combinations(found, 2):
        assert case != other or box.overlap(second) == 0


def test_what_is_taken_counts_as_patches_of_its_case() -> None:
    taken = {"a": [{"start": [0, 0, i], "size": [1, 1, 1]} for i in range(9)]}
    cases = [case for case, _ in boxes(start_patches(params(taken=taken)))]
    assert sorted(set(cases)) == ["b", "c"]


def test_start_patches_depend_on_the_seed_alone() -> None:
    first = start_patches(params())
    assert first == start_patches(params(shapes=dict(reversed(SHAPES.items()))))
    assert first != start_patches(params(seed=2))
    assert json.loads(json.dumps(first))["missing"] == 0


def test_patches_without_room_are_counted() -> None:
    found = start_patches(params(shapes={"a": [4, 4, 7]}, count=5))
    assert len(found["patches"]) == 1
    assert found["missing"] == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"shapes": {}},
        {"count": 0},
        {"taken": {"a": [{"start": [11, 0, 0], "size": [2, 1, 1]}]}},
        {"taken": {"nobody": [{"start": [0, 0, 0], "size": [1, 1, 1]}]}},
    ],
)
def test_requests_for_nothing_or_for_other_images_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match="start patches"):
        start_patches(params(**changes))


def test_a_start_budget_without_targets_is_drawn_in_the_same_way() -> None:
    labels = LabelSet(("x",))
    truth = {case: np.full(shape, labels.ignore, np.uint8) for case, shape in SHAPES.items()}
    shapes = {case: tuple(shape) for case, shape in SHAPES.items()}
    chosen = start_budget(shapes, truth.__getitem__, labels, (4, 4, 4), 9, 1)
    assert [(each.case, each.patch) for each in chosen] == boxes(start_patches(params()))


def grids(count: int = 4) -> list[dict[str, Any]]:
    geometry = Geometry((40, 40, 40), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    documents: list[dict[str, Any]] = json.loads(json.dumps([asdict(geometry)] * count))
    return documents


def ask(**changes: Any) -> dict[str, Any]:
    base = {"geometries": grids(), "labels": ["liver", "tumour"], "boxes": {"liver": [[12, 12, 8]]}}
    result: dict[str, Any] = json.loads(json.dumps(suggest(base | changes)))
    return result


def test_settings_are_suggested_from_grids_and_rough_boxes() -> None:
    found = ask()
    assert found["patch_size"] == [4, 12, 8]
    assert found["patch_mm"] == [12, 12, 8]
    assert found["cycles"] == 5
    assert set(found["reasons"]) == {"patch_size", "query_size", "cycles"}
    assert any("No size is known for tumour" in words for words in found["warnings"])


def test_variable_classes_get_more_patches_and_the_class_of_interest_sets_the_patch() -> None:
    sizes = {"liver": [[30, 20, 20]], "tumour": [[6, 3, 3], [9, 4, 4]]}
    assert ask(boxes=sizes, interest=["tumour"])["patch_size"] == [2, 4, 4]
    small = {"tumour": [[6, 3, 3]]}
    assert ask(boxes=small)["query_size"] == 100
    assert ask(boxes=small, variable=["tumour"])["query_size"] == 150


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"geometries": []}, "no images"),
        ({"boxes": {}}, "give rough boxes"),
        ({"boxes": {"lung": [[1, 1, 1]]}}, "no class is called lung"),
        ({"boxes": {"liver": [[1, 0, 1]]}}, "boxes of 'liver'"),
    ],
)
def test_what_cannot_be_answered_is_said_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        ask(**changes)
