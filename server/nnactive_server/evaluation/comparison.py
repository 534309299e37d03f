"""Which method beats which: paired tests over seeds, gathered in the pairwise penalty matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from nnactive_server.core.errors import NNActiveError

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class PenaltyMatrix:
    """How often methods beat each other.

    Attributes:
        methods: n names.
        wins: (n, n), percent: row i beats column j in so much of the settings; NaN where no setting holds
            both.
        settings: number of settings compared.
        tests: number of tests that could be made, that is with two seeds or more of both methods.
        holm: whether p-values were corrected.
    """

    methods: tuple[str, ...]
    wins: np.ndarray
    settings: int
    tests: int
    holm: bool

    @property
    def mean_loss(self) -> np.ndarray:
        """(n,) percent: how often a method is beaten, over all others (the matrix's mean row)."""
        return _nan_means(self.wins.T)

    @property
    def mean_win(self) -> np.ndarray:
        """(n,) percent: how often a method beats another."""
        return _nan_means(self.wins)


def paired_test(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value of Student's paired t-test over seeds.

    `t = mean(d) / (s(d) / sqrt(n))` of the differences d, with n - 1 degrees of freedom. Pairs with a NaN are
    left out. Differences that are all zero give 1, all the same but not zero 0.

    Args:
        first: one value per seed.
        second: of the same seeds.

    Returns:
        The p-value; NaN with fewer than two pairs.
    """
    difference = first - second
    difference = difference[np.isfinite(difference)]
    if difference.size < 2:
        return math.nan
    mean, spread = float(difference.mean()), float(difference.std(ddof=1))
    if spread <= 1e-12 * max(1.0, abs(mean)):  # rounding alone
        return 1.0 if abs(mean) <= 1e-12 else 0.0
    t = mean / (spread / math.sqrt(difference.size))
    return float(2 * stats.t.sf(abs(t), difference.size - 1))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down correction (Holm 1979).

    The k-th smallest of m is multiplied by (m - k + 1); then made monotone, and at most 1. NaN stay NaN and
    do not count.
    """
    p = np.asarray(p_values, dtype=float)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    corrected = p.copy()
    factors = np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


def penalty_matrix(
    settings: Sequence[Mapping[str, np.ndarray]],
    methods: Sequence[str],
    *,
    alpha: float = ALPHA,
    correct: bool = False,
) -> PenaltyMatrix:
    """Pairwise penalty matrix (Ash et al. 2020; NNActive paper, appendix D.3).

    In each setting and at each budget a paired two-sided t-test over seeds compares two methods. Method i
    beats j when its mean is higher and p < alpha. A budget weighs 1 / (number of budgets), every setting the
    same. With `correct`, Holm's correction is applied to all pairs of a setting and budget together.

    Args:
        settings: one mapping for each: method to Mean Dice (seeds, budgets); the rows of all methods of
            a setting belong to the same seeds, NaN where a seed is missing.
        methods: their order in the matrix; a setting need not hold all of them.
        alpha: level of significance.
        correct: use Holm's correction.

    Raises:
        NNActiveError: arrays of a setting differ in shape.
    """
    n = len(methods)
    shares, met, tests = np.zeros((n, n)), np.zeros((n, n), dtype=int), 0
    for curves in settings:
        here = [i for i, method in enumerate(methods) if method in curves]
        _check({methods[i]: curves[methods[i]] for i in here})
        for i, j in combinations(here, 2):
            met[i, j] += 1
            met[j, i] += 1
        won, made = _setting(curves, methods, here, alpha, correct)
        shares, tests = shares + won, tests + made
    wins = np.full((n, n), math.nan)
    np.divide(100 * shares, met, out=wins, where=met > 0)
    return PenaltyMatrix(tuple(methods), wins, len(settings), tests, correct)


def _setting(
    curves: Mapping[str, np.ndarray], methods: Sequence[str], here: Sequence[int], alpha: float, correct: bool
) -> tuple[np.ndarray, int]:
    """Share of the budgets won, (n, n), and the number of tests made."""
    won, made = np.zeros((len(methods), len(methods))), 0
    pairs = list(combinations(here, 2))
    budgets = curves[methods[here[0]]].shape[1] if here else 0
    for budget in range(budgets):
        columns = {i: curves[methods[i]][:, budget] for i in here}
        p = np.array([paired_test(columns[i], columns[j]) for i, j in pairs])
        made += int(np.isfinite(p).sum())
        p = holm(p) if correct else p
        for (i, j), value in zip(pairs, p, strict=True):
            if value < alpha:  # False for NaN
                ahead = float(np.nanmean(columns[i] - columns[j])) > 0
                won[(i, j) if ahead else (j, i)] += 1 / budgets
    return won, made


def _check(curves: Mapping[str, np.ndarray]) -> None:
    shapes = {method: values.shape for method, values in curves.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise NNActiveError(f"PPM: curves of one setting need one shape (seeds, budgets), not {shapes}")


def _nan_means(table: np.ndarray) -> np.ndarray:
    return np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else math.nan for row in table])
