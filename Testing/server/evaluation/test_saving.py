import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.economy import NOT_ENOUGH, Estimate
from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation.saving import mean_interval, next_gain, pooled_mean, saved_share

BUDGETS = np.arange(1, 6) * 20.0


def test_students_interval_by_hand() -> None:
    # mean 2, s 1, t(2) = 4.3027 at 97.5 %
    found = mean_interval([1, 2, 3, math.nan, math.inf])
    assert found.count == 3
    assert (found.low, found.mean, found.high) == pytest.approx(
        (2 - 4.3027 / math.sqrt(3), 2, 2 + 4.3027 / math.sqrt(3)), abs=1e-4
    )
    assert math.isnan(mean_interval([5]).low)
    assert mean_interval([]).count == 0


def test_pooled_mean_by_hand() -> None:
    found = pooled_mean([0.5, 0.7], [0.02, 0.04], [4, 4])
    half = 1.96 * math.sqrt(0.0004 / 4 + 0.0016 / 4) / 2
    assert (found.low, found.mean, found.high) == pytest.approx((0.6 - half, 0.6, 0.6 + half))


def test_an_estimate_is_known_only_away_from_zero_and_with_enough_seeds() -> None:
    assert Estimate(0.2, 0.1, 0.3, 3).known
    assert Estimate(-0.2, -0.3, -0.1, 3).known
    assert not Estimate(0.2, -0.1, 0.5, 3).known
    assert not Estimate(0.2, 0.1, 0.3, 2).known
    assert not mean_interval([]).known


def test_saving_by_hand() -> None:
    # The baseline ends at 0.8 after 50; the strategy is there at 30, between 0.7 at 20 and 0.9 at 40.
    found = saved_share(
        np.array([[10.0, 20, 40]]),
        np.array([[0.5, 0.7, 0.9]]),
        np.array([[10.0, 30, 50]]),
        np.array([[0.5, 0.7, 0.8]]),
    )
    assert found == pytest.approx([0.4])


def test_saving_of_the_worse_one_is_negative_by_the_same_reading() -> None:
    amounts, good, bad = BUDGETS[None, :3], np.array([[0.5, 0.8, 0.9]]), np.array([[0.5, 0.6, 0.8]])
    assert saved_share(amounts, good, amounts, bad) == pytest.approx([1 - 40 / 60])
    assert saved_share(amounts, bad, amounts, good) == pytest.approx([1 - 60 / 40])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_savings_are_finite_and_zero_against_oneself(a: list[float], b: list[float]) -> None:
    amounts, ours, theirs = BUDGETS[None, :3], np.array([a]), np.array([b])
    assert saved_share(amounts, ours, amounts, ours) == pytest.approx([0])
    forth, back = saved_share(amounts, ours, amounts, theirs), saved_share(amounts, theirs, amounts, ours)
    assert (1 - forth) * (1 - back) == pytest.approx([1])


def curve(top: float, drop: float, rate: float) -> np.ndarray:
    return top - drop * np.exp(-rate * (BUDGETS - BUDGETS[0]))


def test_the_gain_of_an_exact_curve_is_found() -> None:
    top, drop, rate = 0.9, 0.2, 0.02
    truth = drop * (math.exp(-rate * 80) - math.exp(-rate * 100))
    found = next_gain(BUDGETS, curve(top, drop, rate), 20)
    assert found.mean == pytest.approx(truth, rel=0.05)
    assert found.low <= truth <= found.high
    assert found.ceiling == pytest.approx(top, abs=0.01)
    assert found.verdict == "go on"


def test_a_flat_curve_says_stop_and_noise_says_not_enough() -> None:
    assert next_gain(BUDGETS, [0.5, 0.88, 0.8802, 0.8799, 0.8801], 20).verdict == "stop"
    assert next_gain(BUDGETS, [0.5, 0.62, 0.58, 0.71, 0.69], 20).verdict == NOT_ENOUGH


def test_too_few_cycles_are_not_enough() -> None:
    found = next_gain(BUDGETS[:3], [0.5, 0.6, 0.7], 20)
    assert found.verdict == NOT_ENOUGH
    assert math.isnan(found.mean)


def test_a_falling_curve_promises_no_gain() -> None:
    assert next_gain(BUDGETS, [0.7, 0.6, 0.5, 0.45, 0.44], 20).high < 0


def test_a_curve_that_still_speeds_up_says_not_enough() -> None:
    assert next_gain(BUDGETS, [0.1, 0.11, 0.15, 0.4, 0.99], 20).verdict == NOT_ENOUGH


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    numbers, inside = np.random.default_rng(1), []
    for _ in range(60):
        top, drop = numbers.uniform(0.6, 0.95), numbers.uniform(0.05, 0.4)
        rate = numbers.uniform(0.5, 6) / 80
        found = next_gain(BUDGETS, curve(top, drop, rate) + numbers.normal(0, 0.006, 5), 20)
        truth = drop * (math.exp(-rate * 80) - math.exp(-rate * 100))
        inside.append(found.low <= truth <= found.high)
    assert np.mean(inside) >= 0.85


def test_the_gain_can_be_asked_for_from_beyond_the_last_point() -> None:
    top, drop, rate = 0.9, 0.2, 0.02
    truth = drop * (math.exp(-rate * 100) - math.exp(-rate * 120))
    found = next_gain(BUDGETS, curve(top, drop, rate), 20, since=120)
    assert found.mean == pytest.approx(truth, rel=0.05)
    assert found.mean < next_gain(BUDGETS, curve(top, drop, rate), 20).mean
    assert next_gain(BUDGETS, curve(top, drop, rate), 20, since=100) == next_gain(
        BUDGETS, curve(top, drop, rate), 20
    )


def test_amounts_that_fall_are_refused() -> None:
    with pytest.raises(NNActiveError, match="must not fall"):
        next_gain([20, 40, 30, 60], [0.5, 0.6, 0.7, 0.8], 20)


def test_no_curve_rises_beyond_a_dice_of_one() -> None:
    found = next_gain(BUDGETS, [0.80, 0.85, 0.90, 0.95, 0.985], 20)
    assert 0 < found.high <= 0.016
    assert found.ceiling <= 1


def test_the_unit_of_the_budget_does_not_matter() -> None:
    dice = [0.5, 0.62, 0.68, 0.71, 0.735]
    boxes, hundreds = next_gain(BUDGETS, dice, 20), next_gain(BUDGETS * 100, dice, 2000)
    assert (boxes.mean, boxes.low, boxes.high) == pytest.approx((hundreds.mean, hundreds.low, hundreds.high))


@pytest.mark.parametrize(("dice", "step"), [([0.5] * 4, 20), ([0.5] * 4 + [math.nan], 20), ([0.5] * 5, 0)])
def test_gain_refuses_what_is_no_curve(dice: list[float], step: float) -> None:
    with pytest.raises(NNActiveError, match="next gain"):
        next_gain(BUDGETS, dice, step)
