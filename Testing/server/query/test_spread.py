from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.query.spread import Spread, percentile


def share_below(pool, value) -> float:
    every = np.concatenate([means.ravel() for means in pool])
    return 100 * float((every < value).mean())


@pytest.mark.parametrize("shape", [(5, 6, 7), (40, 50, 60), (90, 100, 110)])
def test_percentiles_are_close_to_the_exact_share_of_lower_means(shape):
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 3, n) for n in shape], indexing="ij"))
    pool = [
        np.sin(grid[0] + k) ** 2 + np.cos(grid[1] * grid[2]) ** 2 + 0.05 * rng.random(shape) for k in range(3)
    ]
    values = np.quantile(np.concatenate([m.ravel() for m in pool]), [0.02, 0.3, 0.5, 0.9, 0.99])
    found = percentile([Spread.of(means) for means in pool], values)
    np.testing.assert_allclose(found, [share_below(pool, v) for v in values], atol=2)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(-1, 5))
def test_runs_of_equal_means_do_not_lie_below_themselves(levels, value):
    means = np.array(levels, dtype=float).reshape(1, 1, -1)
    (found,) = percentile([Spread.of(means)], np.array([float(value)]))
    exact = share_below([means], value)
    # between two neighbouring quantiles the table only knows a straight line
    assert abs(found - exact) <= 100 / 64 + 100 / len(levels)
    if value <= min(levels):
        assert found == 0
    if value > max(levels):
        assert found == 100


def test_images_count_by_their_places_in_any_order():
    small, large = np.zeros((1, 1, 10)), np.ones((1, 3, 10))
    spreads = [Spread.of(small), Spread.of(large)]
    assert percentile(spreads, np.array([0.5, 0.0, 1.0, 2.0])).tolist() == [25, 0, 25, 100]
    many = [Spread.of(np.random.default_rng(i).random((3, 4, 5))) for i in range(30)]
    values = np.linspace(0, 1, 11)
    expected = percentile(many, values).tolist()
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(30)
        assert percentile([many[i] for i in order], values).tolist() == expected


def test_a_spread_survives_json_and_stays_small():
    spread = Spread.of(np.random.default_rng(0).random((60, 60, 60)))
    assert Spread.from_json(spread.to_json()) == spread
    assert spread.places == 60**3
    assert len(spread.quantiles) < 100
    assert list(spread.quantiles) == sorted(spread.quantiles)
