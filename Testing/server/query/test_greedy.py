from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.core.places import Occupancy, Places
from nnactive_server.query.greedy import pick_best

SHAPES = st.tuples(*[st.integers(1, 8)] * 3)
SIZES = st.tuples(*[st.integers(1, 4)] * 3)
STRIDES = st.tuples(*[st.integers(1, 3)] * 3)


@st.composite
def problems(draw):
    shape, size, stride = draw(SHAPES), draw(SIZES), draw(STRIDES)
    places = Places.fit(shape, size, stride)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))  # one level: constant; few levels: many ties
    scores = rng.integers(0, levels, places.shape) - draw(st.sampled_from([0.0, 500.5]))
    occupied = []
    for _ in range(draw(st.integers(0, 2))):
        start = tuple(int(rng.integers(n)) for n in shape)
        extent = tuple(int(rng.integers(1, n - s + 1)) for n, s in zip(shape, start, strict=True))
        occupied.append(Patch(start, extent))
    overlap = draw(st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.8, 0.99]))
    return scores, places, occupied, draw(st.integers(0, 30)), overlap


@settings(deadline=None, max_examples=300)
@given(problems())
def test_the_choice_equals_sorting_everything_with_ties_by_start_corner(oracle, problem):
    scores, places, occupied, count, overlap = problem
    before = scores.copy()
    occupancy = Occupancy(places, occupied, overlap)
    by_box = {places.patch(position): scores[position] for position in np.ndindex(scores.shape)}
    picked = pick_best(scores, occupancy, count)
    assert picked == oracle.greedy(by_box, occupied, count, overlap)
    assert occupancy.boxes == [*occupied, *(patch for patch, _ in picked)]
    np.testing.assert_array_equal(scores, before)


def test_a_fully_annotated_image_offers_nothing():
    places = Places.fit((4, 5, 6), (2, 2, 2))
    assert pick_best(np.ones(places.shape), Occupancy(places, [Patch((0, 0, 0), (4, 5, 6))]), 3) == []


def test_an_image_smaller_than_the_patch_offers_itself_once():
    places = Places.fit((2, 3, 9), (4, 4, 4))
    picked = pick_best(np.zeros(places.shape), Occupancy(places), 10)
    assert [patch for patch, _ in picked] == [Patch((0, 0, 0), (2, 3, 4)), Patch((0, 0, 4), (2, 3, 4))]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_that_is_not_finite_enters_a_ranking(bad):
    places = Places.fit((3, 3, 3), (2, 2, 2))
    scores = np.zeros(places.shape)
    scores[1, 0, 1] = bad
    with pytest.raises(QueryError, match="finite"):
        pick_best(scores, Occupancy(places), 1)


def test_scores_of_another_shape_are_refused():
    with pytest.raises(QueryError, match=r"\(2, 2, 2\)"):
        pick_best(np.zeros((3, 3, 3)), Occupancy(Places.fit((3, 3, 3), (2, 2, 2))), 1)
