"""How much annotation a learning curve needs to reach a given Dice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnactive_server.core.errors import NNActiveError

TARGETS = (0.95, 0.99)
"""Shares of the full-data Dice that the papers' readers ask for."""


def needed(amounts: Sequence[float] | np.ndarray, dice: Sequence[float] | np.ndarray, target: float) -> float:
    """Amount of annotation at which a learning curve first reaches `target`, linear between cycles.

    Args:
        amounts: patches (or voxels, or minutes) annotated, one per cycle, not falling.
        dice: Mean Dice after each cycle, the same length.
        target: Dice to reach.

    Returns:
        The amount; infinite when the curve ends below the target.

    Raises:
        NNActiveError: lengths differ, no cycle, values that are not finite, or amounts that fall.
    """
    x, y = np.asarray(amounts, dtype=float), np.asarray(dice, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or x.size == 0:
        raise NNActiveError(
            f"target budget: {x.shape} amounts and {y.shape} Dice; give one of each per cycle"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or (np.diff(x) < 0).any():
        raise NNActiveError("target budget: amounts and Dice must be finite, and amounts must not fall")
    reached = np.flatnonzero(y >= target)
    if reached.size == 0:
        return math.inf
    i = int(reached[0])
    if i == 0:
        return float(x[0])
    part = (target - y[i - 1]) / (y[i] - y[i - 1])
    return float(x[i - 1] + part * (x[i] - x[i - 1]))
