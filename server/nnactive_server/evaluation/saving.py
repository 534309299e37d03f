"""Does active learning pay: annotation saved against a baseline, and what one more cycle will bring.

Cost of a project with active learning (thesis, equation 4.1): `C_AL = C_baseline - r c_annotation +
c_overhead`; `saved_share` estimates r from simulations, `next_gain` says when to stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from nnactive_server.core.economy import GO_ON, NOT_ENOUGH, NOTHING, STOP, WORTH, Estimate, Gain
from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.rng import generator
from nnactive_server.evaluation.budgets import needed

LEVEL = 0.95
MIN_CYCLES = 4
"""A curve of three parameters needs more points than it has parameters."""
DRAWS, GRID = 200, 160
RATES = (0.05, 20.0)
"""Slowest and fastest rate, in 1 / (annotation so far): nearly straight, and done after the first cycle."""
NOISE_FLOOR = 5e-8
"""Added to the squares: a Dice is never known better than to 0.0001."""


def mean_interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> Estimate:
    """Mean with Student's interval, `mean ± t(n - 1) s / sqrt(n)`; infinite values and NaN are left out."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    n = known.size
    if n == 0:
        return NOTHING
    mean = float(known.mean())
    if n == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * known.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def pooled_mean(means: Sequence[float], spreads: Sequence[float], seeds: Sequence[int]) -> Estimate:
    """Mean over settings with a normal 95 % interval, `1.96 sqrt(sum(s_i^2 / n_i)) / k`.

    So are the benchmark means of the thesis made (table 8.1): settings are fixed, seeds vary.

    Args:
        means: one per setting.
        spreads: standard deviation (n - 1) over the seeds of each.
        seeds: their number.
    """
    m, s, n = (np.asarray(v, dtype=float) for v in (means, spreads, seeds))
    if m.size == 0:
        return NOTHING
    half = 1.96 * math.sqrt(float((s**2 / n).sum())) / m.size
    return Estimate(float(m.mean()), float(m.mean()) - half, float(m.mean()) + half, m.size)


def saved_share(
    amounts: np.ndarray, dice: np.ndarray, base_amounts: np.ndarray, base_dice: np.ndarray
) -> np.ndarray:
    """Share of the baseline's annotation that a strategy saves, seed by seed.

    Both curves are read where they reach the best Dice that both of them reach: `1 - needed /
    needed_baseline`.

    Args:
        amounts: annotation of the strategy (seeds, cycles), in patches, voxels or minutes.
        dice: its Mean Dice.
        base_amounts: annotation of the baseline, same seeds.
        base_dice: its Mean Dice.

    Returns:
        (seeds,) shares; negative where the strategy needs more.
    """
    if not (
        amounts.shape == dice.shape and base_amounts.shape == base_dice.shape and len(dice) == len(base_dice)
    ):
        raise NNActiveError("saving: give amounts and Dice of the same seeds for strategy and baseline")
    shares = []
    for x, y, base_x, base_y in zip(amounts, dice, base_amounts, base_dice, strict=True):
        target = min(y.max(), base_y.max())
        shares.append(1 - needed(x, y, target) / needed(base_x, base_y, target))
    return np.array(shares)


def next_gain(
    amounts: Sequence[float] | np.ndarray,
    dice: Sequence[float] | np.ndarray,
    step: float,
    *,
    since: float | None = None,
    worth: float = WORTH,
    level: float = LEVEL,
) -> Gain:
    """Dice that `step` more annotation will bring, from a saturating curve through the cycles so far.

    The curve is `A - B exp(-k (n - n_0))`, 0 <= A <= 1. Few points do not determine it, so the gain is
    averaged over all curves by how well they fit: flat prior in A and B, log-flat in k and in the noise.
    Given k, A and B then follow Student's t around least squares, and k has the weight `|X'X|^(-1/2) RSS^(-(N
    - 2) / 2)` (Gelman et al., Bayesian Data Analysis, ch. 14). The interval holds `level` of the weight.

    Args:
        amounts: patches annotated, one per cycle, not falling.
        dice: Mean Dice after each cycle.
        step: patches of one more cycle.
        since: patches annotated before that cycle; those of the last point when not given.
        worth: gain that makes a cycle worth its work.
        level: of the interval.

    Returns:
        Expected gain and a verdict: "stop" when the whole interval lies below `worth`, "go on" when it lies
        above, otherwise, and with fewer than `MIN_CYCLES` cycles, "not enough data to say".

    Raises:
        NNActiveError: lengths differ, values that are not finite, amounts that fall, or a step that is not
            positive.
    """
    x, y = np.asarray(amounts, dtype=float), np.asarray(dice, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or not (np.isfinite(x).all() and np.isfinite(y).all()) or step <= 0:
        raise NNActiveError(
            "next gain: give finite amounts and Dice, one of each per cycle, and a step above 0"
        )
    if (np.diff(x) < 0).any():
        raise NNActiveError("next gain: amounts must not fall from cycle to cycle")
    if x.size < MIN_CYCLES or np.ptp(x) == 0:
        return Gain(math.nan, math.nan, math.nan, math.nan, NOT_ENOUGH)
    gains, ceilings, weights = _curves(x, y, x[-1] if since is None else since, step)
    if not weights.any():  # only curves beyond a Dice of 1 would fit, as while the rise still grows
        return Gain(math.nan, math.nan, math.nan, math.nan, NOT_ENOUGH)
    weights = weights / weights.sum()
    order = np.argsort(gains, kind="stable")
    reached = np.cumsum(weights[order])
    ends = np.searchsorted(reached, ((1 - level) / 2, (1 + level) / 2))
    low, high = (float(gains[order][min(end, order.size - 1)]) for end in ends)
    verdict = STOP if high < worth else GO_ON if low > worth else NOT_ENOUGH
    return Gain(float(gains @ weights), low, high, float(ceilings @ weights), verdict)


def _curves(
    x: np.ndarray, y: np.ndarray, since: float, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gain, ceiling and weight of curves drawn from all that may fit; the same draws for every rate."""
    span, freedom = x[-1] - x[0], x.size - 2
    numbers = generator(0, "next gain", x.size)
    draws = numbers.standard_normal((2, DRAWS)) / np.sqrt(numbers.chisquare(freedom, DRAWS) / freedom)
    rates = np.geomspace(*RATES, GRID) / span
    fits = [_given_rate(x - x[0], y, rate, draws) for rate in rates]
    best = max(log_weight for _, _, log_weight in fits)
    rises = np.exp(-rates * (since - x[0])) - np.exp(-rates * (since - x[0] + step))
    gains = np.array([drop * rise for (_, drop, _), rise in zip(fits, rises, strict=True)])
    tops = np.array([top for top, _, _ in fits])
    weights = np.array([np.full(DRAWS, math.exp(log_weight - best)) for _, _, log_weight in fits])
    weights[(tops > 1) | (tops < 0)] = 0.0
    return gains.ravel(), tops.ravel(), weights.ravel()


def _given_rate(
    x: np.ndarray, y: np.ndarray, rate: float, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Draws of A and B for a rate k, and the logarithm of k's weight."""
    design = np.column_stack([np.ones_like(x), -np.exp(-rate * x)])
    square = design.T @ design
    middle = np.linalg.solve(square, design.T @ y)
    rest = float(((design @ middle - y) ** 2).sum()) + NOISE_FLOOR
    freedom = x.size - 2
    spread = np.linalg.cholesky(np.linalg.inv(square)) * math.sqrt(rest / freedom)
    tops, drops = middle[:, None] + spread @ draws
    return tops, drops, -0.5 * math.log(np.linalg.det(square)) - freedom / 2 * math.log(rest)
