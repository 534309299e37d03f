"""The pool stage: what it forgets early must not matter."""

from __future__ import annotations

import gc
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.patch import Patch
from nnactive_server.query import (
    PLAIN,
    Candidate,
    CaseCandidates,
    Explanation,
    Request,
    Shortage,
    get_strategy,
    merge_candidates,
)
from nnactive_server.query.pool import Plan, take_best

GROUPS = ("class-1", "class-2", PLAIN)


def offer_of(name: str, scores: dict[str, list[tuple[float, bool]]], strategy="x") -> CaseCandidates:
    """One image; by group the scores and whether they are spare, each patch a voxel of its own."""
    row = [(group, *entry) for group in GROUPS for entry in scores.get(group, ())]
    entries = [
        Candidate(Patch((0, 0, i), (1, 1, 1)), score, group, Explanation(score), spare)
        for i, (group, score, spare) in enumerate(row)
    ]
    return CaseCandidates(name, strategy, 0, GROUPS, tuple(entries))


def keep_everything(offers, plan: Plan, query_size: int) -> tuple[dict[str, list], list[Shortage]]:
    """What `take_best` says, on full lists."""
    everything = sorted(
        (c.spare, -c.score, offer.case, c.patch, c.group) for offer in offers for c in offer.candidates
    )
    chosen: dict[str, list] = {group: [] for group in plan.quotas}
    used: Counter[str] = Counter()

    def take(group: str, spares: bool) -> bool:
        for entry in everything:
            if entry[4] == group and (spares or not entry[0]) and used[entry[2]] < plan.per_image:
                everything.remove(entry)
                used[entry[2]] += 1
                chosen[group].append((entry[2], entry[3]))
                return True
        return False

    for group, quota in plan.quotas.items():
        for _ in range(quota):
            take(group, False)
    short = [Shortage(g, n, len(chosen[g])) for g, n in plan.quotas.items() if len(chosen[g]) < n]
    idle = 0
    for group in itertools.cycle(plan.quotas):
        if sum(map(len, chosen.values())) == query_size or idle > len(chosen):
            return chosen, short
        idle = 0 if take(group, True) else idle + 1
    raise AssertionError


@st.composite
def pools(draw):
    """Many images with few scores, so that ties are common; caps bind often."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    quotas = dict(zip(GROUPS, (draw(st.integers(0, 4)) for _ in GROUPS), strict=True))
    query_size = sum(quotas.values()) or 1
    quotas[PLAIN] += query_size - sum(quotas.values())
    plan = Plan(quotas, quotas, draw(st.integers(1, query_size)))
    longest = draw(st.integers(1, 4))
    few_good = draw(st.booleans())
    offers = []
    for i in range(draw(st.integers(1, 60))):
        good = 100 * (few_good and rng.random() < 0.1)
        scores = {
            group: [
                (good + int(rng.integers(6)), bool(rng.random() < 0.2))
                for _ in range(rng.integers(longest + 1))
            ]
            for group in GROUPS
        }
        offers.append(offer_of(f"c{i}", scores))
    return offers, plan, query_size


@settings(deadline=None, max_examples=600)
@given(pools(), st.randoms())
def test_a_pool_that_forgets_chooses_as_one_that_keeps_everything(pool, random):
    offers, plan, query_size = pool
    expected, short = keep_everything(offers, plan, query_size)
    random.shuffle(offers)
    proposal = take_best(iter(offers), lambda _: plan, query_size)
    got = {group: [(q.case, q.patch) for q in proposal if q.group == group] for group in plan.quotas}
    assert got == expected
    assert list(proposal.shortages) == short
    assert proposal.missing == query_size - sum(map(len, expected.values()))
    assert [q.rank for q in proposal] == list(range(1, len(proposal) + 1))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(any), st.integers(0, 99))
def test_every_beginning_of_a_query_holds_the_groups_in_about_their_shares(counts, seed):
    rng = np.random.default_rng(seed)
    scores = {g: [(float(rng.random()), False)] * n for g, n in zip(GROUPS, counts, strict=True)}
    quotas = dict(zip(GROUPS, counts, strict=True))
    proposal = take_best([offer_of("a", scores)], lambda _: Plan(quotas, quotas, 99), sum(counts))
    for end in range(1, len(proposal) + 1):
        seen = Counter(q.group for q in proposal[:end])
        for group, count in quotas.items():
            assert abs(seen[group] - count * end / sum(counts)) <= 1.5


def stream_of(count: int, strategy: str, seen=lambda: None):
    """Many cases, made when they are read; the best ones are in few images."""
    for i in range(count):
        rng = np.random.default_rng(i)
        rise = 1 + 5 * (i % 97 == 0) + i / count
        yield offer_of(f"c{i:04}", {g: [(rise * s, False) for s in rng.random(6)] for g in GROUPS}, strategy)
        seen()


@pytest.mark.parametrize("per_image", [None, 1])
def test_two_thousand_cases_read_once_give_the_same_as_keeping_them_all(per_image):
    request = Request(30, (1, 1, 1), 0, 4, 7, per_image)
    plan = get_strategy("cla-pe").plan(request, GROUPS)
    proposal = merge_candidates(stream_of(2000, "cla-pe"), "cla-pe", request)
    expected, short = keep_everything(stream_of(2000, "cla-pe"), plan, 30)
    assert {g: [(q.case, q.patch) for q in proposal if q.group == g] for g in GROUPS} == expected
    assert list(proposal.shortages) == short == []
    assert max(Counter(q.case for q in proposal).values()) <= (per_image or 30)


@pytest.mark.parametrize("strategy", ["cla-pe", "predictive-entropy", "random"])
def test_a_pool_of_thousands_holds_only_candidates_that_can_still_be_chosen(strategy):
    held: list[int] = []
    read = itertools.count(1)

    def count_held():
        if next(read) % 250 == 0:
            held.append(sum(type(thing) is Candidate for thing in gc.get_objects()))

    before = sum(type(thing) is Candidate for thing in gc.get_objects())
    request = Request(20, (1, 1, 1), 0, 4, 7, patches_per_image=4)
    assert len(merge_candidates(stream_of(2000, strategy, count_held), strategy, request)) == 20
    assert len(held) == 8
    assert max(held) - before < 40 * request.query_size  # 36,000 are offered
