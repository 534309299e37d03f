import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.economy import (
    MIN_SEEDS,
    NOT_ENOUGH,
    NOTHING,
    Estimate,
    Gain,
    saved,
    saved_so_far,
    stop_sentence,
    widest,
)

ENDS = st.lists(st.floats(-3, 0.99), min_size=3, max_size=3).map(sorted)
SHARES = st.builds(lambda e, n: Estimate(e[1], e[0], e[2], n), ENDS, st.integers(2, 9))
AMOUNTS = st.floats(0.01, 1e5)


def test_the_saving_by_hand() -> None:
    # 80 patches for what takes the baseline 100; at the ends 88.9 and 133.3.
    found = saved_so_far(Estimate(0.2, 0.1, 0.4, 4), 80)
    assert (found.low, found.mean, found.high) == pytest.approx((80 / 9, 20, 160 / 3))
    assert found.count == 4
    assert saved(Estimate(0.2, 0.1, 0.4, 4), 100).mean == 20


@settings(deadline=None)
@given(SHARES, AMOUNTS)
def test_what_was_saved_is_the_share_of_what_the_baseline_would_have_needed(
    share: Estimate, done: float
) -> None:
    found = saved_so_far(share, done)
    assert found.low <= found.mean <= found.high
    assert saved(share, done + found.mean).mean == pytest.approx(found.mean, abs=1e-9)
    assert math.copysign(1, found.mean) == math.copysign(1, share.mean)
    assert found.known == share.known


@settings(deadline=None)
@given(SHARES, AMOUNTS, st.floats(0.1, 10))
def test_the_unit_of_the_work_does_not_matter(share: Estimate, done: float, factor: float) -> None:
    direct, after = saved_so_far(share, factor * done), saved_so_far(share, done).scaled(factor)
    assert (direct.low, direct.mean, direct.high) == pytest.approx((after.low, after.mean, after.high))


@pytest.mark.parametrize("share", [NOTHING, Estimate(0.5, 0.1, 1.0, 3), Estimate(0.5, math.nan, math.nan, 1)])
def test_an_interval_that_reaches_all_work_tells_nothing(share: Estimate) -> None:
    assert saved_so_far(share, 10) is NOTHING


@settings(deadline=None)
@given(st.lists(SHARES, max_size=5))
def test_the_widest_interval_holds_those_of_all_that_have_enough_seeds(shares: list[Estimate]) -> None:
    found, enough = widest(shares), [one for one in shares if one.count >= MIN_SEEDS]
    assert (found is NOTHING) == (not enough)
    for one in enough:
        assert found.low <= one.low
        assert one.high <= found.high
        assert found.count <= one.count
    if enough:
        assert found.low - 1e-12 <= found.mean <= found.high + 1e-12


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("stop", "stopping is reasonable"), ("go on", "worth it"), (NOT_ENOUGH, NOT_ENOUGH)],
)
def test_a_verdict_is_told_with_its_numbers(verdict: str, words: str) -> None:
    said = stop_sentence(Gain(0.012, 0.004, 0.02, 0.9, verdict))
    assert words in said
    assert "+1.20 points (95 % interval +0.40 to +2.00)" in said


def test_no_gain_is_no_number() -> None:
    said = stop_sentence(Gain(math.nan, math.nan, math.nan, math.nan, NOT_ENOUGH))
    assert NOT_ENOUGH in said
    assert "nan" not in said


def test_it_needs_neither_numpy_nor_scipy() -> None:
    code = "import sys, nnactive_server.core.economy; print({'numpy', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
