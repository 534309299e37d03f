"""What a learning curve is worth in one number: AUBC and foreground efficiency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import curve_fit

from nnactive_server.core.errors import NNActiveError

Convention = Literal["ours", "reference"]


def aubc(dice_by_cycle: Sequence[float]) -> float:
    """Area under the budget curve: trapezoid over cycles, a constant 0.8 gives 0.8.

    A single cycle gives its own Dice.

    Raises:
        NNActiveError: no cycle, or a Dice that is not a number.
    """
    values = np.asarray(dice_by_cycle, dtype=float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise NNActiveError("AUBC: give one finite Mean Dice per cycle")
    if values.size == 1:
        return float(values[0])
    return float(np.trapezoid(values) / (values.size - 1))


@dataclass(frozen=True, slots=True)
class FgEfficiency:
    """Foreground efficiency of one method.

    Attributes:
        gamma: rate at which the curve approaches the full-data Dice; higher is better.
        spread: uncertainty of gamma from the fit: its standard error, with the convention
            "reference" the variance (the published tables print that one as "std").
    """

    gamma: float
    spread: float


def fg_efficiency(
    x: Sequence[float] | Sequence[Sequence[float]] | np.ndarray,
    y: Sequence[float] | Sequence[Sequence[float]] | np.ndarray,
    y_full: float,
    convention: Convention = "ours",
) -> FgEfficiency:
    """Fit gamma of `y(x) = y_full - (y_full - y0) exp(-gamma (x - x0))` by least squares.

    The curve is the one of the NNActive paper, appendix D. "ours" starts it at the
    mean over seeds of the starting budgets; "reference" at the one seed with the smallest x0.

    Args:
        x: annotated share of all foreground voxels, one row per seed (or one seed), cycles in order.
        y: Mean Dice, same shape.
        y_full: Mean Dice of the same trainer on all labels.
        convention: where the curve starts and which spread is given.

    Raises:
        NNActiveError: shapes differ, fewer than two cycles, values that are not finite, or a start
            that already equals `y_full`.
    """
    share, dice = np.atleast_2d(np.asarray(x, dtype=float)), np.atleast_2d(np.asarray(y, dtype=float))
    x0, y0 = fg_start(share, dice, y_full, convention)
    if y0 == y_full:
        raise NNActiveError("FG-Eff: the starting Dice equals y_full, so there is no rate to fit")

    def curve(points: np.ndarray, gamma: float) -> np.ndarray:
        decay: np.ndarray = np.exp(np.clip(-gamma * (points - x0), -700, 700))
        return y_full - (y_full - y0) * decay

    guess = 1.0 / max(float(np.ptp(share)), 1e-9)
    found, covariance = curve_fit(curve, share.ravel(), dice.ravel(), p0=[guess], maxfev=10_000)
    variance = float(covariance[0, 0])
    return FgEfficiency(float(found[0]), variance if convention == "reference" else float(np.sqrt(variance)))


def fg_start(
    share: np.ndarray, dice: np.ndarray, y_full: float, convention: Convention = "ours"
) -> tuple[float, float]:
    """Where the curve fitted by `fg_efficiency` starts: (x0, y0). Arrays are (seeds, cycles); same errors."""
    _check(share, dice, y_full)
    if convention == "reference":
        seed = int(np.argmin(share[:, 0]))
        return float(share[seed, 0]), float(dice[seed, 0])
    return float(share[:, 0].mean()), float(dice[:, 0].mean())


def _check(share: np.ndarray, dice: np.ndarray, y_full: float) -> None:
    if share.shape != dice.shape or share.ndim != 2 or share.shape[1] < 2:
        raise NNActiveError(
            f"FG-Eff: x {share.shape} and y {dice.shape} need one shape, (seeds, cycles), two cycles or more"
        )
    if not (np.isfinite(share).all() and np.isfinite(dice).all() and np.isfinite(y_full)):
        raise NNActiveError("FG-Eff: x, y and y_full must be finite; leave unfinished cycles out")
