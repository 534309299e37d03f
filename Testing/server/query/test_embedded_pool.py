from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.query import (
    PLAIN,
    Candidate,
    CaseCandidates,
    Request,
    get_strategy,
    merge_candidates,
)

NAMES = ["coreset", "kmeans-bald", "badge"]


def offer_of(case, vectors, *, strategy, anchors=(), scores=None, step=0) -> CaseCandidates:
    """Hand-made candidates, the last start corner first: one patch of one voxel for each vector."""
    scores = scores or [1.0] * len(vectors)
    entries = tuple(
        Candidate(Patch((0, 0, i), (1, 1, 1)), score, PLAIN, vector=tuple(map(float, vector)))
        for i, (vector, score) in enumerate(zip(vectors, scores, strict=True))
    )
    return CaseCandidates(case, strategy, step, (PLAIN,), entries[::-1], anchors=tuple(anchors))


def chosen(proposal) -> list[tuple[str, int]]:
    return [(query.case, query.start[2]) for query in proposal]


vectors = st.lists(st.tuples(*[st.integers(-3, 3)] * 2), min_size=0, max_size=5)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(vectors, vectors), min_size=1, max_size=4), st.integers(1, 8), st.integers(1, 3))
def test_core_set_takes_the_farthest_of_the_pool_from_all_anchors(pool, query_size, per_image):
    offers = [
        offer_of(f"c{i}", mine, strategy="coreset", anchors=[tuple(map(float, a)) for a in anchors])
        for i, (mine, anchors) in enumerate(pool)
    ]
    request = Request(query_size, (1, 1, 1), patches_per_image=per_image)
    left = {(f"c{i}", k): v for i, (mine, _) in enumerate(pool) for k, v in enumerate(mine)}
    known = [anchor for _, anchors in pool for anchor in anchors]
    used: Counter[str] = Counter()
    proposal = merge_candidates(reversed(offers), "coreset", request)
    mean = [sum(axis) / len(left) for axis in zip(*left.values(), strict=True)]
    for query in proposal:
        open_now = {key: v for key, v in left.items() if used[key[0]] < per_image}
        if known:
            gains = {key: min(math.dist(v, c) for c in known) for key, v in open_now.items()}
        else:
            gains = {key: -math.dist(v, mean) for key, v in open_now.items()}
        best = max(gains.values())
        equal = [key for key in sorted(gains) if gains[key] >= best - 1e-12]
        mine = (query.case, query.start[2])
        assert mine == equal[0] if known else mine in equal  # the mean is rounded
        assert query.score == pytest.approx(max(0.0, best), abs=1e-12)
        known.append(left.pop(mine))
        used[query.case] += 1
    room = sum(min(per_image, len(mine)) for mine, _ in pool)
    assert len(proposal) == min(query_size, room)
    assert [(s.group, s.asked, s.found) for s in proposal.shortages] == (
        [(PLAIN, query_size, room)] if room < query_size else []
    )


def test_badge_draws_by_the_squared_distance():
    pool = {"a": [(0, 2), (0, 0)], "b": [(1, 0), (5, 0)]}
    offers = [offer_of(case, mine, strategy="badge") for case, mine in pool.items()]
    points = {(case, i): v for case, mine in pool.items() for i, v in enumerate(mine)}
    law, first = {}, ("b", 1)
    for second, third in itertools.permutations(set(points) - {first}, 2):
        gains = {key: math.dist(v, points[first]) ** 2 for key, v in points.items()}
        later = {key: min(gains[key], math.dist(v, points[second]) ** 2) for key, v in points.items()}
        share = gains[second] / sum(gains.values()) * later[third] / sum(later.values())
        law[first, second, third] = share
    assert sum(law.values()) == pytest.approx(1)
    counts = Counter(
        tuple(chosen(merge_candidates(offers, "badge", Request(3, (1, 1, 1), seed=seed))))
        for seed in range(4000)
    )
    assert set(counts) == set(law)
    assert stats.chisquare([counts[key] for key in law], [4000 * law[key] for key in law]).pvalue > 0.001


def test_badge_scores_are_distances_when_drawn():
    offers = [offer_of("a", [(3, 4), (0, 0), (3, 0)], strategy="badge")]
    for seed in range(5):
        proposal = merge_candidates(offers, "badge", Request(3, (1, 1, 1), seed=seed))
        first, second, third = chosen(proposal)
        assert first == ("a", 0)
        assert [q.score for q in proposal] == [5, {1: 5, 2: 4}[second[1]], 3]
        assert {second, third} == {("a", 1), ("a", 2)}


def test_badge_draws_evenly_among_gradients_that_are_equal():
    offers = [offer_of(case, [(1, 1)] * 2, strategy="badge") for case in "ab"]
    counts = Counter(
        chosen(merge_candidates(offers, "badge", Request(2, (1, 1, 1), seed=seed)))[1] for seed in range(900)
    )
    assert set(counts) == {("a", 1), ("b", 0), ("b", 1)}
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


def test_kmeans_bald_takes_one_patch_of_each_kind_the_heaviest_kind_first():
    offers = [
        offer_of("a", [(0, 0), (1, 0), (5, 0)], strategy="kmeans-bald", scores=[1.0, 2.0, 1.0]),
        offer_of("b", [(900, 0), (901, 0), (0, 900)], strategy="kmeans-bald", scores=[4.0, 3.0, 0.5]),
    ]
    for seed in range(20):
        proposal = merge_candidates(offers, "kmeans-bald", Request(3, (1, 1, 1), seed=seed))
        # Centres (7/4, 0), (900 3/7, 0) and (0, 900) of weights 4, 7 and 0.5.
        assert chosen(proposal) == [("b", 0), ("a", 1), ("b", 2)]
        assert [q.score for q in proposal] == [4, 2, 0.5]


def test_kmeans_bald_clusters_only_the_most_informative():
    offers = [offer_of("a", [(0,), (1,), (2,), (99,)], strategy="kmeans-bald", scores=[4.0, 3.0, 2.0, 1.0])]
    request = Request(2, (1, 1, 1))
    few = merge_candidates(offers, get_strategy("kmeans-bald", prefilter=1), request)
    assert sorted(chosen(few)) == [("a", 0), ("a", 1)]
    many = merge_candidates(offers, get_strategy("kmeans-bald", prefilter=2), request)
    assert ("a", 3) in chosen(many)


def test_kmeans_bald_tells_kinds_apart_where_nothing_is_informative():
    offers = [offer_of("a", [(0,), (0,), (50,), (99,)], strategy="kmeans-bald", scores=[0.0] * 4)]
    for seed in range(10):
        proposal = merge_candidates(offers, "kmeans-bald", Request(3, (1, 1, 1), seed=seed))
        assert chosen(proposal)[0] == ("a", 0)
        assert set(chosen(proposal)) == {("a", 0), ("a", 2), ("a", 3)}


def test_kmeans_bald_goes_on_with_the_most_informative_when_clusters_run_out():
    offers = [
        offer_of("a", [(0,)] * 3, strategy="kmeans-bald", scores=[1.0, 3.0, 2.0]),
        offer_of("b", [(0,)] * 2, strategy="kmeans-bald", scores=[2.5, 0.0]),
    ]
    proposal = merge_candidates(offers, "kmeans-bald", Request(4, (1, 1, 1), patches_per_image=2))
    # One cluster, of which the first in order is nearest; then by mutual information, two of an image.
    assert chosen(proposal) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


@pytest.mark.parametrize("name", NAMES)
def test_foreign_missing_and_damaged_embeddings_are_refused(name):
    request = Request(2, (1, 1, 1))
    good = offer_of("a", [(1, 2), (3, 4)], strategy=name)
    other = offer_of("b", [(1, 2, 3)], strategy=name)
    with pytest.raises(QueryError, match="case b has embeddings of 3 numbers, case a of 2; compute"):
        merge_candidates([other, good], name, request)
    anchored = offer_of("b", [], strategy=name, anchors=[(1.0,)])
    with pytest.raises(QueryError, match="case b has embeddings of 1 numbers"):
        merge_candidates([good, anchored], name, request)
    ragged = offer_of("b", [(1, 2)], strategy=name, anchors=[(1.0,)])
    with pytest.raises(QueryError, match=r"case b: embeddings of \[1, 2\] numbers; make"):
        merge_candidates([good, ragged], name, request)
    with pytest.raises(QueryError, match=r"case b: embeddings of \[0\] numbers; make"):
        merge_candidates([good, offer_of("b", [()], strategy=name)], name, request)
    with pytest.raises(QueryError, match="case b: embeddings hold values that are not finite"):
        merge_candidates([good, offer_of("b", [(1, math.nan)], strategy=name)], name, request)
