"""How surely the foreground efficiency (FG-Eff) is known: intervals, and when it cannot be told at all."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from scipy import stats
from scipy.optimize import OptimizeWarning, brentq

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.rng import generator
from nnactive_server.evaluation.curves import Convention, FgEfficiency, fg_efficiency, fg_start

LEVEL = 0.95
EXACT_SEEDS = 6
"""Up to so many seeds every bootstrap sample is visited; 7 seeds have 1716 of them."""
DRAWS = 1000
STEEP = 50.0
"""Steepest rate tried, in 1 / (largest share - start): the curve then rises within 2 % of the range."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """FG-Eff of one method in one setting.

    Attributes:
        gamma: the rate; NaN when there is no fit.
        spread: the fit's own: standard error, with the convention "reference" the variance.
        low: lower end of the bootstrap interval over seeds; NaN with a single seed.
        high: upper end; infinite when the seeds do not bound it.
        fit_low: lower end of the profile-likelihood interval of the one fit to all seeds.
        fit_high: upper end, likewise; infinite when any steeper curve fits as well.
        problem: why gamma must not be compared; empty when it is identifiable.
    """

    gamma: float
    spread: float
    low: float
    high: float
    fit_low: float
    fit_high: float
    problem: str

    @property
    def identifiable(self) -> bool:
        """Whether the data determine gamma."""
        return not self.problem


def efficiency(
    x: np.ndarray,
    y: np.ndarray,
    y_full: float,
    convention: Convention = "ours",
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> Efficiency:
    """FG-Eff (see `fg_efficiency`) with a bootstrap interval over seeds, and whether it is identifiable.

    The interval takes the quantiles of gamma over samples of whole seeds with replacement (Efron and
    Tibshirani 1993, ch. 13); a sample without a fit counts as boundless. Gamma is not identifiable when the
    start is already as good as all labels (the paper's assumption y < y_full fails), when the annotated share
    hardly grows, when there is no fit, or when the profile-likelihood interval, `{g: RSS(g) <= RSS(gamma) (1
    + F(1, n - 1) / (n - 1))}` (Bates and Watts 1988, ch. 6), or the bootstrap interval is open upwards.

    Args:
        x: annotated share of all foreground voxels (seeds, cycles).
        y: Mean Dice, same shape.
        y_full: Mean Dice of the same trainer on all labels.
        convention: see `fg_efficiency`.
        level: of both intervals.
        seed: of the bootstrap, where the samples are too many to visit all.

    Raises:
        NNActiveError: shapes differ, fewer than two cycles, or values that are not finite.
    """
    share, dice = np.atleast_2d(np.asarray(x, dtype=float)), np.atleast_2d(np.asarray(y, dtype=float))
    x0, y0 = fg_start(share, dice, y_full, convention)
    if y0 >= y_full:
        return no_efficiency("the start is already as good as all labels")
    if share.max() - x0 <= 1e-9:
        return no_efficiency("the annotated share of the foreground does not grow")
    fit = _fit(share, dice, y_full, convention)
    if fit is None:
        return no_efficiency("the curve cannot be fitted")
    fit_low, fit_high = _profile(share, dice, y_full, convention, fit.gamma, level)
    low, high = _bootstrap(share, dice, y_full, convention, level, seed)
    bounded = math.isfinite(fit_high) and high != math.inf
    problem = "" if bounded else "any steeper curve fits as well"
    return Efficiency(fit.gamma, fit.spread, low, high, fit_low, fit_high, problem)


def no_efficiency(problem: str) -> Efficiency:
    """No rate, and why."""
    return Efficiency(*(math.nan,) * 6, problem=problem)


def _fit(share: np.ndarray, dice: np.ndarray, y_full: float, convention: Convention) -> FgEfficiency | None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", OptimizeWarning)
        try:
            return fg_efficiency(share, dice, y_full, convention)
        except (RuntimeError, OptimizeWarning, NNActiveError):  # how scipy says that it found no optimum
            return None


def _profile(
    share: np.ndarray, dice: np.ndarray, y_full: float, convention: Convention, gamma: float, level: float
) -> tuple[float, float]:
    """Ends of the set of rates around `gamma` that fit nearly as well; infinite where it has no end."""
    x0, y0 = fg_start(share, dice, y_full, convention)
    x, y, n = share.ravel(), dice.ravel(), share.size

    def excess(rate: float) -> float:
        decay = np.exp(np.clip(-rate * (x - x0), -300, 300))
        return float(((y_full - (y_full - y0) * decay - y) ** 2).sum()) - allowed

    allowed = 0.0
    allowed = excess(gamma) * (1 + stats.f.ppf(level, 1, n - 1) / (n - 1)) + 1e-12
    reach = STEEP / float(share.max() - x0)
    return _end(excess, gamma, -reach), _end(excess, gamma, reach)


def _end(excess: Callable[[float], float], start: float, reach: float) -> float:
    """Where `excess` first rises above 0 between `start` and `start + reach`; infinite when it does not."""
    inside = start
    for share in np.geomspace(1e-6, 1, 120):
        outside = start + reach * float(share)
        if excess(outside) > 0:
            return float(brentq(excess, inside, outside)) if excess(inside) < 0 else inside
        inside = outside
    return math.copysign(math.inf, reach)


def _bootstrap(
    share: np.ndarray, dice: np.ndarray, y_full: float, convention: Convention, level: float, seed: int
) -> tuple[float, float]:
    """Quantiles of gamma over samples of seeds."""
    if share.shape[0] < 2:
        return math.nan, math.nan
    rates, weights = [], []
    for rows, weight in _samples(share.shape[0], seed):
        fit = _fit(share[rows], dice[rows], y_full, convention)
        rates.append(math.inf if fit is None else fit.gamma)
        weights.append(weight)
    tail = (1 - level) / 2
    return _quantile(rates, weights, tail), _quantile(rates, weights, 1 - tail)


def _samples(n: int, seed: int) -> Iterator[tuple[list[int], float]]:
    """Samples of n seeds with replacement and how likely each is: all of them, or a draw."""
    if n <= EXACT_SEEDS:
        for rows in combinations_with_replacement(range(n), n):
            orders = math.factorial(n) / math.prod(math.factorial(rows.count(i)) for i in set(rows))
            yield list(rows), orders / n**n
        return
    numbers = generator(seed, "FG-Eff bootstrap", n)
    for _ in range(DRAWS):
        yield sorted(numbers.integers(0, n, n).tolist()), 1 / DRAWS


def _quantile(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """Smallest value with at least this share of the weight at or below it."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(np.asarray(weights)[order])
    return float(np.asarray(values)[order][min(int(np.searchsorted(reached, share - 1e-12)), len(order) - 1)])
