import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation import aubc, fg_efficiency


@pytest.mark.parametrize(
    ("dice", "area"),
    [((0.8,) * 5, 0.8), ((0.0, 1.0), 0.5), ((0.2, 0.6, 0.8), (0.4 + 0.7) / 2), ((0.3,), 0.3)],
)
def test_area_under_the_budget_curve(dice: tuple[float, ...], area: float) -> None:
    assert aubc(dice) == pytest.approx(area)


@pytest.mark.parametrize("dice", [(), (0.3, math.nan), ((0.1, 0.2), (0.3, 0.4))])
def test_aubc_refuses_what_is_no_curve(dice: tuple) -> None:
    with pytest.raises(NNActiveError, match="AUBC"):
        aubc(dice)


def model(x: np.ndarray, gamma: float, x0: float, y0: float, y_full: float) -> np.ndarray:
    return y_full - (y_full - y0) * np.exp(-gamma * (x - x0))


@settings(deadline=None, max_examples=40)
@given(gamma=st.floats(1, 200), y0=st.floats(0.1, 0.7))
def test_gamma_of_an_exact_curve_is_found(gamma: float, y0: float) -> None:
    x = 0.01 + np.linspace(0, 3 / gamma, 5)
    found = fg_efficiency(x, model(x, gamma, 0.01, y0, 0.9), 0.9)
    assert found.gamma == pytest.approx(gamma, rel=1e-4)


def test_curves_below_their_start_give_a_negative_rate() -> None:
    assert fg_efficiency([0.01, 0.02, 0.03], [0.5, 0.4, 0.3], 0.9).gamma < 0


def test_conventions_differ_in_start_and_spread() -> None:
    x = np.array([[0.010, 0.03, 0.05], [0.014, 0.04, 0.06]])
    y = np.array([[0.50, 0.70, 0.80], [0.60, 0.72, 0.83]])
    ours, reference = fg_efficiency(x, y, 0.9), fg_efficiency(x, y, 0.9, "reference")
    # Least squares by brute force, each from its own start.
    rates = np.linspace(1, 100, 40_000)
    for found, x0, y0 in ((ours, 0.012, 0.55), (reference, 0.010, 0.50)):
        error = [((model(x, r, x0, y0, 0.9) - y) ** 2).sum() for r in rates]
        assert found.gamma == pytest.approx(rates[int(np.argmin(error))], abs=5e-3)
    # Linearised least squares: variance = residual sum / (n - 1) / sum of squared slopes.
    slope = (0.9 - 0.5) * (x - 0.010) * np.exp(-reference.gamma * (x - 0.010))
    rest = ((model(x, reference.gamma, 0.010, 0.5, 0.9) - y) ** 2).sum()
    assert reference.spread == pytest.approx(rest / 5 / (slope**2).sum(), rel=1e-2)


@pytest.mark.parametrize(
    ("x", "y", "full"),
    [
        ([0.1], [0.5], 0.9),
        ([0.1, 0.2], [0.5, 0.6, 0.7], 0.9),
        ([0.1, 0.2], [0.5, math.nan], 0.9),
        ([0.1, 0.2], [0.9, 0.9], 0.9),
    ],
)
def test_efficiency_refuses_what_cannot_be_fitted(x: list[float], y: list[float], full: float) -> None:
    with pytest.raises(NNActiveError, match="FG-Eff"):
        fg_efficiency(x, y, full)
