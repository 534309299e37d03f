from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.core.rng import generator
from nnactive_server.query import (
    CaseMaps,
    Request,
    case_candidates,
    get_strategy,
    merge_candidates,
    propose,
    strategy_names,
)
from nnactive_server.query.strategies.ranked import RankedStrategy

GREEDY = {
    "predictive-entropy": "predictive_entropy",
    "bald": "mutual_information",
    "expected-entropy": "expected_entropy",
}
RANKED = [name for name in strategy_names() if isinstance(get_strategy(name), RankedStrategy)]
STRATIFIED = ["clasp-pe", "clap-pe", "cla-pe"]


def signal_maps(shape, classes, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return {
        "predictive_entropy": rng.random(shape) * scale,
        "class_signal": rng.random((classes, *shape)) * scale,
    }


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(sorted(GREEDY)),
    st.lists(st.tuples(*[st.integers(2, 6)] * 3), min_size=1, max_size=3),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.tuples(*[st.integers(1, 2)] * 3),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(0, 10**6),
)
def test_greedy_strategies_equal_sorting_all_boxes_of_the_pool(
    oracle, name, shapes, size, stride, query_size, per_image, seed
):
    rng = np.random.default_rng(seed)
    # Whole numbers give many ties, also between images.
    pool = {f"c{i}": {GREEDY[name]: rng.integers(0, 3, shape)} for i, shape in enumerate(shapes)}
    annotated = {"c0": [Patch((0, 0, 0), (1, 1, 2))], "gone": [Patch((90, 0, 0), (1, 1, 1))]}
    proposal = propose(
        pool,
        name,
        query_size,
        0,
        4,
        annotated,
        seed,
        patch_size=size,
        stride=stride,
        patches_per_image=per_image,
    )
    winners = [
        (-score, case, patch)
        for case, maps in pool.items()
        for patch, score in oracle.greedy(
            oracle.means(maps[GREEDY[name]], size, stride), annotated.get(case, ()), per_image
        )
    ]
    expected = sorted(winners)[:query_size]
    assert [(-q.score, q.case, q.patch) for q in proposal] == expected
    assert proposal.missing == query_size - len(expected)
    assert bool(proposal.shortages) == bool(proposal.missing)


@pytest.mark.parametrize("name", RANKED)
def test_only_the_measures_a_strategy_names_are_needed(name, make_maps):
    strategy = get_strategy(name)
    maps = make_maps((6, 6, 6))
    needed = {measure: maps[measure] for measure in strategy.measures}
    request = Request(3, (2, 2, 2), 0, 4, 1)
    proposal = merge_candidates(
        [case_candidates(CaseMaps.from_maps("a", needed), name, request)], name, request
    )
    assert len(proposal) == 3
    assert not strategy.needs_labels
    for measure in needed:
        fewer = {k: v for k, v in needed.items() if k != measure}
        with pytest.raises(QueryError, match=f"case a: {name} needs the maps.*{measure}"):
            case_candidates(CaseMaps("a", (6, 6, 6), fewer), name, request)


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("level", [0.0, 0.25])
def test_constant_maps_are_ranked_without_trouble(name, level, assert_valid):
    shape = (12, 12, 12)
    maps = {
        measure: np.full(shape, level)
        for measure in ("predictive_entropy", "expected_entropy", "mutual_information")
    } | {"class_signal": np.full((2, *shape), level)}
    pool = {"b": maps, "a": maps}
    proposal = propose(pool, name, 6, 1, 4, {}, 3, patch_size=(3, 3, 3))
    assert len(proposal) == 6
    assert proposal.shortages == ()
    assert_valid(proposal, dict.fromkeys(pool, shape), {})
    if name in GREEDY:
        corners = [(0, 0, 0), (0, 0, 3), (0, 0, 6), (0, 0, 9), (0, 3, 0), (0, 3, 3)]
        assert [(q.case, q.start) for q in proposal] == [("a", corner) for corner in corners]


@pytest.mark.parametrize("name", RANKED)
def test_the_reasons_are_means_over_the_box_without_noise(name, make_maps):
    maps = make_maps((6, 7, 8), seed=5)
    proposal = propose({"a": maps}, name, 6, 0, 4, {}, 3, patch_size=(2, 3, 2))
    for query in proposal:
        box = query.patch.slices
        for measure in ("predictive_entropy", "expected_entropy", "mutual_information"):
            assert query.why.measures[measure] == pytest.approx(maps[measure][box].mean(), rel=1e-12)
        if query.group == "plain":
            chosen_by = maps[get_strategy(name).measures[0]]
        else:
            chosen_by = maps["class_signal"][int(query.group.removeprefix("class-")) - 1]
        assert query.why.mean == pytest.approx(chosen_by[box].mean(), rel=1e-12)


@pytest.mark.parametrize(("step", "beta"), [(0, 1.0), (1, 100 ** (1 / 3)), (3, 100.0), (9, 100.0)])
def test_scores_are_log_means_plus_noise_keyed_by_seed_step_case_and_group(step, beta, make_maps):
    maps = make_maps((9, 9, 9), classes=3)
    request = Request(9, (2, 2, 3), step, 4, 77)
    offer = case_candidates(CaseMaps.from_maps("a", maps), "clasp-pe", request)
    assert {c.group for c in offer.candidates} == {"plain", "class-1", "class-2"}
    for candidate in offer.candidates:
        noise = generator(77, step, "a", candidate.group).gumbel(scale=1 / beta, size=(8, 8, 7))
        expected = np.log(candidate.why.mean) + noise[candidate.patch.start]
        assert candidate.score == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "beta"), [("power-pe", 1.0), ("power-bald", 3.0)])
def test_the_first_choice_follows_the_softmax_law(name, beta):
    measure = get_strategy(name).measures[0]
    means = np.array([0.1, 0.2, 0.4, 0.8, 1.0])
    case = CaseMaps("a", (1, 1, 5), {measure: means.reshape(1, 1, 5)})
    strategy, draws = get_strategy(name, beta=beta), 3000
    counts = np.zeros(5)
    for seed in range(draws):
        offer = case_candidates(case, strategy, Request(1, (1, 1, 1), 0, 4, seed))
        counts[offer.candidates[0].patch.start[2]] += 1
    expected = means**beta / (means**beta).sum() * draws
    assert stats.chisquare(counts, expected).pvalue > 0.001


def test_softrank_prefers_high_ranks_by_the_power_law():
    maps = {"mutual_information": np.array([0.9, 0.3, 0.6, 0.1]).reshape(1, 1, 4)}
    draws, ranks = 3000, np.array([1, 3, 2, 4])
    counts = np.zeros(4)
    for seed in range(draws):
        proposal = propose(
            {"a": maps}, "softrank-bald", 2, 0, 4, {}, seed, patch_size=(1, 1, 1), patches_per_image=2
        )
        assert len({query.patch for query in proposal}) == 2
        counts[proposal[0].start[2]] += 1
    assert stats.chisquare(counts, draws / ranks / (1 / ranks).sum()).pvalue > 0.001


@pytest.mark.parametrize(
    ("query_size", "alpha", "classes", "even", "rest"),
    [
        (10, 0.66, 2, 3, 0),
        (20, 0.66, 4, 3, 1),
        (50, 0.66, 3, 11, 0),
        (100, 0.29, 2, 14, 1),
        (2, 0.66, 3, 0, 1),
    ],
)
def test_classes_share_the_stratified_part_and_the_rest_goes_to_random_ones(
    query_size, alpha, classes, even, rest
):
    strategy = get_strategy("clasp-pe", alpha=alpha)
    groups = (*(f"class-{c}" for c in range(1, classes + 1)), "plain")
    lucky = Counter()
    for seed in range(40):
        quotas = strategy.plan(Request(query_size, (2, 2, 2), 0, 4, seed), groups).quotas
        assert sum(quotas.values()) == query_size
        assert quotas["plain"] == query_size - even * classes - rest
        assert sorted(quotas[g] - even for g in groups[:-1]) == [0] * (classes - rest) + [1] * rest
        lucky.update(g for g in groups[:-1] if quotas[g] > even)
    assert len(lucky) == (classes if rest else 0)


@pytest.mark.parametrize("name", STRATIFIED)
def test_every_group_gets_its_quota_from_a_large_pool(name, assert_valid):
    pool = {f"c{i}": signal_maps((8, 8, 8), 3, i) for i in range(3)}
    proposal = propose(pool, name, 15, 2, 4, {}, 5, patch_size=(2, 2, 2))
    assert Counter(q.group for q in proposal) == {"class-1": 3, "class-2": 3, "class-3": 3, "plain": 6}
    assert_valid(proposal, dict.fromkeys(pool, (8, 8, 8)), {})
    assert {q.group for q in proposal[:5]} == {"class-1", "class-2", "class-3", "plain"}


def test_each_class_gets_the_patches_where_its_own_signal_is():
    maps = {"predictive_entropy": np.full((4, 4, 12), 0.1), "class_signal": np.zeros((2, 4, 4, 12))}
    maps["class_signal"][0, :, :, 0:4] = 1
    maps["class_signal"][1, :, :, 8:12] = 1
    proposal = propose({"a": maps}, "cla-pe", 6, 0, 4, {}, 1, patch_size=(2, 2, 2))
    starts = {group: [q.start[2] for q in proposal if q.group == group] for group in ("class-1", "class-2")}
    assert len(starts["class-1"]) == 1
    assert max(starts["class-1"]) <= 2
    assert min(starts["class-2"]) >= 8


def test_one_image_takes_its_groups_in_a_seeded_order_that_differs_between_images():
    request = Request(10, (1, 1, 1), 0, 4, 3)
    first = set()
    for i in range(30):
        case = CaseMaps.from_maps(f"c{i}", signal_maps((3, 3, 3), 2))
        offer = case_candidates(case, "clasp-pe", request)
        groups = [c.group for c in offer.candidates]
        assert groups == sorted(groups, key=groups.index)  # one group after the other
        first.add(groups[0])
    assert first == {"plain", "class-1", "class-2"}


def test_a_group_that_falls_short_gives_its_rest_to_the_others(assert_valid):
    # One place a patch, two images of two places each: a group late in both walks finds nothing.
    pool = {f"c{i}": signal_maps((1, 1, 2), 2, i) for i in range(2)}
    seen = 0
    for seed in range(30):
        proposal = propose(pool, "clasp-pe", 4, 0, 4, {}, seed, patch_size=(1, 1, 1))
        assert_valid(proposal, dict.fromkeys(pool, (1, 1, 2)), {})
        assert len(proposal) == 4
        for shortage in proposal.shortages:
            seen += 1
            assert shortage.found < shortage.asked
            assert str(shortage).startswith(f"{shortage.group}: only {shortage.found} of {shortage.asked}")
    assert seen > 5


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["clasp-pe", "cla-pe", "reference"]),
    st.lists(st.tuples(*[st.integers(1, 5)] * 3), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 25),
    st.one_of(st.none(), st.integers(1, 6)),
    st.integers(0, 10**6),
)
def test_a_query_is_only_short_when_the_images_offer_no_more(
    assert_valid, name, shapes, classes, query_size, per_image, seed
):
    strategy = get_strategy("clasp-pe", schedule="reference") if name == "reference" else get_strategy(name)
    cases = [CaseMaps.from_maps(f"c{i}", signal_maps(s, classes, i)) for i, s in enumerate(shapes)]
    annotated = {"c0": [Patch((0, 0, 0), (1, 1, 1))]}
    request = Request(query_size, (2, 2, 2), 1, 4, seed, per_image)
    offers = [case_candidates(c, strategy, request, annotated.get(c.case, ())) for c in cases]
    proposal = merge_candidates(offers, strategy, request)
    assert_valid(proposal, {c.case: c.shape for c in cases}, annotated)
    limit = strategy.plan(request, offers[0].groups).per_image
    assert max(Counter(q.case for q in proposal).values(), default=0) <= limit
    assert len(proposal) == min(query_size, sum(min(limit, len(o.candidates)) for o in offers))
    for offer, case in zip(offers, cases, strict=True):
        if len(offer.candidates) < min(limit, query_size):
            taken = [c.patch for c in offer.candidates] + annotated.get(case.case, [])
            assert not free_boxes(case.shape, (2, 2, 2), taken)
    if proposal.missing:
        assert proposal.shortages


def free_boxes(shape, size, taken):
    size = tuple(min(p, n) for p, n in zip(size, shape, strict=True))
    ranges = [n - k + 1 for n, k in zip(shape, size, strict=True)]
    boxes = [Patch(start, size) for start in np.ndindex(*ranges)]
    return [box for box in boxes if not any(box.overlap(other) for other in taken)]


def test_the_reference_schedule_caps_each_group_in_an_image_and_keeps_spares():
    strategy = get_strategy("clasp-pe", schedule="reference")
    case = CaseMaps.from_maps("a", signal_maps((12, 12, 12), 3))
    request = Request(60, (2, 2, 2), 1, 4, 0, patches_per_image=20)
    offer = case_candidates(case, strategy, request)
    counts = Counter((c.group, c.spare) for c in offer.candidates)
    # max(1, floor(20 * 0.66 / 4)) for a class, floor(20 * 0.34) plain, the other 5 of 20 spare
    assert counts == {
        ("class-1", False): 3,
        ("class-2", False): 3,
        ("class-3", False): 3,
        ("plain", False): 6,
        ("plain", True): 5,
    }
    proposal = merge_candidates([offer], strategy, request)
    assert len(proposal) == 20
    assert {s.group: (s.asked, s.found) for s in proposal.shortages} == {
        "class-1": (13, 3),
        "class-2": (13, 3),
        "class-3": (13, 3),
        "plain": (21, 6),
    }


def test_the_reference_schedule_gives_every_group_of_an_image_at_least_one_patch():
    strategy = get_strategy("clasp-pe", schedule="reference")
    case = CaseMaps.from_maps("a", signal_maps((12, 12, 12), 3))
    request = Request(8, (2, 2, 2), 1, 4, 0, patches_per_image=2)
    proposal = merge_candidates([case_candidates(case, strategy, request)], strategy, request)
    assert Counter(q.group for q in proposal) == dict.fromkeys(("class-1", "class-2", "class-3", "plain"), 1)


def test_spare_candidates_never_displace_another_image_s_own():
    strategy = get_strategy("clasp-pe", schedule="reference")
    bright = CaseMaps.from_maps("a", signal_maps((12, 12, 12), 1, 0, scale=1e6))
    dark = CaseMaps.from_maps("b", signal_maps((12, 12, 12), 1, 1))
    request = Request(12, (2, 2, 2), 3, 4, 0, patches_per_image=6)
    offers = [case_candidates(case, strategy, request) for case in (bright, dark)]
    assert any(c.spare for c in offers[0].candidates)
    proposal = merge_candidates(offers, strategy, request)
    # a class quota of 7 against caps of 1 in each image; plain 5 against caps of 2
    own = [q for q in proposal if q.case == "b"]
    assert len([q for q in own if q.group == "plain"]) >= 2
    assert len(proposal) == 12


def test_the_number_of_patches_of_one_image_is_limited(assert_valid):
    pool = {f"c{i}": signal_maps((8, 8, 8), 2, i, scale=1 + 100 * (i == 0)) for i in range(4)}
    proposal = propose(pool, "cla-pe", 8, 0, 4, {}, 1, patch_size=(2, 2, 2), patches_per_image=2)
    assert Counter(q.case for q in proposal) == dict.fromkeys(pool, 2)
    assert_valid(proposal, dict.fromkeys(pool, (8, 8, 8)), {})


def test_noise_does_not_depend_on_other_cases_or_their_order(make_maps):
    pool = {f"c{i}": make_maps((6, 6, 6), seed=i) for i in range(4)}
    request = Request(8, (2, 2, 2), 0, 4, np.int64(11))
    offers = [case_candidates(CaseMaps.from_maps(c, m), "clasp-pe", request) for c, m in pool.items()]
    alone = case_candidates(CaseMaps.from_maps("c2", pool["c2"]), "clasp-pe", replace(request, seed=11))
    assert alone == offers[2]
    expected = merge_candidates(offers, "clasp-pe", request)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(4)
        assert merge_candidates([offers[i] for i in order], "clasp-pe", request) == expected


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("clasp-pe", {"alpha": 1.5}, "alpha 1.5"),
        ("clasp-pe", {"schedule": "linear"}, "schedule 'linear'.*paper"),
        ("power-pe", {"beta": 0}, "beta"),
        ("power-pe", {"beta": float("nan")}, "beta"),
        ("bald", {"measure": "variance"}, "measure 'variance'.*mutual_information"),
    ],
)
def test_parameters_out_of_range_are_refused(name, params, message):
    with pytest.raises(QueryError, match=message):
        get_strategy(name, **params)


def test_cases_with_different_classes_are_refused():
    request = Request(3, (2, 2, 2), 0, 4, 1)
    offers = [
        case_candidates(CaseMaps.from_maps(f"c{k}", signal_maps((4, 4, 4), k)), "clasp-pe", request)
        for k in (2, 3)
    ]
    with pytest.raises(QueryError, match=r"case c3 has groups.*class-3.*case c2"):
        merge_candidates(offers, "clasp-pe", request)
