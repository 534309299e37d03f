from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.query import (
    CaseMaps,
    Request,
    case_candidates,
    get_strategy,
    merge_candidates,
    propose,
)

RANDOM = ["random", "random-fg-33", "random-fg-66"]


def labelled(shape=(12, 12, 12)):
    labels = np.zeros(shape, dtype=np.uint8)
    labels[2:9, 2:9, 2:9] = 1
    labels[10:12, 9:12, 9:12] = 2
    return labels


@pytest.mark.parametrize("name", RANDOM)
def test_random_strategies_need_no_model_output(name):
    strategy = get_strategy(name)
    assert strategy.measures == ()
    assert strategy.needs_labels == (name != "random")


def test_missing_labels_are_refused():
    with pytest.raises(QueryError, match="case a: random-fg-33 needs a label map"):
        case_candidates(CaseMaps("a", (4, 4, 4)), "random-fg-33", Request(1, (2, 2, 2)))


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(RANDOM),
    st.lists(st.tuples(*[st.integers(1, 6)] * 3), min_size=1, max_size=4),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.integers(1, 40),
    st.integers(0, 10**6),
)
def test_free_places_are_used_up_before_a_shortage(assert_valid, name, shapes, size, query_size, seed):
    rng = np.random.default_rng(seed)
    cases = [CaseMaps(f"c{i}", s, {}, rng.integers(0, 3, s) * (i != 1)) for i, s in enumerate(shapes)]
    annotated = {"c0": [Patch((0, 0, 0), (1, 1, 1))]}
    proposal = propose(cases, name, query_size, 0, 4, annotated, seed, patch_size=size)
    assert_valid(proposal, {c.case: c.shape for c in cases}, annotated)
    assert proposal.missing == query_size - len(proposal)
    assert [(s.group, s.asked, s.found) for s in proposal.shortages] == (
        [("plain", query_size, len(proposal))] if proposal.missing else []
    )
    if proposal.missing:
        for case in cases:
            taken = [q.patch for q in proposal if q.case == case.case] + annotated.get(case.case, [])
            clipped = tuple(min(p, n) for p, n in zip(size, case.shape, strict=True))
            starts = np.ndindex(*(n - k + 1 for n, k in zip(case.shape, clipped, strict=True)))
            for start in starts:
                assert any(Patch(start, clipped).overlap(other) for other in taken)


def test_the_last_free_place_of_a_large_image_is_found():
    shape = (40, 40, 40)
    annotated = [
        Patch((0, 0, 0), (40, 40, 36)),
        Patch((0, 0, 36), (36, 40, 4)),
        Patch((36, 0, 36), (4, 36, 4)),
    ]
    labels = np.zeros(shape, dtype=np.int16)
    labels[38, 38, 38] = 1
    labels[0, 0, 0] = 2
    for name in RANDOM:
        for seed in range(5):
            case = CaseMaps("a", shape, {}, labels)
            offer = case_candidates(case, name, Request(3, (4, 4, 4), seed=seed), annotated)
            assert [c.patch for c in offer.candidates] == [Patch((36, 36, 36), (4, 4, 4))]


def test_the_last_free_place_around_foreground_is_found():
    labels = np.ones((40, 40, 40), dtype=np.uint8)
    annotated = [
        Patch((0, 0, 0), (40, 40, 32)),
        Patch((0, 0, 32), (35, 40, 8)),
        Patch((35, 0, 32), (5, 35, 8)),
    ]
    strategy = get_strategy("random-fg-66", foreground=1.0)
    for seed in range(5):
        case = CaseMaps("a", labels.shape, {}, labels)
        offer = case_candidates(case, strategy, Request(3, (5, 5, 8), seed=seed), annotated)
        assert [(c.patch.start, c.group) for c in offer.candidates] == [((35, 35, 32), "class-1")]


def test_uniform_boxes_are_uniform_over_all_starts():
    counts = Counter()
    for seed in range(2000):
        offer = case_candidates(CaseMaps("a", (1, 4, 6)), "random", Request(1, (3, 2, 2), seed=seed))
        counts[offer.candidates[0].patch.start] += 1
    assert len(counts) == 15
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


@pytest.mark.parametrize(("name", "share"), [("random", 0), ("random-fg-33", 0.33), ("random-fg-66", 0.66)])
def test_the_share_of_foreground_patches_is_as_named(name, share):
    counts = Counter()
    for seed in range(1500):
        case = CaseMaps("a", (12, 12, 12), {}, labelled())
        offer = case_candidates(case, name, Request(1, (2, 2, 2), seed=seed))
        counts[offer.candidates[0].group] += 1
    foreground = counts["class-1"] + counts["class-2"]
    if not share:
        assert foreground == 0
        return
    assert stats.binomtest(foreground, 1500, share).pvalue > 0.001
    assert stats.binomtest(counts["class-1"], foreground, 0.5).pvalue > 0.001


def test_half_of_the_foreground_patches_are_centred_on_the_border():
    labels = np.zeros((13, 13, 13), dtype=np.uint8)
    labels[2:11, 2:11, 2:11] = 1
    labels[4:10:3, 4:10:3, 4:10:3] = 0  # holes, beside which 6 and 26 neighbours differ
    mask = labels == 1
    border = mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1))
    strategy = get_strategy("random-fg-66", foreground=1.0)
    on_border = 0
    for seed in range(1500):
        offer = case_candidates(
            CaseMaps("a", labels.shape, {}, labels), strategy, Request(1, (3, 3, 3), seed=seed)
        )
        centre = tuple(s + 1 for s in offer.candidates[0].patch.start)
        assert labels[centre] == 1
        on_border += bool(border[centre])
    expected = 0.5 + 0.5 * border.sum() / mask.sum()
    assert stats.binomtest(on_border, 1500, expected).pvalue > 0.001


def test_boxes_around_foreground_at_the_rim_are_shifted_inside():
    labels = np.zeros((6, 6, 6), dtype=np.uint8)
    labels[5, 0, 5] = 1
    strategy = get_strategy("random-fg-66", foreground=1.0)
    offer = case_candidates(CaseMaps("a", labels.shape, {}, labels), strategy, Request(1, (4, 3, 20)))
    assert offer.candidates[0].patch == Patch((2, 0, 0), (4, 3, 6))


def test_images_without_foreground_get_uniform_boxes():
    case = CaseMaps("a", (4, 4, 4), {}, np.zeros((4, 4, 4), dtype=np.uint8))
    offer = case_candidates(case, get_strategy("random-fg-66", foreground=1.0), Request(2, (2, 2, 2)))
    assert {c.group for c in offer.candidates} == {"plain"}


@pytest.mark.parametrize("name", RANDOM)
def test_images_take_turns_in_a_seeded_order(name):
    cases = [CaseMaps(f"c{i}", (12, 12, 12), {}, labelled()) for i in range(4)]
    first = set()
    for seed in range(20):
        proposal = propose(cases, name, 10, 0, 4, {}, seed, patch_size=(2, 2, 2))
        names = [q.case for q in proposal]
        assert sorted(names[:4]) == ["c0", "c1", "c2", "c3"]
        assert names[:4] == names[4:8]
        assert names[8:] == names[:2]
        first.add(names[0])
        assert propose(cases[::-1], name, 10, 0, 4, {}, seed, patch_size=(2, 2, 2)) == proposal
    assert len(first) == 4


def test_steps_and_seeds_give_different_patches():
    cases = [CaseMaps("a", (30, 30, 30))]
    chosen = {
        tuple(q.patch for q in propose(cases, "random", 3, step, 4, {}, seed, patch_size=(2, 2, 2)))
        for step in range(2)
        for seed in range(2)
    }
    assert len(chosen) == 4


def test_a_full_image_passes_its_turns_to_the_others():
    cases = [CaseMaps("a", (2, 2, 2)), CaseMaps("b", (9, 9, 9))]
    request = Request(5, (2, 2, 2))
    offers = [case_candidates(case, "random", request) for case in cases]
    proposal = merge_candidates(offers, "random", request)
    assert Counter(q.case for q in proposal) == {"a": 1, "b": 4}


def test_a_share_outside_zero_to_one_is_refused():
    with pytest.raises(QueryError, match=r"foreground 1\.2"):
        get_strategy("random-fg-33", foreground=1.2)
