from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.core.places import Places
from nnactive_server.query import patch_scores, start_positions

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
SIZES = st.tuples(*[st.integers(1, 9)] * 3)
STRIDES = st.tuples(*[st.integers(1, 4)] * 3)


@settings(deadline=None, max_examples=150)
@given(
    st.data(),
    SHAPES,
    SIZES,
    STRIDES,
)
def test_every_score_is_the_mean_of_its_box(data, shape, size, stride):
    from_loops = data.draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(from_loops).exponential(size=shape)
    places = Places.fit(shape, size, stride)
    scores = patch_scores(values, size, stride)
    assert scores.dtype == np.float64
    assert scores.shape == places.shape
    for position in np.ndindex(scores.shape):
        box = places.patch(position)
        assert box.inside(shape)
        assert box.size == tuple(min(p, n) for p, n in zip(size, shape, strict=True))
        assert scores[position] == pytest.approx(values[box.slices].mean(), rel=1e-13)


@settings(deadline=None, max_examples=60)
@given(SHAPES, SIZES, STRIDES)
def test_candidates_are_exactly_the_strided_starts_and_the_last_one(shape, size, stride):
    from_loops = {
        tuple(start)
        for start in np.ndindex(*shape)
        if all(
            s + min(p, n) <= n and (s % step == 0 or s + min(p, n) == n)
            for s, p, n, step in zip(start, size, shape, stride, strict=True)
        )
    }
    places = Places.fit(shape, size, stride)
    assert {places.patch(i).start for i in np.ndindex(places.shape)} == from_loops


@settings(deadline=None, max_examples=100)
@given(st.data(), SHAPES, SIZES, STRIDES)
def test_overlapping_finds_the_positions_that_share_a_voxel(data, shape, size, stride):
    places = Places.fit(shape, size, stride)
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    extent = tuple(data.draw(st.integers(1, n - s)) for n, s in zip(shape, start, strict=True))
    box = Patch(start, extent)
    marked = np.zeros(places.shape, dtype=bool)
    marked[places.overlapping(box)] = True
    for position in np.ndindex(places.shape):
        assert marked[position] == (places.patch(position).overlap(box) > 0)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.float32, (4, 5, 6), elements=st.floats(0, 3, width=32)), SIZES)
def test_scores_of_a_map_that_is_not_negative_are_not_negative(values, size):
    assert patch_scores(values, size).min() >= 0


def test_zeros_beside_bright_voxels_stay_exactly_zero():
    values = np.zeros((20, 20, 20))
    values[:8] = np.random.default_rng(0).random((8, 20, 20)) * 1e6
    scores = patch_scores(values, (5, 5, 5))
    assert (scores[8:] == 0).all()
    assert (scores[:8] > 0).all()


@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, 1e-30])
def test_boxes_of_equal_content_tie_exactly(level):
    scores = patch_scores(np.full((9, 11, 13), level), (3, 5, 7))
    assert (scores == scores[0, 0, 0]).all()
    assert scores[0, 0, 0] == pytest.approx(level, rel=1e-14)


def test_integer_and_single_precision_maps_are_summed_in_double():
    values = np.full((64, 64, 64), 16777217, dtype=np.int64)
    assert patch_scores(values, (64, 64, 64)).item() == 16777217


def test_start_positions_keep_the_tail():
    assert start_positions(10, 3, 4).tolist() == [0, 4, 7]
    assert start_positions(10, 2, 4).tolist() == [0, 4, 8]
    assert start_positions(5, 5, 3).tolist() == [0]


@pytest.mark.parametrize(("length", "size", "stride"), [(3, 4, 1), (3, 0, 1), (3, 1, 0)])
def test_impossible_start_positions_are_refused(length, size, stride):
    with pytest.raises(QueryError, match="not possible"):
        start_positions(length, size, stride)


@pytest.mark.parametrize(
    ("values", "size", "stride", "message"),
    [
        (np.zeros((4, 4)), (2, 2, 2), 1, r"three axes.*\(4, 4\)"),
        (np.full((4, 4, 4), np.nan), (2, 2, 2), 1, "not finite"),
        (np.zeros((4, 4, 4)), (2, 2), 1, r"patch size \(2, 2\)"),
        (np.zeros((4, 4, 4)), (2, 0, 2), 1, r"patch size \(2, 0, 2\)"),
        (np.zeros((4, 4, 4)), (2, -3, 2), 1, r"patch size \(2, -3, 2\)"),
        (np.zeros((4, 4, 4)), (2, 2.5, 2), 1, r"patch size \(2, 2\.5, 2\)"),
        (np.zeros((4, 4, 4)), (2, 2, 2), 0, r"stride \(0, 0, 0\)"),
        (np.zeros((0, 4, 4)), (2, 2, 2), 1, r"image shape \(0, 4, 4\)"),
    ],
)
def test_impossible_inputs_are_refused_with_the_value(values, size, stride, message):
    with pytest.raises(QueryError, match=message):
        patch_scores(values, size, stride)
