"""How the project learns: curves, coverage, whether another round is likely to pay, and where it is weak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from NNActiveLogic.client.statistics import CycleStatistics, Outlook, Statistics
from NNActiveLogic.client.values import Case
from NNActiveLogic.presenter import words


@dataclass(frozen=True, slots=True)
class Curve:
    """The learning curve of a class: one entry of each for every training that judged it.

    Attributes:
        name: of the class.
        patches: answered patches so far.
        minutes: active time so far.
        dice: cross-validated, from 0 to 1.
        spread: standard deviation between the folds; None where there is none.
    """

    name: str
    patches: tuple[int, ...]
    minutes: tuple[float, ...]
    dice: tuple[float, ...]
    spread: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Answered patches that hold a class, also as a share of all."""

    name: str
    patches: int
    share: float


@dataclass(frozen=True, slots=True)
class WeakCase:
    """A case and how good its prediction is thought to be; None before it was predicted."""

    case: str
    name: str
    quality: float | None
    annotated: int


@dataclass(frozen=True, slots=True)
class ProgressView:
    """What is shown; cases with the lowest predicted quality first. `advice`: whether to go on."""

    curves: tuple[Curve, ...]
    coverage: tuple[Coverage, ...]
    advice: str
    cases: tuple[WeakCase, ...]


def progress(statistics: Statistics, cases: Sequence[Case], classes: Sequence[str]) -> ProgressView:
    """All of it."""
    return ProgressView(
        tuple(curve(statistics.cycles, name) for name in classes),
        coverage(statistics, classes),
        outlook(statistics.outlook) or advice(statistics.cycles),
        weakest_first(cases),
    )


def curve(cycles: Sequence[CycleStatistics], name: str) -> Curve:
    """The learning curve of a class."""
    points = [
        (cycle, dice) for cycle in cycles if (dice := (cycle.dice_per_class or {}).get(name)) is not None
    ]
    return Curve(
        name,
        tuple(cycle.patches for cycle, _ in points),
        tuple(cycle.minutes for cycle, _ in points),
        tuple(dice for _, dice in points),
        tuple((cycle.fold_spread or {}).get(name) for cycle, _ in points),
    )


def coverage(statistics: Statistics, classes: Sequence[str]) -> tuple[Coverage, ...]:
    """How many answered patches hold each class."""
    total = statistics.cost.get("patches") or 0
    found = [(name, statistics.balance.get(name, 0)) for name in classes]
    return tuple(Coverage(name, patches, patches / total if total else 0.0) for name, patches in found)


def weakest_first(cases: Sequence[Case]) -> tuple[WeakCase, ...]:
    """Cases by predicted quality; those without one last, by name."""
    found = [WeakCase(one.id, one.name, one.predicted_quality, one.annotated_patches) for one in cases]
    return tuple(sorted(found, key=lambda one: (one.quality is None, one.quality or 0.0, one.name)))


def outlook(told: Outlook | None) -> str:
    """What the server expects of another round, in a sentence; empty when it cannot tell yet.

    Its curve needs some trainings more than `advice` does.
    """
    if told is None or told.gain is None:
        return ""
    gain, low, high = (_tenths(value) for value in (told.gain.mean, told.gain.low, told.gain.high))
    if told.worth is None:
        return words.say(words.OUTLOOK_OPEN, low=low, high=high)
    if told.worth:
        return words.say(words.OUTLOOK_GO_ON, gain=gain, low=low, high=high)
    if told.gain.high < 0.0005:  # shown as 0.0
        return words.say(words.OUTLOOK_NONE)
    return words.say(words.OUTLOOK_STOP, high=high)


def advice(cycles: Sequence[CycleStatistics]) -> str:
    """Whether another round is likely to pay, in a sentence.

    The mean gain of the last two rounds is held against the spread between the folds of the last: a gain
    that chance alone makes says nothing. One round that gained more than that is enough to go on, one that
    did not is too little to stop.
    """
    judged = [(_mean(cycle), _spread(cycle)) for cycle in cycles]
    known = [(mean, spread) for mean, spread in judged if mean is not None]
    if len(known) < 2 or known[-1][1] is None:
        return words.say(words.NOT_ENOUGH)
    spread = known[-1][1]
    gains = [after[0] - before[0] for before, after in pairwise(known[-3:])]
    last, mean = gains[-1], fmean(gains)
    if last > spread:
        return words.say(words.LIKELY, gain=_points(last), spread=_points(spread))
    if len(gains) < 2:
        return words.say(words.NOT_ENOUGH)
    template = words.PERHAPS if mean > spread / 2 else words.UNLIKELY
    return words.say(template, gain=_points(mean), spread=_points(spread))


def _mean(cycle: CycleStatistics) -> float | None:
    found = [dice for dice in (cycle.dice_per_class or {}).values() if dice is not None]
    return fmean(found) if found else None


def _spread(cycle: CycleStatistics) -> float | None:
    found = [spread for spread in (cycle.fold_spread or {}).values() if spread is not None]
    return fmean(found) if found else None


def _tenths(dice: float) -> str:
    return f"{100 * dice:z.1f}"


def _points(dice: float) -> str:
    return words.count(round(100 * dice), words.POINT, words.POINTS)
