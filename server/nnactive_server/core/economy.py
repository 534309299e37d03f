"""What active learning saves and what one more cycle brings: values, arithmetic and sentences.

    C_AL = C_baseline - r c_annotation + c_overhead            (thesis, equation 4.1)

Simulations give the share r; how they do it, and where the expected gain comes from, is in
`evaluation.saving`. Here is what the web process needs too, which loads no scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_SEEDS = 3
"""Fewer paired runs say nothing about the spread between runs."""
WORTH = 0.005
"""Gain of Mean Dice below which another cycle is not worth its work, unless the caller says otherwise."""
NOT_ENOUGH = "not enough data to say"
STOP, GO_ON = "stop", "go on"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: NaN when there is no value.
        low: lower end.
        high: upper end; both NaN with fewer than two values.
        count: values it rests on.
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def known(self) -> bool:
        """Whether the interval excludes zero and rests on `MIN_SEEDS` values or more."""
        return self.count >= MIN_SEEDS and (self.low > 0 or self.high < 0)

    def scaled(self, factor: float, shift: float = 0.0) -> Estimate:
        """In another unit: `factor * value + shift`, `factor` not negative."""
        low, mean, high = (factor * value + shift for value in (self.low, self.mean, self.high))
        return Estimate(mean, low, high, self.count)


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True, slots=True)
class Gain:
    """Rise of Mean Dice expected of one more cycle.

    Attributes:
        mean: expected value; NaN when there are too few cycles.
        low: lower end of the interval.
        high: upper end.
        ceiling: Dice the fitted curve tends to.
        verdict: "stop", "go on" or "not enough data to say".
    """

    mean: float
    low: float
    high: float
    ceiling: float
    verdict: str


def number(value: float) -> float | None:
    """A number as JSON, which knows no NaN."""
    return value if math.isfinite(value) else None


def saved(share: Estimate, baseline: float) -> Estimate:
    """What a strategy saves of the baseline's work, `r c`.

    Args:
        share: r, saved of the baseline's annotation for the same Dice.
        baseline: the baseline's work in any unit: patches, minutes, money.
    """
    return share.scaled(baseline)


def saved_so_far(share: Estimate, done: float) -> Estimate:
    """What a strategy has saved by the work done with it, `done * r / (1 - r)`.

    The baseline would have needed `done / (1 - r)` for the same Dice, of which `saved` is the share r. The
    mean is the value at the mean share.

    Args:
        share: r, saved of the baseline's annotation for the same Dice.
        done: with the strategy, in any unit.

    Returns:
        In that unit; `NOTHING` unless the whole interval lies below 1, as every saving does.
    """
    if not (share.mean < 1 and share.high < 1):
        return NOTHING
    mean, low, high = (r * done / (1 - r) for r in (share.mean, share.low, share.high))
    return Estimate(mean, low, high, share.count)


def widest(estimates: Sequence[Estimate]) -> Estimate:
    """Mean over simulations that differ in kind, with an interval that holds those of them all.

    A new data set may be like any of them, so the spread between them is not averaged away. Only those that
    rest on `MIN_SEEDS` values count; `NOTHING` when none does.
    """
    enough = [one for one in estimates if one.count >= MIN_SEEDS]
    if not enough:
        return NOTHING
    return Estimate(
        sum(one.mean for one in enough) / len(enough),
        min(one.low for one in enough),
        max(one.high for one in enough),
        min(one.count for one in enough),
    )


def stop_sentence(gain: Gain, worth: float = WORTH) -> str:
    """What one more cycle would bring, in words, or that it cannot be told."""
    if math.isnan(gain.mean):
        return f"One more cycle: {NOT_ENOUGH}; the curve has too few cycles or does not level off yet."
    ends = f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"
    expected = f"expected gain of Mean Dice {100 * gain.mean:+.2f} points (95 % interval {ends})"
    words = {
        STOP: f"stopping is reasonable, {expected}, below {100 * worth:g}.",
        GO_ON: f"worth it, {expected}.",
    }
    return f"One more cycle: {words.get(gain.verdict, f'{NOT_ENOUGH}, {expected}.')}"
