import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation.budgets import needed


def test_the_first_crossing_is_read_between_cycles() -> None:
    assert needed([10, 20, 30], [0.5, 0.7, 0.9], 0.6) == pytest.approx(15)
    assert needed([10, 20, 30], [0.5, 0.7, 0.9], 0.7) == pytest.approx(20)
    assert needed([10, 20, 30, 40], [0.5, 0.8, 0.4, 0.9], 0.8) == pytest.approx(20)  # not the later one


def test_ends_of_the_curve() -> None:
    assert needed([10, 20], [0.5, 0.7], 0.4) == 10
    assert needed([10, 20], [0.5, 0.7], 0.71) == math.inf


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_target_never_needs_less(dice: list[float], a: float, b: float) -> None:
    amounts = np.arange(len(dice)) * 10
    low, high = (needed(amounts, dice, target) for target in sorted((a, b)))
    assert low <= high


@pytest.mark.parametrize(
    ("amounts", "dice"), [([1, 2], [0.1]), ([], []), ([1, math.nan], [0.1, 0.2]), ([2, 1], [0.1, 0.2])]
)
def test_what_is_no_curve_is_refused(amounts: list[float], dice: list[float]) -> None:
    with pytest.raises(NNActiveError, match="target budget"):
        needed(amounts, dice, 0.5)
