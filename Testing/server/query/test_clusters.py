from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnactive_server.query.strategies.clusters import (
    Cover,
    draw,
    farthest_first,
    in_order,
    plus_plus,
    weighted_kmeans,
)


class Free:
    """Vectors that can all be taken; some of them close their neighbour, as boxes that overlap do."""

    def __init__(self, vectors, closing=()) -> None:
        self.vectors = np.array(vectors, dtype=np.float64)
        self.open = np.ones(len(self.vectors), dtype=bool)
        self.closing = set(closing)

    def take(self, index: int) -> None:
        assert self.open[index]
        self.open[index] = False
        if index in self.closing:
            self.open[(index + 1) % len(self.open)] = False


def objective(vectors, weights, labels, centres) -> float:
    return sum(w * math.dist(x, centres[c]) ** 2 for x, w, c in zip(vectors, weights, labels, strict=True))


points = st.lists(st.tuples(*[st.integers(-3, 3)] * 2), min_size=1, max_size=12)


@settings(deadline=None, max_examples=300)
@given(points, st.lists(st.tuples(*[st.integers(-3, 3)] * 2), max_size=4), st.integers(0, 14), st.data())
def test_farthest_first_takes_the_farthest_each_time_and_the_first_of_equals(vectors, centres, count, data):
    if not centres:  # a mean without rounding, so that equal distances stay equal
        vectors = vectors[: 1 << (len(vectors).bit_length() - 1)]
    closing = data.draw(st.sets(st.sampled_from(range(len(vectors)))))
    left, known, expected = list(range(len(vectors))), list(centres), []
    mean = [sum(axis) / len(vectors) for axis in zip(*vectors, strict=True)]
    while left and len(expected) < count:
        if known:
            gains = {i: min(math.dist(vectors[i], c) for c in known) for i in left}
        else:
            gains = {i: -math.dist(vectors[i], mean) for i in left}
        best = max(gains.values())
        index = min(i for i in left if gains[i] >= best - 1e-12)
        closed = {index, (index + 1) % len(vectors)} if index in closing else {index}
        left = [i for i in left if i not in closed]
        expected.append((index, max(0.0, gains[index])))
        known.append(vectors[index])
    centres = np.array(centres, dtype=np.float64).reshape(-1, 2)
    found = farthest_first(Free(vectors, closing), centres, count)
    assert [index for index, _ in found] == [index for index, _ in expected]
    np.testing.assert_allclose([d for _, d in found], [d for _, d in expected], rtol=1e-12)


@settings(deadline=None, max_examples=100)
@given(points, st.integers(1, 4))
def test_farthest_first_covers_within_twice_the_best_radius(vectors, count):
    def radius(chosen) -> float:
        return max(min(math.dist(x, vectors[i]) for i in chosen) for x in vectors)

    count = min(count, len(vectors))
    found = [index for index, _ in farthest_first(Free(vectors), np.empty((0, 2)), count)]
    best = min(map(radius, itertools.combinations(range(len(vectors)), count)))
    assert radius(found) <= 2 * best + 1e-9


def test_many_centres_count_one_by_one_and_in_blocks_alike():
    vectors = np.random.default_rng(0).normal(size=(100, 5))
    assert Cover(vectors, vectors).gain.tolist() == [0] * 100
    expected = [min(math.dist(x, c) for c in vectors[:70]) for x in vectors]
    np.testing.assert_allclose(np.sqrt(Cover(vectors, vectors[:70]).gain), expected, rtol=1e-12)


def test_equal_vectors_are_exactly_nothing_apart():
    vectors = np.full((3, 50), 1e8 + 0.1)
    assert Cover(vectors, vectors[:1]).gain.tolist() == [0, 0, 0]


def test_what_comes_in_order_skips_what_cannot_be_taken():
    space = Free(np.zeros((5, 1)), closing=[2])
    space.open[1] = False
    scores = np.arange(5) / 2
    assert in_order(space, [4, 2, 3, 1, 0], scores, 3) == [(4, 2.0), (2, 1.0), (0, 0.0)]
    assert in_order(space, [2], scores, 0) == []


def test_draws_follow_the_weights_and_never_take_a_weight_of_zero():
    weights = np.array([0.0, 1.0, 0.0, 2.5, 6.5, -np.inf])
    rng = np.random.default_rng(1)
    counts = Counter(draw(rng, weights) for _ in range(5000))
    assert set(counts) == {1, 3, 4}
    seen = [counts[i] for i in (1, 3, 4)]
    assert stats.chisquare(seen, [500, 1250, 3250]).pvalue > 0.001


def test_the_start_of_kmeans_draws_by_weight_times_squared_distance():
    vectors, weights = np.array([[0.0], [1.0], [3.0]]), np.array([1.0, 2.0, 1.0])
    law = {}
    for i, j in itertools.permutations(range(3), 2):
        gains = [weights[k] * math.dist(vectors[k], vectors[i]) ** 2 for k in range(3)]
        law[vectors[i, 0], vectors[j, 0]] = weights[i] / 4 * gains[j] / sum(gains)
    rng = np.random.default_rng(2)
    counts = Counter(tuple(plus_plus(vectors, weights, 2, rng).ravel()) for _ in range(4000))
    assert set(counts) == set(law)
    assert stats.chisquare([counts[k] for k in law], [4000 * law[k] for k in law]).pvalue > 0.001


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 10**6))
def test_kmeans_is_no_worse_than_its_start_and_every_vector_is_in_its_nearest_cluster(n, count, seed):
    rng = np.random.default_rng(seed)
    vectors, weights = rng.integers(-4, 5, size=(n, 2)).astype(float), rng.integers(0, 4, n).astype(float)
    weights[0] = 1
    start = plus_plus(vectors, weights, count, np.random.default_rng(seed))
    labels, centres = weighted_kmeans(vectors, weights, count, np.random.default_rng(seed))
    first = [min(range(len(start)), key=lambda c: math.dist(x, start[c])) for x in vectors]
    reached = objective(vectors, weights, labels, centres)
    assert reached <= objective(vectors, weights, first, start) + 1e-9
    for x, label in zip(vectors, labels, strict=True):
        assert math.dist(x, centres[label]) <= min(math.dist(x, c) for c in centres) + 1e-9
    for cluster, centre in enumerate(centres):
        mine = labels == cluster
        if weights[mine].sum():
            mean = (vectors[mine] * weights[mine, None]).sum(axis=0) / weights[mine].sum()
            np.testing.assert_allclose(centre, mean, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_kmeans_finds_the_best_partition_of_well_separated_clusters(seed):
    rng = np.random.default_rng(seed)
    middles = np.array([[0.0, 0.0], [5000.0, 0.0], [0.0, 5000.0]])
    vectors = np.concatenate([middles, middles, middles[:1]]) + rng.normal(size=(7, 2))
    weights = rng.uniform(0.5, 2, size=7)

    def best_of(labels) -> float:
        total = 0.0
        for cluster in set(labels):
            mine = np.array(labels) == cluster
            centre = (vectors[mine] * weights[mine, None]).sum(axis=0) / weights[mine].sum()
            total += objective(vectors[mine], weights[mine], [0] * mine.sum(), [centre])
        return total

    best = min(map(best_of, itertools.product(range(3), repeat=7)))
    labels, centres = weighted_kmeans(vectors, weights, 3, rng)
    assert len(centres) == 3
    assert objective(vectors, weights, labels, centres) == pytest.approx(best, rel=1e-9)


def test_kmeans_makes_no_more_clusters_than_there_are_different_vectors():
    vectors = np.array([[1.0, 1.0], [2.0, 2.0], [1.0, 1.0], [3.0, 3.0]])
    labels, centres = weighted_kmeans(vectors, np.array([1.0, 1.0, 1.0, 0.0]), 4, np.random.default_rng(0))
    assert len(centres) == 2
    assert labels[0] == labels[2] != labels[1]
