import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation.comparison import holm, paired_test, penalty_matrix

# Differences 1, 2, 3: mean 2, s 1, t = 2 / (1 / sqrt 3) = 3.464, 2 degrees of freedom: p = 0.0742 (tables).
ONE_TWO_THREE = np.array([1.0, 2.0, 3.0])


def test_the_paired_test_by_hand() -> None:
    assert paired_test(ONE_TWO_THREE, np.zeros(3)) == pytest.approx(0.0742, abs=5e-5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8))
def test_the_paired_test_is_scipys_and_symmetric(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.round(np.array(column), 3) for column in zip(*pairs, strict=True))
    if np.ptp(a - b) > 1e-3:
        assert paired_test(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-6)
    assert paired_test(a, b) == pytest.approx(paired_test(b, a))


def test_differences_without_spread() -> None:
    assert paired_test(np.array([0.1, 0.2]), np.array([0.1, 0.2])) == 1.0
    assert paired_test(np.array([0.3, 0.4, 0.5]), np.array([0.1, 0.2, 0.3])) == 0.0


def test_one_pair_says_nothing_and_missing_seeds_do_not_count() -> None:
    assert math.isnan(paired_test(np.array([0.3, math.nan]), np.array([0.1, 0.2])))
    more = np.array([*ONE_TWO_THREE, math.nan])
    assert paired_test(more, np.zeros(4)) == paired_test(ONE_TWO_THREE, np.zeros(3))


def test_holm_by_hand() -> None:
    # sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 made at least 0.06, 0.5 x 1
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])


def refused_step_by_step(p: list[float], level: float) -> list[bool]:
    """Holm (1979) as he wrote it: the smallest p against level / m, the next against level / (m - 1), ..."""
    refused = [False] * len(p)
    for done, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[place] * (len(p) - done) > level:
            break
        refused[place] = True
    return refused


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1, exclude_max=True))
def test_holm_refuses_at_every_level_what_his_steps_refuse(p: list[float], level: float) -> None:
    adjusted = holm(p)
    for at in (level, *adjusted[adjusted < 1]):  # an adjusted p is itself the smallest level that refuses
        assert [value <= at for value in adjusted] == refused_step_by_step(p, at)
    assert all(value <= 1 for value in adjusted)


def test_holm_leaves_tests_that_were_not_made_alone() -> None:
    assert holm([math.nan, 0.01, 0.04]) == pytest.approx([math.nan, 0.02, 0.04], nan_ok=True)


def curves(*budgets: float, noise: float = 0.001) -> np.ndarray:
    """Four seeds; their differences from other curves vary by `noise`."""
    return np.array(budgets) + noise * np.array([[-1.0], [0.0], [1.0], [0.5]])


def test_penalty_matrix_by_hand() -> None:
    # a beats b at 2 of 4 budgets, b beats a at 1; c is far below both but at one budget.
    first = {
        "a": curves(0.5, 0.7, 0.8, 0.9, noise=0),
        "b": curves(0.5, 0.6, 0.7, 0.95),
        "c": curves(0.5, 0.1, 0.1, 0.1),
    }
    second = {"a": curves(0.8, 0.8, noise=0), "b": curves(0.2, 0.9)}
    found = penalty_matrix([first, second], ("a", "b", "c"))
    # b's noise at the first budget: differences -1, 0, 1, 0.5 thousandths do not differ from zero.
    assert found.wins[0, 1] == pytest.approx(100 * (2 / 4 + 1 / 2) / 2)
    assert found.wins[1, 0] == pytest.approx(100 * (1 / 4 + 1 / 2) / 2)
    assert found.wins[0, 2] == pytest.approx(75)  # the second setting lacks c
    assert found.wins[2, 0] == 0
    assert np.isnan(np.diag(found.wins)).all()
    assert found.mean_loss == pytest.approx([(37.5 + 0) / 2, (50 + 0) / 2, 75])
    assert found.mean_win == pytest.approx([(50 + 75) / 2, (37.5 + 75) / 2, 0])


def test_every_setting_weighs_the_same_however_many_budgets_it_has() -> None:
    few = {"a": curves(0.9, noise=0), "b": curves(0.1)}
    many = {"a": curves(*[0.5] * 9, noise=0), "b": curves(*[0.5] * 9)}
    assert penalty_matrix([few, many], ("a", "b")).wins[0, 1] == pytest.approx(50)


def test_holm_never_adds_a_win() -> None:
    numbers = np.random.default_rng(3)
    names = tuple("abcde")
    study = [{name: numbers.normal(0.1 * i, 0.1, (4, 5)) for i, name in enumerate(names)} for _ in range(3)]
    plain, corrected = (penalty_matrix(study, names, correct=c).wins for c in (False, True))
    off = ~np.eye(5, dtype=bool)
    assert (corrected[off] <= plain[off]).all()
    assert corrected[off].sum() < plain[off].sum()


def test_two_methods_cannot_both_win_more_than_everything() -> None:
    numbers = np.random.default_rng(4)
    study = [{name: numbers.normal(size=(4, 5)) for name in "ab"} for _ in range(5)]
    wins = penalty_matrix(study, ("a", "b")).wins
    assert wins[0, 1] + wins[1, 0] <= 100


def test_curves_of_a_setting_must_share_their_seeds_and_budgets() -> None:
    with pytest.raises(NNActiveError, match="one shape"):
        penalty_matrix([{"a": np.zeros((3, 4)), "b": np.zeros((4, 4))}], ("a", "b"))


def test_one_seed_makes_no_test() -> None:
    found = penalty_matrix([{"a": np.ones((1, 3)), "b": np.zeros((1, 3))}], ("a", "b"))
    assert found.tests == 0
    assert found.wins[0, 1] == 0
