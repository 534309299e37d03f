from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.patch import Patch
from nnactive_server.query import CaseMaps, Explanation, Query, describe, propose, uncertainty_maps
from nnactive_server.query.explain import explain, gap_mm
from nnactive_server.query.words import class_name

BOXES = st.builds(Patch, st.tuples(*[st.integers(0, 6)] * 3), st.tuples(*[st.integers(1, 3)] * 3))
NAMES = ("Anterior", "Posterior")


@settings(deadline=None, max_examples=150)
@given(BOXES, BOXES, st.tuples(*[st.sampled_from([0.5, 1.0, 2.5, 5.0])] * 3))
def test_the_gap_is_the_shortest_way_between_points_of_the_two_boxes(one, other, spacing):
    def faces(box) -> list[tuple[int, ...]]:
        return list(itertools.product(*(range(a, b + 1) for a, b in zip(box.start, box.stop, strict=True))))

    shortest = min(
        math.dist(
            [a * s for a, s in zip(p, spacing, strict=True)], [b * s for b, s in zip(q, spacing, strict=True)]
        )
        for p in faces(one)
        for q in faces(other)
    )
    assert gap_mm(one, other, spacing) == pytest.approx(shortest)
    assert gap_mm(one, other, spacing) == gap_mm(other, one, spacing)


def test_a_patch_is_explained_by_its_own_voxels():
    rng = np.random.default_rng(0)
    shape = (4, 5, 6)
    prediction = rng.integers(0, 3, shape).astype(np.uint8)
    maps = {"predictive_entropy": rng.random(shape), "mutual_information": rng.random(shape)}
    case = CaseMaps("a", shape, maps | {"prediction": prediction}, spacing=(3.0, 1.0, 2.0))
    patch, annotated = Patch((0, 1, 2), (2, 3, 2)), [Patch((3, 0, 0), (1, 1, 1)), Patch((0, 0, 5), (1, 1, 1))]
    why = explain(case, patch, annotated, 0.25)
    box = patch.slices
    assert why.mean == 0.25
    assert why.measures == {name: pytest.approx(values[box].mean()) for name, values in maps.items()}
    counts = np.bincount(prediction[box].ravel()) / 12
    assert why.class_shares == {i: pytest.approx(share) for i, share in enumerate(counts) if share}
    assert why.nearest_mm == 2.0  # one voxel of 2 mm to the right, touching above
    assert why.percentile is None
    assert explain(replace(case, maps={}), patch, [], None) == Explanation()


def test_proposals_say_where_each_patch_stands_in_the_pool():
    ramp = np.arange(1000.0).reshape(1, 1, 1000)
    pool = {"a": {"predictive_entropy": ramp}, "b": {"predictive_entropy": np.zeros((1, 1, 1000))}}
    proposal = propose(pool, "predictive-entropy", 3, 0, 4, {}, 1, patch_size=(1, 1, 1))
    assert [q.start[2] for q in proposal] == [999, 998, 997]
    for query in proposal:
        assert query.why.percentile == pytest.approx(50 + 50 * query.start[2] / 1000, abs=0.2)


def test_every_uncertainty_strategy_gives_a_percentile_and_random_gives_none():
    rng = np.random.default_rng(0)
    weights = rng.random((2, 3, 6, 6, 6))
    maps = uncertainty_maps(list(weights / weights.sum(axis=1, keepdims=True)))
    for name in ("clasp-pe", "bald", "softrank-bald"):
        proposal = propose({"a": maps}, name, 4, 0, 4, {}, 1, patch_size=(2, 2, 2))
        assert all(0 <= query.why.percentile <= 100 for query in proposal)
    assert {
        q.why.percentile for q in propose({"a": maps}, "random", 4, 0, 4, {}, 1, patch_size=(2, 2, 2))
    } == {None}


def test_an_explanation_survives_json():
    why = Explanation(0.1, {"predictive_entropy": 0.2}, {0: 0.75, 2: 0.25}, 3.5, 98.25)
    assert Explanation.from_json(why.to_json()) == why
    assert Explanation.from_json(Explanation().to_json()) == Explanation()


def query(group="plain", **why) -> Query:
    return Query("a", Patch((0, 0, 0), (1, 1, 1)), 0.0, group, 1, Explanation(**why))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (
            query(mean=0.1, percentile=97.6, class_shares={0: 0.62, 1: 0.376, 2: 0.004}, nearest_mm=12.4),
            "Less certain here than in 98 % of all boxes. Predicted: 62 % background, 38 % Anterior. "
            "Nearest annotated box: 12 mm away.",
        ),
        (
            query("class-2", mean=0.1, percentile=99.26, class_shares={0: 1.0}, nearest_mm=0.0),
            "Less certain about Posterior here than in 99.3 % of all boxes. Predicted: all background. "
            "Next to an annotated box.",
        ),
        (
            query(mean=0.1, percentile=99.97, class_shares={1: 1.0}),
            "Less certain here than in nearly all boxes. Predicted: all Anterior. "
            "Nothing annotated in this image yet.",
        ),
        (query("class-1"), "Placed on Anterior."),
        (query("class-1", mean=0.2), "Chosen because the model is uncertain about Anterior."),
        (query(), ""),
    ],
)  # fmt: skip
def test_the_sentence_is_short_and_plain(asked, sentence):
    told = describe(asked, NAMES)
    assert told.replace("\N{NO-BREAK SPACE}", " ") == sentence
    assert " %" not in told  # a line never breaks before the sign


def test_classes_without_a_name_go_by_their_number():
    assert [class_name(value, NAMES) for value in range(4)] == [
        "background",
        "Anterior",
        "Posterior",
        "class 3",
    ]
