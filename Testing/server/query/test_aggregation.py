from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import QueryError
from nnactive_server.core.places import Places
from nnactive_server.query import get_strategy, patch_scores, propose
from nnactive_server.query.aggregation import AGGREGATIONS, Aggregation

SHAPES = st.tuples(*[st.integers(1, 6)] * 3)
SIZES = st.tuples(*[st.integers(1, 8)] * 3)
STRIDES = st.tuples(*[st.integers(1, 3)] * 3)
SHARES = st.sampled_from([0.01, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.99, 1.0])


def slow_score(how: Aggregation, values: list[float]) -> float:
    if how.name == "threshold":
        values = [value for value in values if value > how.threshold]
    if how.name == "top-fraction":
        # As in "10 % of 30 are 3": the product of the two may be 3.0000000000000004.
        count = max(1, math.ceil(round(how.fraction * len(values), 9)))
        values = sorted(values)[-count:]
    return math.fsum(values) / len(values) if values else 0.0


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(AGGREGATIONS), SHARES, st.sampled_from([0, 0.2, 0.5, 5]), SHAPES, SIZES, STRIDES,
    st.booleans(), st.integers(0, 10**6),
)  # fmt: skip
def test_every_score_is_what_the_definition_makes_of_the_voxels_of_the_box(
    name, fraction, threshold, shape, size, stride, ties, seed
):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, shape) / 4 if ties else rng.exponential(size=shape)
    how = Aggregation(name, fraction, threshold)
    places, scores = how.scores(values, size, stride)
    assert scores.shape == places.shape
    assert scores.dtype == np.float64
    for position in np.ndindex(*places.shape):
        box = places.patch(position)
        assert box.inside(shape)
        assert scores[position] == pytest.approx(
            slow_score(how, values[box.slices].ravel().tolist()), rel=1e-12
        )
    if name != "top-fraction":
        assert [a.tolist() for a in places.starts] == [
            a.tolist() for a in Places.fit(shape, size, stride).starts
        ]


def test_top_fraction_looks_at_every_quarter_of_a_patch_and_at_the_end():
    places, _ = Aggregation("top-fraction").scores(np.zeros((9, 30, 41)), (8, 12, 16))
    assert [axis.tolist() for axis in places.starts] == [
        [0, 1],
        [0, 3, 6, 9, 12, 15, 18],
        [0, 4, 8, 12, 16, 20, 24, 25],
    ]
    places, _ = Aggregation("top-fraction").scores(np.zeros((9, 30, 41)), (8, 12, 16), (1, 7, 10))
    assert [axis.tolist() for axis in places.starts] == [[0, 1], [0, 7, 14, 18], [0, 10, 20, 25]]


@settings(deadline=None, max_examples=60)
@given(SHAPES, SIZES, st.integers(0, 10**6))
def test_the_whole_box_as_fraction_and_no_threshold_are_the_mean(shape, size, seed):
    values = np.random.default_rng(seed).random(shape) + 1e-6
    places, scores = Aggregation("top-fraction", fraction=1).scores(values, size)
    means = patch_scores(values, size)[np.ix_(*places.starts)]
    np.testing.assert_allclose(scores, means, rtol=1e-13)
    np.testing.assert_array_equal(
        Aggregation("threshold", threshold=0).scores(values, size)[1], patch_scores(values, size)
    )
    np.testing.assert_array_equal(Aggregation("mean").scores(values, size)[1], patch_scores(values, size))


@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_boxes_of_equal_content_tie_exactly(name, dtype):
    cube = np.random.default_rng(0).random((4, 4, 4)).astype(dtype)
    how, values = Aggregation(name, 0.3, 0.4), np.tile(cube, (2, 3, 2))
    places, scores = how.scores(values, (4, 4, 4), 4)
    assert scores.shape == (2, 3, 2)
    assert len(set(scores.ravel().tolist())) == 1
    strategy = get_strategy("bald", aggregation=name)
    pool = {"a": {"mutual_information": values}}
    found = propose(pool, strategy, 3, 0, 4, {}, 1, patch_size=(4, 4, 4), stride=4)
    assert [q.start for q in found] == [(0, 0, 0), (0, 0, 4), (0, 4, 0)]
    assert places.size == (4, 4, 4)


def test_top_fractions_tie_exactly_wherever_the_voxels_stand_in_the_box():
    cube, how = np.random.default_rng(0).lognormal(size=(16, 16, 16)) ** 6, Aggregation("top-fraction", 0.3)
    shuffled = [
        np.random.default_rng(seed).permutation(cube.ravel()).reshape(cube.shape) for seed in range(10)
    ]
    assert len({how.scores(values, cube.shape)[1].item() for values in [cube, *shuffled]}) == 1


@pytest.mark.parametrize(("fraction", "count"), [(0.07, 7), (0.55, 55), (0.29, 29), (0.071, 8), (0.0001, 1)])
def test_a_fraction_that_is_no_binary_number_counts_whole_voxels(fraction, count):
    values = np.arange(100.0).reshape(4, 5, 5)
    score = Aggregation("top-fraction", fraction).scores(values, (4, 5, 5))[1].item()
    assert score == pytest.approx(np.arange(100 - count, 100).mean())


def test_a_threshold_is_exceeded_not_reached_and_nothing_above_it_scores_zero():
    values = np.array([0.5, 0.5, 0.25, 0.75]).reshape(1, 1, 4)
    assert Aggregation("threshold", threshold=0.5).scores(values, (1, 1, 2))[1].ravel().tolist() == [
        0,
        0,
        0.75,
    ]


@pytest.mark.parametrize("strategy", ["bald", "power-bald", "clasp-pe", "softrank-bald"])
@pytest.mark.parametrize("name", ["top-fraction", "threshold"])
def test_a_small_bright_spot_wins_where_the_mean_would_pass_it_over(strategy, name, make_maps):
    maps = {key: 0 * values + 0.1 for key, values in make_maps((4, 4, 16), 2).items()}
    for values in maps.values():
        values[..., 1, 1, 1] = 5  # one voxel
        values[..., 8:12] = 0.19  # a wide dim region with a higher mean
    wide = propose({"a": maps}, get_strategy(strategy, beta=50), 1, 0, 4, {}, 1, patch_size=(4, 4, 4))
    bright = get_strategy(strategy, beta=50, aggregation=name, fraction=0.01)
    spot = propose({"a": maps}, bright, 1, 0, 4, {}, 1, patch_size=(4, 4, 4))
    assert wide[0].start[2] >= 6
    assert spot[0].start[2] <= 1
    assert spot[0].why.mean == pytest.approx(5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "median"}, "'median'.*top-fraction"),
        ({"name": "top-fraction", "fraction": 0}, "fraction 0"),
        ({"name": "top-fraction", "fraction": 1.01}, r"fraction 1\.01"),
        ({"name": "top-fraction", "fraction": math.nan}, "fraction nan"),
        ({"name": "threshold", "threshold": -0.1}, r"threshold -0\.1"),
        ({"name": "threshold", "threshold": math.inf}, "threshold inf"),
        ({"name": "threshold", "threshold": math.nan}, "threshold nan"),
    ],
)
def test_parameters_out_of_range_are_refused_here_and_through_a_strategy(params, message):
    with pytest.raises(QueryError, match=message):
        Aggregation(**params)
    renamed = {"aggregation" if key == "name" else key: value for key, value in params.items()}
    with pytest.raises(QueryError, match=message):
        get_strategy("clasp-pe", **renamed)


@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [((4, 4), (2, 2, 2), 1), ((4, 4, 4), (2, 2), 1), ((4, 4, 4), (2, 0, 2), 1), ((4, 4, 4), (2, 2, 2), 0)],
)
def test_impossible_maps_and_sizes_are_refused(name, shape, size, stride):
    with pytest.raises(QueryError, match=r"three|at least 1"):
        Aggregation(name).scores(np.zeros(shape), size, stride)


@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_maps_with_values_that_are_not_finite_are_refused(name, bad):
    values = np.zeros((4, 4, 4))
    values[3, 3, 3] = bad
    with pytest.raises(QueryError, match="not finite"):
        Aggregation(name).scores(values, (2, 2, 2))
