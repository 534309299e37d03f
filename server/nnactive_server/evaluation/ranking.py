"""Mean ranks of methods, whether they differ, and whether two rankings agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nnactive_server.core.errors import NNActiveError

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class RankTest:
    """Mean ranks and what the Friedman and Nemenyi tests say of them.

    Attributes:
        methods: n names, best mean rank first.
        mean_ranks: (n,) 1 is best.
        errors: (n,) standard error of the mean rank over blocks; NaN with a single block.
        blocks: number of blocks.
        friedman_p: probability of such ranks if all methods were alike; NaN where it cannot be tested.
        p_values: (n, n) Nemenyi's p of each pair, 1 on the diagonal; NaN where it cannot be tested.
        groups: sets of neighbours in the ranking that do not differ significantly, two or more methods each.
    """

    methods: tuple[str, ...]
    mean_ranks: np.ndarray
    errors: np.ndarray
    blocks: int
    friedman_p: float
    p_values: np.ndarray
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kendall's tau-b of two rankings and its two-sided p-value; NaN where not defined."""

    tau: float
    p_value: float


def block_ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of each method in each block: 1 for the highest score, ties share their mean rank.

    Args:
        scores: (blocks, methods), higher is better.

    Raises:
        NNActiveError: not a finite table of at least one block and method.
    """
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise NNActiveError("ranking: give a finite score for every method in every block")
    ranks: np.ndarray = stats.rankdata(-table, axis=1)
    return ranks


def rank_test(scores: np.ndarray, methods: Sequence[str], alpha: float = ALPHA) -> RankTest:
    """Mean ranks, Friedman test and Nemenyi's post hoc test (Demšar 2006).

    Two methods differ when `|R_i - R_j| / sqrt(k (k + 1) / (6 N))`, times sqrt 2, is beyond the studentised
    range of k methods; k methods, N blocks. Both tests need two blocks and three methods; Nemenyi groups are
    given whatever Friedman's test says, as in the thesis (appendix D.4), so read them together.

    Args:
        scores: (blocks, methods), higher is better.
        methods: names of the columns.
        alpha: level of significance of the groups.

    Raises:
        NNActiveError: the table is not finite or does not fit the names.
    """
    ranks = block_ranks(scores)
    if ranks.shape[1] != len(methods):
        raise NNActiveError(f"ranking: {ranks.shape[1]} columns for {len(methods)} methods")
    means = ranks.mean(axis=0)
    order = np.lexsort((np.arange(len(methods)), means))
    blocks = ranks.shape[0]
    spread = ranks.std(axis=0, ddof=1) / math.sqrt(blocks) if blocks > 1 else np.full(len(methods), math.nan)
    testable = blocks >= 2 and len(methods) >= 3 and bool(np.ptp(ranks, axis=1).any())
    friedman = float(stats.friedmanchisquare(*ranks.T).pvalue) if testable else math.nan
    p = _nemenyi(ranks) if testable else np.full((len(methods),) * 2, math.nan)
    names = tuple(methods[i] for i in order)
    p = p[np.ix_(order, order)]
    groups = _groups(names, p, alpha) if testable else ()
    return RankTest(names, means[order], spread[order], blocks, friedman, p, groups)


def agreement(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> Agreement:
    """Kendall's tau-b between two rankings of the same methods, or of scores against a setting's number.

    Pairs with a NaN are left out; with fewer than two, or all tied, there is no tau.

    Raises:
        NNActiveError: the lengths differ.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:
        raise NNActiveError(f"Kendall's tau: {a.size} and {b.size} values; give those of the same methods")
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Agreement(math.nan, math.nan)
    found = stats.kendalltau(a, b)
    return Agreement(float(found.statistic), float(found.pvalue))


def _nemenyi(ranks: np.ndarray) -> np.ndarray:
    # Takes a second to import, with all of statsmodels.
    from scikit_posthocs import posthoc_nemenyi_friedman

    table: np.ndarray = posthoc_nemenyi_friedman(ranks).to_numpy(dtype=float)
    return table


def _groups(names: tuple[str, ...], p: np.ndarray, alpha: float) -> tuple[tuple[str, ...], ...]:
    """Longest runs of neighbours whose ends do not differ; p falls with the distance of two ranks."""
    ends = [max(j for j in range(i, len(names)) if j == i or p[i, j] >= alpha) for i in range(len(names))]
    found, reached = [], -1
    for start, end in enumerate(ends):
        if end > start and end > reached:
            found.append(names[start : end + 1])
            reached = end
    return tuple(found)
