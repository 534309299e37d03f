"""Noise follows its law, also after the first choice and at every step of a schedule."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from nnactive_server.core.rng import generator
from nnactive_server.query import CaseMaps, Request, case_candidates, get_strategy, merge_candidates, propose

MEANS = np.array([0.1, 0.25, 0.4, 0.8, 1.0])


def pairs_law(weights: np.ndarray) -> dict[tuple[int, int], float]:
    """Plackett-Luce: each next one in proportion to its weight among those left."""
    shares = weights / weights.sum()
    return {
        (i, j): shares[i] * shares[j] / (1 - shares[i])
        for i, j in itertools.permutations(range(len(shares)), 2)
    }


def assert_follows(counts: Counter, law: dict) -> None:
    expected = np.array([law[key] for key in law]) * counts.total()
    observed = np.array([counts[key] for key in law])
    rare = expected < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    assert stats.chisquare(observed, expected).pvalue > 0.001


@pytest.mark.parametrize(("name", "beta"), [("power-pe", 1.0), ("power-bald", 2.0), ("power-pe", 5.0)])
def test_the_first_two_of_an_image_are_drawn_without_replacement(name, beta):
    strategy = get_strategy(name, beta=beta)
    case = CaseMaps("a", (1, 1, 5), {strategy.measures[0]: MEANS.reshape(1, 1, 5)})
    counts: Counter = Counter()
    for seed in range(1500):
        offer = case_candidates(case, strategy, Request(2, (1, 1, 1), 0, 4, seed))
        counts[tuple(c.patch.start[2] for c in offer.candidates)] += 1
    assert_follows(counts, pairs_law(MEANS**beta))


def test_the_first_two_of_a_pool_are_drawn_without_replacement_across_images():
    strategy = get_strategy("power-bald", beta=2.0)
    cases = [
        CaseMaps(f"c{i}", (1, 1, 1), {"mutual_information": np.full((1, 1, 1), m)})
        for i, m in enumerate(MEANS)
    ]
    counts: Counter = Counter()
    for seed in range(600):
        request = Request(2, (1, 1, 1), 1, 4, seed)
        found = merge_candidates([case_candidates(c, strategy, request) for c in cases], strategy, request)
        counts[tuple(int(q.case[1:]) for q in found)] += 1
    assert_follows(counts, pairs_law(MEANS**2))


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_softrank_draws_the_first_two_by_the_power_of_their_ranks(beta):
    maps = {"mutual_information": np.array([0.9, 0.3, 0.6, 0.1]).reshape(1, 1, 4)}
    strategy, counts = get_strategy("softrank-bald", beta=beta), Counter()
    for seed in range(1500):
        found = propose({"a": maps}, strategy, 2, 0, 4, {}, seed, patch_size=(1, 1, 1))
        counts[tuple(q.start[2] for q in found)] += 1
    assert_follows(counts, pairs_law(np.array([1, 3, 2, 4.0]) ** -beta))


@pytest.mark.parametrize(
    ("schedule", "step", "beta"),
    [
        *(("reference", t, b) for t, b in enumerate([1, 100**0.25, 10, 100**0.75, 100, 100])),
        *(("paper", t, b) for t, b in enumerate([1, 100 ** (1 / 3), 100 ** (2 / 3), 100, 100])),
        ("constant", 3, 1),
    ],
)
def test_noise_has_the_scale_of_the_schedule_and_the_key_of_its_use(schedule, step, beta):
    strategy = get_strategy("clasp-pe", schedule=schedule)
    means = np.random.default_rng(0).random((20, 20, 10)) + 0.1
    request = Request(9, (2, 2, 2), step, 4, 77)
    groups = {}
    for group in ("class-1", "plain"):
        noise = strategy.scores(means, "a", group, request) - np.log(means)
        keyed = generator(77, step, "a", group).gumbel(scale=1 / beta, size=means.shape)
        np.testing.assert_allclose(noise, keyed, atol=1e-12)
        assert stats.kstest(noise.ravel(), stats.gumbel_r(scale=1 / beta).cdf).pvalue > 0.001
        groups[group] = noise.ravel()
    assert abs(np.corrcoef(groups["class-1"], groups["plain"])[0, 1]) < 0.06


@pytest.mark.parametrize("name", ["power-pe", "power-bald", "clap-pe", "clasp-pe"])
def test_the_same_image_under_another_name_seed_or_step_gets_other_noise(name):
    means = np.ones((6, 6, 6))
    strategy = get_strategy(name)
    found = {
        strategy.scores(means, case, group, Request(3, (1, 1, 1), step, 4, seed)).tobytes()
        for case in "ab"
        for group in ("plain", "class-1")
        for step in (0, 1)
        for seed in (0, 1)
    }
    assert len(found) == 16


def test_a_mean_of_zero_ranks_below_all_others_but_stays_finite():
    maps = {"mutual_information": np.array([0.0, 1e-300, 0.0, 1e-3]).reshape(1, 1, 4)}
    for seed in range(100):
        found = propose({"a": maps}, "power-bald", 4, 0, 4, {}, seed, patch_size=(1, 1, 1))
        assert [q.start[2] for q in found][:2] == [3, 1]
        assert all(np.isfinite(q.score) for q in found)
        assert len(found) == 4
