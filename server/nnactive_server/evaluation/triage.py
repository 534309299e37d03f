"""Which cases will fail: how well a ranking of cases by confidence finds the badly segmented ones.

Cases are accepted in the order of confidence, the surest first; coverage is the share accepted, and the risk
of a case is 1 - Dice. At coverage k/n, with r_1..r_n the risks in that order,

    selective risk       (r_1 + ... + r_k) / k     of an accepted case
    generalised risk     (r_1 + ... + r_k) / n     accepted and wrong: selective risk x coverage

    AURC     mean of the selective risk over the coverages 1/n .. 1 (Geifman & El-Yaniv 2017)
    AUGRC    area under the generalised risk over coverage, from (0, 0), trapezoids (Traub et al. 2024); for
             risks of 0 and 1 it is (1 - AUROC) acc (1 - acc) + (1 - acc)^2 / 2, between 0 and 0.5

For both less is better. Cases of equal confidence have no order: the values are the means over all orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from nnactive_server.core.errors import NNActiveError

FEWEST = 3
"""Cases; a ranking of fewer says nothing."""


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Risk against the share of cases that are accepted, the surest first.

    Attributes:
        coverage: k/n for k = 1..n, shape (n,).
        selective: mean risk of the accepted cases, shape (n,).
        generalised: selective risk x coverage, shape (n,).
    """

    coverage: np.ndarray
    selective: np.ndarray
    generalised: np.ndarray

    @property
    def aurc(self) -> float:
        """Area under the selective risk."""
        return float(self.selective.mean())

    @property
    def augrc(self) -> float:
        """Area under the generalised risk."""
        curve = np.concatenate([[0.0], self.generalised])
        return float((curve[1:] + curve[:-1]).mean() / 2)


def risk_coverage(confidence: Sequence[float], risk: Sequence[float]) -> RiskCoverage:
    """The curves of cases with these confidences and risks.

    Args:
        confidence: of each case, higher is surer; any scale.
        risk: of each case, such as 1 - Dice.

    Raises:
        NNActiveError: none, different numbers, or values that are not finite.
    """
    sure, wrong = _pair(confidence, risk, "risk")
    _, group, counts = np.unique(-sure, return_inverse=True, return_counts=True)
    # Within a group of equal confidence every order is as good: each case stands for the group's mean.
    means = np.bincount(group, weights=wrong) / counts
    sums = np.cumsum(np.repeat(means, counts))
    accepted = np.arange(1, len(sure) + 1)
    return RiskCoverage(accepted / len(sure), sums / accepted, sums / len(sure))


def aurc(confidence: Sequence[float], risk: Sequence[float]) -> float:
    """Area under the risk-coverage curve, see the module; arguments as `risk_coverage`."""
    return risk_coverage(confidence, risk).aurc


def augrc(confidence: Sequence[float], risk: Sequence[float]) -> float:
    """Area under the generalised risk-coverage curve, see the module; arguments as `risk_coverage`."""
    return risk_coverage(confidence, risk).augrc


def rank_correlation(confidence: Sequence[float], quality: Sequence[float]) -> float:
    """Spearman's rank correlation of confidence and true quality; NaN when either is the same for all.

    Raises:
        NNActiveError: as `risk_coverage`.
    """
    sure, good = _pair(confidence, quality, "quality")
    if np.ptp(sure) == 0 or np.ptp(good) == 0:
        return math.nan
    return float(spearmanr(sure, good).statistic)


def triage_measures(confidence: Sequence[float], dice: Sequence[float]) -> dict[str, float | None]:
    """All measures of one ranking, over the cases whose confidence and Dice are both known.

    Args:
        confidence: of each case, NaN where unknown.
        dice: of each case, NaN where not defined.

    Returns:
        `aurc`, `augrc` with risk 1 - Dice, `spearman`, and `cases`, their number; empty when fewer than
        `FEWEST` are known. `spearman` is None where it is not defined.

    Raises:
        NNActiveError: different numbers of values.
    """
    sure, good = np.asarray(confidence, float), np.asarray(dice, float)
    if sure.shape != good.shape:
        raise NNActiveError(f"triage: {sure.size} confidences for {good.size} cases; give one for each")
    known = np.isfinite(sure) & np.isfinite(good)
    if np.count_nonzero(known) < FEWEST:
        return {}
    curve = risk_coverage(sure[known], 1 - good[known])
    rank = rank_correlation(sure[known], good[known])
    return {
        "aurc": curve.aurc,
        "augrc": curve.augrc,
        "spearman": None if math.isnan(rank) else rank,
        "cases": float(np.count_nonzero(known)),
    }


def _pair(first: Sequence[float], second: Sequence[float], name: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise NNActiveError(
            f"triage: {a.size} confidences and {b.size} values of {name}; give one for each case"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise NNActiveError(f"triage: confidence and {name} must be finite; leave such cases out")
    return a, b
