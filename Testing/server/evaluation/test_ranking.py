import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation.ranking import agreement, block_ranks, rank_test

# Four blocks, three methods; a is always first, b and c swap once.
TABLE = np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.9, 0.7, 0.8]])


def test_the_highest_score_has_rank_one_and_ties_share() -> None:
    assert block_ranks(np.array([[0.1, 0.5, 0.5, 0.9]])).tolist() == [[4, 2.5, 2.5, 1]]


def test_mean_ranks_friedman_and_nemenyi_by_hand() -> None:
    found = rank_test(TABLE, ("a", "b", "c"))
    assert found.methods == ("a", "b", "c")
    assert found.mean_ranks == pytest.approx([1, 2.25, 2.75])
    # Friedman: 12 N / (k (k + 1)) (sum R^2 - k (k + 1)^2 / 4) = 4 (13.625 - 12) = 6.5; chi-square with
    # 2 degrees of freedom: p = exp(-3.25)
    assert found.friedman_p == pytest.approx(math.exp(-3.25))
    # Critical difference at 0.05, k = 3: 2.343 sqrt(12 / 24) = 1.657 (Demšar 2006, table 5): a and c differ.
    assert found.p_values[0, 2] < 0.05 < found.p_values[0, 1]
    assert found.groups == (("a", "b"), ("b", "c"))


def test_nemenyi_turns_at_the_published_critical_difference() -> None:
    # Demšar's example (2006, section 3.2.2): 14 data sets, 4 classifiers, the critical difference is 1.25.
    blocks, ranks = 14, np.array([1.0, 2.0, 3.0, 4.0])
    swapped = [ranks if i < 11 else ranks[[1, 0, 2, 3]] for i in range(blocks)]
    found = rank_test(-np.array(swapped), tuple("abcd"))
    gaps = np.abs(found.mean_ranks[:, None] - found.mean_ranks[None, :])
    assert ((found.p_values < 0.05) == (gaps > 1.25)).all()


@settings(deadline=None, max_examples=40)
@given(blocks=st.integers(1, 8), methods=st.integers(2, 6), seed=st.integers(0, 99))
def test_ranks_always_sum_to_the_same_and_order_is_best_first(blocks: int, methods: int, seed: int) -> None:
    table = np.random.default_rng(seed).normal(size=(blocks, methods))
    found = rank_test(table, tuple(f"m{i}" for i in range(methods)))
    assert found.mean_ranks.sum() == pytest.approx(methods * (methods + 1) / 2)
    assert (np.diff(found.mean_ranks) >= 0).all()
    assert sorted(found.methods) == [f"m{i}" for i in range(methods)]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_groups_hold_only_pairs_that_do_not_differ_and_cannot_grow(seed: int) -> None:
    table = np.random.default_rng(seed).normal(np.arange(6) * 0.5, 1.0, (12, 6))
    found = rank_test(table, tuple("abcdef"))
    at = {name: i for i, name in enumerate(found.methods)}
    for group in found.groups:
        inside = [at[name] for name in group]
        assert (found.p_values[np.ix_(inside, inside)] >= 0.05).all()
        for other in set(range(6)) - set(inside):
            assert (found.p_values[other, inside] < 0.05).any()


def test_what_cannot_be_tested_is_not() -> None:
    two = rank_test(TABLE[:, :2], ("a", "b"))
    assert math.isnan(two.friedman_p)
    assert two.groups == ()
    one = rank_test(TABLE[:1], ("a", "b", "c"))
    assert np.isnan(one.errors).all()
    alike = rank_test(np.ones((4, 3)), ("a", "b", "c"))
    assert math.isnan(alike.friedman_p)


def test_ranking_refuses_gaps_and_wrong_names() -> None:
    with pytest.raises(NNActiveError, match="finite"):
        block_ranks(np.array([[0.1, math.nan]]))
    with pytest.raises(NNActiveError, match="columns"):
        rank_test(TABLE, ("a", "b"))


def test_kendalls_tau_by_hand() -> None:
    # 4 items, one neighbouring swap: (5 - 1) / 6
    assert agreement([1, 2, 3, 4], [1, 2, 4, 3]).tau == pytest.approx(4 / 6)
    assert agreement([1, 2, 3], [3, 2, 1]).tau == pytest.approx(-1)
    assert agreement([1, 2, 3, 4, 5], [10, 20, 30, 40, 50]).p_value == pytest.approx(2 / 120)
    assert math.isnan(agreement([1, 1, 1], [1, 2, 3]).tau)
    assert agreement([1, 2, math.nan, 3], [1, 2, 0, 3]).tau == pytest.approx(1)
    with pytest.raises(NNActiveError, match="same methods"):
        agreement([1, 2], [1, 2, 3])


def test_tau_of_scores_against_the_query_size_counts_ties() -> None:
    # As in table 7.2: three sizes, four seeds each; sizes tie among seeds, scores do not and follow the size.
    sizes = np.repeat([2, 1, 0.5], 4)
    scores = np.linspace(0, 1, 12)
    # tau-b = (C - D) / sqrt((n0 - ties) n0): 48 concordant of 66 pairs, 18 tied in size.
    assert agreement(-sizes, scores).tau == pytest.approx(48 / math.sqrt(48 * 66))
