"""Does active learning pay? Minutes and money from a study's savings, in plain words.

`C_AL = C_baseline - r c_annotation + c_overhead` (thesis, equation 4.1): the simulations give r and the
overhead, the caller what a patch and an hour cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nnactive_server.core.economy import MIN_SEEDS, NOT_ENOUGH, Estimate, number, saved, stop_sentence
from nnactive_server.core.errors import NNActiveError
from nnactive_server.study import report_html as html
from nnactive_server.study.analysis.results import StudyResults
from nnactive_server.study.analysis.savings import plain
from nnactive_server.study.analysis.scores import BASELINE, NextCycle, Saving, next_cycle, saving


@dataclass(frozen=True, slots=True)
class Prices:
    """What work costs.

    Attributes:
        seconds_per_patch: a clinician's mean time for a patch of the baseline, as the server measures it.
        clinician_hour: price of an hour of a clinician's work; NaN when not told.
        machine_hour: price of an hour of computing, in the same money.
    """

    seconds_per_patch: float = math.nan
    clinician_hour: float = math.nan
    machine_hour: float = 0.0

    def __post_init__(self) -> None:
        if self.seconds_per_patch <= 0 or self.clinician_hour < 0 or self.machine_hour < 0:
            raise NNActiveError("cost: a patch takes more than 0 seconds, and prices are not negative")


@dataclass(frozen=True, slots=True)
class Cost:
    """The answer for one strategy in one setting.

    Attributes:
        saving: against the baseline.
        next: what one more cycle would bring.
        minutes: annotation minutes saved in a run as long as the baseline's, if every patch takes the same
            time.
        minutes_by_foreground: the same if marking structures takes the time.
        money: `r c_annotation - c_overhead` for the first of the two.
    """

    saving: Saving
    next: NextCycle
    minutes: Estimate
    minutes_by_foreground: Estimate
    money: Estimate

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer in words."""
        return (*saving_sentences(self.saving), *self._prices(), stop_sentence(self.next.gain))

    def document(self) -> dict[str, Any]:
        """Plain values; None where there is none."""
        s = self.saving
        return {
            "dataset": s.setting.dataset,
            "regime": s.setting.regime,
            "profile": s.setting.profile,
            "strategy": s.strategy,
            "baseline": s.baseline,
            "patches_saved": plain(s.patches),
            "foreground_saved": plain(s.foreground),
            "final_dice_gain": plain(s.dice),
            "minutes_saved": plain(self.minutes),
            "minutes_saved_by_foreground": plain(self.minutes_by_foreground),
            "money_saved": plain(self.money),
            "more_computing_seconds": number(s.compute_seconds),
            "next_cycle": {
                "gain": number(self.next.gain.mean),
                "low": number(self.next.gain.low),
                "high": number(self.next.gain.high),
                "verdict": self.next.gain.verdict,
            },
            "words": list(self.sentences),
        }

    def _prices(self) -> list[str]:
        found = []
        if math.isfinite(self.minutes.mean) and self.saving.patches.known:
            found.append(f"In annotation time: {_minutes(self.minutes)} if every patch takes the same time.")
        if math.isfinite(self.minutes_by_foreground.mean) and self.saving.foreground.known:
            text = _minutes(self.minutes_by_foreground)
            found.append(f"In annotation time: {text} if marking structures takes the time.")
        if math.isfinite(self.money.mean) and self.saving.patches.known:
            ends = f"95 % interval {self.money.low:+.2f} to {self.money.high:+.2f} saved"
            words = f"{abs(self.money.mean):.2f} {_direction(self.money)}"
            found.append(f"In money, computing included: {words} ({ends}).")
        return found


def study_cost(
    results: StudyResults, prices: Prices | None = None, baseline: str = BASELINE, strategy: str | None = None
) -> tuple[Cost, ...]:
    """What each strategy saves against the baseline, in every setting that holds it.

    Args:
        results: of a study.
        prices: what work costs; shares alone are told when not given.
        baseline: strategy to compare with.
        strategy: only this one; all when not given.

    Raises:
        NNActiveError: no setting holds the baseline together with another strategy.
    """
    prices = prices or Prices()
    each = [
        (setting, name)
        for setting in results.settings
        for name in results.strategies(setting)
        if name != baseline and strategy in (None, name) and results.of(setting, baseline)
    ]
    found = [_cost(saving(results, *one, baseline), next_cycle(results, *one), prices) for one in each]
    if not found:
        other = strategy or "another strategy"
        raise NNActiveError(f"{results.name}: no setting has finished runs of both {baseline} and {other}")
    return tuple(found)


def saving_sentences(saving: Saving) -> tuple[str, ...]:
    """What was saved, in words, or that it cannot be told."""
    who = f"{saving.strategy} against {saving.baseline} ({saving.setting})"
    if saving.patches.count < MIN_SEEDS:
        runs = f"{saving.patches.count} paired {'run' if saving.patches.count == 1 else 'runs'}"
        return (f"{who}: {NOT_ENOUGH}; {runs}, at least {MIN_SEEDS} are needed.",)
    return (
        f"{who}, for the same Dice: {_share(saving.patches, 'patches')}; "
        f"{_share(saving.foreground, 'structure voxels to mark')}.",
        _computing(saving.compute_seconds),
    )


def _cost(found: Saving, following: NextCycle, prices: Prices) -> Cost:
    whole = found.baseline_patches * prices.seconds_per_patch / 60
    overhead = found.compute_seconds / 3600 * prices.machine_hour
    per_minute = prices.clinician_hour / 60
    minutes = saved(found.patches, whole)
    return Cost(
        found,
        following,
        minutes,
        saved(found.foreground, whole),
        minutes.scaled(per_minute, -overhead),
    )


def _share(e: Estimate, of_what: str) -> str:
    if e.count < MIN_SEEDS:
        return f"{NOT_ENOUGH} about the {of_what}"
    if not e.known:
        ends = f"95 % interval {100 * e.low:+.0f} to {100 * e.high:+.0f} %"
        return f"{NOT_ENOUGH} about the {of_what}, mean saving {100 * e.mean:+.0f} % ({ends})"
    low, high = sorted((abs(e.low), abs(e.high)))
    ends = f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"
    if e.mean > 0:
        return f"saves {100 * e.mean:.0f} % of the {of_what} ({ends})"
    return f"needs {100 * -e.mean:.0f} % more {of_what} ({ends})"


def _computing(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "Computing time was not measured."
    more = "more" if seconds >= 0 else "less"
    return f"A run computes {html.duration(abs(seconds))} {more} than the baseline's, tests left out."


def _minutes(e: Estimate) -> str:
    low, high = sorted((abs(e.low), abs(e.high)))
    return f"{abs(e.mean):.0f} minutes {_direction(e)} (95 % interval {low:.0f} to {high:.0f})"


def _direction(e: Estimate) -> str:
    return "saved" if e.mean >= 0 else "more"
