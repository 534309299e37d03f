"""Rankings of cases by expected quality, against their definition."""

from __future__ import annotations

import math
from itertools import groupby, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation.triage import (
    augrc,
    aurc,
    rank_correlation,
    risk_coverage,
    triage_measures,
)

few = st.integers(0, 3)  # many ties
risks = st.floats(0, 1)
cases = st.lists(st.tuples(few, risks), min_size=1, max_size=6)


def orders(table):
    """Every order in which the cases can be accepted: ties may come in any."""
    ranked = sorted(table, key=lambda case: -case[0])
    groups = [list(permutations(group)) for _, group in groupby(ranked, key=lambda case: case[0])]

    def joined(rest):
        if not rest:
            yield ()
            return
        for head in rest[0]:
            for tail in joined(rest[1:]):
                yield (*head, *tail)

    return list(joined(groups))


def areas_by_definition(order):
    """One order, step by step."""
    n, total, selective, area, before = len(order), 0.0, [], 0.0, 0.0
    for k, (_, risk) in enumerate(order, start=1):
        total += risk
        selective.append(total / k)
        now = (total / k) * (k / n)
        area += (before + now) / 2 / n
        before = now
    return sum(selective) / n, area


@settings(deadline=None, max_examples=150)
@given(cases)
def test_both_areas_are_the_means_over_all_orders_of_ties(table):
    confidence, risk = zip(*table, strict=True)
    expected = np.mean([areas_by_definition(order) for order in orders(table)], axis=0)
    assert (aurc(confidence, risk), augrc(confidence, risk)) == pytest.approx(tuple(expected), abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(few, st.booleans()), min_size=2, max_size=30))
def test_with_right_and_wrong_alone_augrc_is_what_the_auroc_says(table):
    wrong = [c for c, failed in table if failed]
    right = [c for c, failed in table if not failed]
    if not wrong or not right:
        return
    auroc = np.mean([(r > w) + (r == w) / 2 for r in right for w in wrong])
    accuracy = len(right) / len(table)
    expected = (1 - auroc) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    confidence, failed = zip(*table, strict=True)
    assert augrc(confidence, np.array(failed, float)) == pytest.approx(expected)


def test_a_case_computed_by_hand():
    curve = risk_coverage([0.9, 0.1, 0.5], [0.0, 0.6, 0.3])
    assert curve.coverage == pytest.approx([1 / 3, 2 / 3, 1])
    assert curve.selective == pytest.approx([0, 0.15, 0.3])
    assert curve.generalised == pytest.approx([0, 0.1, 0.3])
    assert curve.aurc == pytest.approx(0.15)
    assert curve.augrc == pytest.approx((0.05 + 0.2) / 3)


def test_the_right_order_is_best_and_the_wrong_one_worst():
    risk = np.random.default_rng(1).uniform(size=5)
    found = [aurc(order, risk) for order in permutations(range(5))]
    general = [augrc(order, risk) for order in permutations(range(5))]
    assert (aurc(-risk, risk), aurc(risk, risk)) == pytest.approx((min(found), max(found)))
    assert (augrc(-risk, risk), augrc(risk, risk)) == pytest.approx((min(general), max(general)))


def test_where_everything_fails_augrc_is_a_half():
    assert augrc([3, 1, 2, 2], [1, 1, 1, 1]) == pytest.approx(0.5)
    assert augrc([3, 1, 2, 2], [0, 0, 0, 0]) == 0


@given(st.lists(st.tuples(st.integers(-20, 20), risks), min_size=2, max_size=20))
def test_only_the_order_of_confidence_counts(table):
    confidence, risk = map(np.array, zip(*table, strict=True))
    assert aurc(np.exp(confidence / 10), risk) == pytest.approx(aurc(confidence, risk))


def test_rank_correlation():
    assert rank_correlation([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.9]) == pytest.approx(1)
    # sum of squared rank differences 2: 1 - 6 * 2 / (4 * 15)
    assert rank_correlation([1, 3, 2, 4], [0.1, 0.2, 0.3, 0.9]) == pytest.approx(0.8)
    assert math.isnan(rank_correlation([1, 1, 1], [0.1, 0.2, 0.3]))


def test_cases_of_unknown_dice_or_confidence_are_left_out():
    found = triage_measures([1, math.nan, 3, 2, 5], [0.2, 0.9, 0.4, 0.3, math.nan])
    assert found == {
        "aurc": pytest.approx(aurc([1, 3, 2], [0.8, 0.6, 0.7])),
        "augrc": pytest.approx(augrc([1, 3, 2], [0.8, 0.6, 0.7])),
        "spearman": pytest.approx(1),
        "cases": 3,
    }
    assert triage_measures([1, 2], [0.1, 0.2]) == {}
    assert triage_measures([1, 1, 1], [0.1, 0.2, 0.3])["spearman"] is None


@pytest.mark.parametrize(
    ("confidence", "risk", "words"),
    [([], [], "0 confidences"), ([1], [1, 2], "1 confidences and 2"), ([math.nan], [1], "finite")],
)
def test_what_is_no_ranking_is_refused(confidence, risk, words):
    with pytest.raises(NNActiveError, match=words):
        aurc(confidence, risk)
