"""Every proposed patch says why, and what it says is so."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.patch import Patch
from nnactive_server.query import (
    MEASURES,
    CaseMaps,
    Explanation,
    Query,
    describe,
    get_strategy,
    patch_scores,
    propose,
    strategy_names,
    uncertainty_maps,
)

NAMES = [name for name in strategy_names() if get_strategy(name).embedding is None]
VOXEL_MEASURES = ("predictive_entropy", "expected_entropy", "mutual_information")
SHAPES = {"a": (7, 8, 9), "b": (4, 12, 5)}
SPACING = {"a": (3.0, 0.7, 1.1), "b": (1.0, 1.0, 1.0)}


def case_of(name: str) -> CaseMaps:
    rng = np.random.default_rng(ord(name))
    powers = np.exp(2 * rng.normal(size=(3, 4, *SHAPES[name])))
    maps = uncertainty_maps(list(powers / powers.sum(axis=1, keepdims=True)), MEASURES)
    return CaseMaps(name, SHAPES[name], maps, rng.integers(0, 4, SHAPES[name]), SPACING[name])


def corners(box: Patch, spacing) -> list[list[float]]:
    """The corners in mm of every voxel of a box."""
    lattice = itertools.product(*(range(a, b + 1) for a, b in zip(box.start, box.stop, strict=True)))
    return [[i * mm for i, mm in zip(corner, spacing, strict=True)] for corner in lattice]


def slow_gap(one: Patch, other: Patch, spacing) -> float:
    return min(
        itertools.starmap(math.dist, itertools.product(corners(one, spacing), corners(other, spacing)))
    )


@pytest.mark.parametrize("overlap", [0.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_each_patch_is_explained_by_its_voxels_and_the_nearest_annotated_box(name, overlap):
    pool = {name: case_of(name) for name in SHAPES}
    annotated = {"a": [Patch((0, 0, 0), (2, 1, 3)), Patch((5, 5, 5), (2, 3, 1))]}
    found = propose(pool, name, 14, 1, 4, annotated, 3, patch_size=(2, 3, 2), overlap=overlap)
    assert len(found) == 14
    assert {q.case for q in found} == {"a", "b"}
    for query in found:
        maps, box, why = pool[query.case].maps, query.patch.slices, query.why
        assert set(why.measures) == set(VOXEL_MEASURES)
        for measure in VOXEL_MEASURES:
            assert why.measures[measure] == pytest.approx(
                math.fsum(maps[measure][box].ravel()) / 12, rel=1e-12
            )
        predicted = maps["mean_probability"][(slice(None), *box)].argmax(axis=0).ravel().tolist()
        assert why.class_shares == {c: predicted.count(c) / 12 for c in sorted(set(predicted))}
        if query.case == "b":
            assert why.nearest_mm is None
        else:
            gaps = [slow_gap(query.patch, other, SPACING["a"]) for other in annotated["a"]]
            assert why.nearest_mm == pytest.approx(min(gaps), abs=1e-12)
        read = Explanation.from_json(json.loads(json.dumps(why.to_json(), allow_nan=False)))
        assert read == why
        assert describe(query, ["one", "two", "three"])


def test_percentiles_of_a_query_are_the_share_of_all_places_with_a_lower_mean():
    grid = np.meshgrid(*[np.linspace(0, 4, n) for n in (40, 60, 70)], indexing="ij")
    pool = {
        "a": {"predictive_entropy": 1 + np.sin(grid[0]) * np.cos(grid[1] + grid[2])},
        "b": {"predictive_entropy": 1.2 + 0.5 * np.sin(grid[0] * grid[1]) + 0.01 * grid[2]},
        "c": {"predictive_entropy": np.zeros((30, 30, 30))},
    }
    every = [patch_scores(maps["predictive_entropy"], (4, 8, 8)) for maps in pool.values()]
    means = np.sort(np.concatenate([scores.ravel() for scores in every]))
    for name in ("predictive-entropy", "power-pe"):
        found = propose(pool, name, 60, 0, 4, {}, 1, patch_size=(4, 8, 8))
        exact = [100 * np.searchsorted(means, q.why.mean) / len(means) for q in found]
        np.testing.assert_allclose([q.why.percentile for q in found], exact, atol=2)
    assert max(exact) - min(exact) > 20  # noise chose among low and high ones


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99), st.permutations(range(4)))
def test_equal_means_everywhere_put_every_patch_at_the_bottom_in_any_order(lengths, seed, order):
    level = float(np.random.default_rng(seed).random())
    pool = [
        CaseMaps(f"c{i}", (n, n, n), {"predictive_entropy": np.full((n, n, n), level)})
        for i, n in enumerate(lengths)
    ]
    found = propose(pool, "predictive-entropy", 5, 0, 4, {}, 1, patch_size=(1, 2, 1))
    assert {q.why.percentile for q in found} == {0.0}
    shuffled = [pool[i] for i in order if i < len(pool)]
    assert propose(shuffled, "predictive-entropy", 5, 0, 4, {}, 1, patch_size=(1, 2, 1)) == found


def sentence(group="plain", **why) -> str:
    asked = Query("a", Patch((0, 0, 0), (1, 1, 1)), 0.0, group, 1, Explanation(**why))
    return describe(asked, ["liver", "tumour"])


def test_a_gap_below_a_millimetre_is_not_called_zero():
    told = sentence(mean=0.2, nearest_mm=0.31)
    assert "0 mm" not in told.replace("0.3 mm", "")
    assert "Next to" not in sentence(mean=0.2, nearest_mm=12.0)


def test_the_lowest_place_of_the_pool_is_not_called_less_certain_than_none():
    assert "in 0\N{NO-BREAK SPACE}%" not in sentence(mean=0.0, percentile=0.0)


@pytest.mark.parametrize("rank", [0.0, 0.4, 3.0, 50.0, 99.2, 99.94, 99.96, 100.0])
@pytest.mark.parametrize("shares", [{0: 1.0}, {0: 0.9996, 2: 0.0004}, {1: 0.5, 2: 0.5}, {0: 0.003, 7: 0.997}])
def test_sentences_read_as_sentences(rank, shares):
    told = sentence("class-2", mean=0.2, percentile=rank, class_shares=shares, nearest_mm=None)
    assert told.startswith("Less certain about tumour ")
    assert "all of all" not in told
    assert "100\N{NO-BREAK SPACE}%" not in told
    assert "100.0\N{NO-BREAK SPACE}%" not in told
    assert "  " not in told
    assert told.endswith("Nothing annotated in this image yet.")
    assert told.count(".") - told.count("%") <= 3 + 2  # three sentences, and decimal points
