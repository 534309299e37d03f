import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation import fg_efficiency
from nnactive_server.evaluation.efficiency import efficiency

FULL = 0.9


def study(
    gamma: float, noise: float, seeds: int = 4, seed: int = 0, start: float = 0.5
) -> tuple[np.ndarray, ...]:
    """Shares and Dice (seeds, 5) of a method of this rate."""
    numbers = np.random.default_rng(seed)
    x = 0.01 + np.linspace(0, 2.5 / abs(gamma), 5) * np.ones((seeds, 1))
    y = FULL - (FULL - start) * np.exp(-gamma * (x - 0.01))
    return x, y + numbers.normal(0, noise, y.shape)


@settings(deadline=None, max_examples=25)
@given(gamma=st.floats(2, 300), seed=st.integers(0, 1000))
def test_a_known_rate_is_recovered_from_noisy_data(gamma: float, seed: int) -> None:
    found = efficiency(*study(gamma, 0.004, seed=seed), FULL)
    assert found.identifiable
    assert found.gamma == pytest.approx(gamma, rel=0.15)
    assert found.fit_low < found.gamma < found.fit_high


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    inside = []
    for seed in range(60):
        found = efficiency(*study(30, 0.01, seed=seed), FULL)
        inside.append(found.fit_low <= 30 <= found.fit_high)
    assert 0.8 <= np.mean(inside) <= 1.0


def test_the_bootstrap_takes_whole_seeds() -> None:
    # Two seeds of exact but different rates: samples are (a, a), (a, b), (b, b) with weights 1/4, 1/2, 1/4.
    slow, fast = study(10, 0, seeds=1), study(40, 0, seeds=1)
    x, y = (np.vstack(pair) for pair in zip(slow, fast, strict=True))
    found = efficiency(x, y, FULL)
    assert (found.low, found.high) == pytest.approx((10, 40), rel=1e-4)
    assert 10 < found.gamma < 40


def test_one_seed_has_no_bootstrap_interval() -> None:
    found = efficiency(*study(10, 0.001, seeds=1), FULL)
    assert math.isnan(found.low)
    assert found.identifiable


def test_many_seeds_are_drawn_and_the_draw_is_repeatable() -> None:
    data = study(20, 0.01, seeds=8)
    first, second = efficiency(*data, FULL), efficiency(*data, FULL)
    assert first == second
    assert first.low < first.gamma < first.high


def test_both_conventions_are_those_of_the_plain_fit() -> None:
    x, y = study(20, 0.01)
    x = x + np.array([[0.0], [0.001], [0.002], [0.003]])
    for convention in ("ours", "reference"):
        assert efficiency(x, y, FULL, convention).gamma == fg_efficiency(x, y, FULL, convention).gamma
        assert efficiency(x, y, FULL, convention).spread == fg_efficiency(x, y, FULL, convention).spread


@pytest.mark.parametrize("seed", range(5))
def test_a_curve_that_is_at_the_top_at_once_has_no_rate(seed: int) -> None:
    x = 0.01 + np.linspace(0, 0.1, 5) * np.ones((4, 1))
    y = np.full((4, 5), 0.9) + np.random.default_rng(seed).normal(0, 0.003, (4, 5))
    y[:, 0] = 0.5
    found = efficiency(x, y, 0.9)
    assert not found.identifiable
    assert "steeper" in found.problem or "cannot be fitted" in found.problem


@pytest.mark.parametrize("seed", range(5))
def test_noise_as_large_as_the_gap_to_all_labels_is_told(seed: int) -> None:
    x, y = study(30, 0.02, start=0.895, seed=seed)
    assert not efficiency(x, y, FULL).identifiable


def test_a_start_as_good_as_all_labels_and_shares_that_stand_still_are_told() -> None:
    x, y = study(10, 0.0)
    assert "as good" in efficiency(x, y, 0.45).problem
    assert "grow" in efficiency(np.full((4, 5), 0.01), y, FULL).problem


def test_a_falling_curve_has_a_negative_rate_that_can_be_told() -> None:
    x = 0.01 + np.linspace(0, 0.04, 5) * np.ones((3, 1))
    y = FULL - 0.3 * np.exp(12 * (x - 0.01)) + np.random.default_rng(0).normal(0, 0.004, (3, 5))
    found = efficiency(x, y, FULL)
    assert found.identifiable
    assert found.gamma == pytest.approx(-12, rel=0.1)


def test_what_is_no_data_is_refused() -> None:
    with pytest.raises(NNActiveError, match="FG-Eff"):
        efficiency(np.ones((2, 5)), np.ones((2, 4)), FULL)
