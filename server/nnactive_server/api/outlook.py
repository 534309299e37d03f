"""Whether active learning pays in a project: what was saved so far, and what one more cycle will bring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnactive_server.api.replies import OutlookOut, RangeOut, SavingOut, SimulationOut
from nnactive_server.api.simulations import Simulation, Simulations
from nnactive_server.core.economy import (
    GO_ON,
    MIN_SEEDS,
    NOT_ENOUGH,
    NOTHING,
    STOP,
    Estimate,
    Gain,
    saved_so_far,
    stop_sentence,
    widest,
)

_JUDGED = {
    "held-out": "Judged on cases that were left out of training.",
    "before-training": "Judged on new answers, before anything was learned from them.",
}
_FIRST_CHOSEN = 2
"""The first training that learns from patches a strategy chose."""
_WORTH = {GO_ON: True, STOP: False}


@dataclass(frozen=True, slots=True)
class Spent:
    """What a project took so far.

    Attributes:
        patches: annotated.
        seconds: of annotation.
        compute_seconds: of all its trainings and queries.
    """

    patches: int
    seconds: float
    compute_seconds: float


def outlook_out(newest: Mapping[str, Any]) -> OutlookOut | None:
    """The expected gain of one more cycle, as the newest training's job left it (`jobs.outlook`).

    None before the first training, and after one by a version that did not tell.
    """
    told = newest.get("outlook")
    if told is None:
        return None
    nothing = math.nan
    low, mean, high = (nothing if told[name] is None else told[name] for name in ("low", "mean", "high"))
    words = [stop_sentence(Gain(mean, low, high, nothing, told["verdict"]))]
    if told["mean"] is not None:
        words.append(_JUDGED[told["judged_on"]])
    return OutlookOut(
        gain=_range(Estimate(mean, low, high, told["trainings"])),
        worth=_WORTH.get(told["verdict"]),
        patches=told["patches"],
        trainings=told["trainings"],
        judged_on=told["judged_on"],
        words=" ".join(words),
    )


def saving_out(
    simulations: Simulations | None, settings: Mapping[str, Any], spent: Spent, trainings: int
) -> SavingOut:
    """What a project's strategy has probably saved against a study's baseline.

    Args:
        simulations: the study's; None when the server was given none.
        settings: of the project.
        spent: by the project so far.
        trainings: finished ones; the first learns from the start alone, where all strategies are alike.
    """
    if simulations is None:
        return _unknown("Saving", "the server was started without a study", spent)
    who = f"Saving against {simulations.baseline}"
    found = simulations.of(settings["strategy"], settings["strategy_parameters"], settings["profile"])
    enough = [one for one in found if one.patches.seeds >= MIN_SEEDS]
    if not enough:
        why = _why_unknown(simulations, settings["strategy"], found)
        return _unknown(who, why, spent, simulations.baseline)
    share = widest([one.patches.estimate for one in enough])
    foreground = widest([one.foreground.estimate for one in enough])
    patches = hours = by_foreground = NOTHING
    if trainings >= _FIRST_CHOSEN and spent.patches:
        patches = saved_so_far(share, spent.patches)
        hours, by_foreground = _timed(share, spent), _timed(foreground, spent)
    rests_on = _rests_on(simulations.study, enough)
    return SavingOut(
        baseline=simulations.baseline,
        share=_range(share),
        share_by_foreground=_range(foreground),
        patches=_range(patches),
        hours=_range(hours),
        hours_by_foreground=_range(by_foreground),
        compute_hours=spent.compute_seconds / 3600,
        rests_on=[_simulation(simulations.study, one) for one in enough],
        words=_words(who, share, patches, hours, by_foreground, spent, rests_on),
    )


def _why_unknown(simulations: Simulations, strategy: str, found: Sequence[Simulation]) -> str:
    """Why none of those found says enough."""
    if strategy == simulations.baseline:
        return "this project uses the same strategy"
    if not found:
        return f"{strategy}, as this project uses it, is not in the study {simulations.study}"
    runs = max(one.patches.seeds for one in found)
    paired = f"{runs} paired {'run' if runs == 1 else 'runs'}"
    return f"the study {simulations.study} has {paired} of {strategy}, at least {MIN_SEEDS} are needed"


def _timed(share: Estimate, spent: Spent) -> Estimate:
    """Hours of annotation; nothing where no time was measured."""
    return saved_so_far(share, spent.seconds / 3600) if spent.seconds > 0 else NOTHING


def _words(
    who: str,
    share: Estimate,
    patches: Estimate,
    hours: Estimate,
    by_foreground: Estimate,
    spent: Spent,
    rests_on: str,
) -> str:
    simulated = (
        f"{100 * share.mean:+.0f} % of the patches ({100 * share.low:+.0f} to {100 * share.high:+.0f} %)"
    )
    if not share.known or share.high >= 1:
        return f"{who}: {NOT_ENOUGH}; simulations say {simulated}. {rests_on}"
    if not patches.count:
        return f"{who}: {NOT_ENOUGH} before the second training; simulations say {simulated}. {rests_on}"
    parts = [f"about {_amount(patches, 1, '.0f', 'patches')}"]
    if hours.count:
        parts.append(f"{_time(hours)} of annotation")
    said = f"{who} so far: {' and '.join(parts)} {_direction(share)}"
    if by_foreground.known:
        said += f" ({_time(by_foreground)} {_direction(by_foreground)} if marking structures takes the time)"
    return f"{said}; computing took {_hours(spent.compute_seconds / 3600)}. {rests_on}"


def _direction(e: Estimate) -> str:
    return "probably saved" if e.mean > 0 else "more probably needed"


def _amount(e: Estimate, factor: float, style: str, unit: str) -> str:
    low, high = sorted((abs(e.low * factor), abs(e.high * factor)))
    return f"{abs(e.mean * factor):{style}} ({low:{style}} to {high:{style}}) {unit}"


def _time(hours: Estimate) -> str:
    """Minutes below an hour and a half."""
    short = abs(hours.mean) < 1.5
    return _amount(hours, 60 if short else 1, ".0f" if short else ".1f", "minutes" if short else "hours")


def _hours(hours: float) -> str:
    return f"{60 * hours:.0f} minutes" if hours < 1.5 else f"{hours:.1f} hours"


def _rests_on(study: str, simulations: Sequence[Simulation]) -> str:
    where = "; ".join(f"{_place(one)}, {one.patches.seeds} seeds" for one in simulations)
    return f"Rests on the study {study} ({where})."


def _place(simulation: Simulation) -> str:
    parts = (simulation.dataset, simulation.regime, simulation.profile)
    return ", ".join(part for part in parts if part)


def _simulation(study: str, one: Simulation) -> SimulationOut:
    return SimulationOut(
        study=study, dataset=one.dataset, regime=one.regime, profile=one.profile, seeds=one.patches.seeds
    )


def _unknown(who: str, why: str, spent: Spent, baseline: str | None = None) -> SavingOut:
    return SavingOut(
        baseline=baseline,
        compute_hours=spent.compute_seconds / 3600,
        words=f"{who}: {NOT_ENOUGH}; {why}.",
    )


def _range(e: Estimate) -> RangeOut | None:
    ends = (e.low, e.mean, e.high)
    if not all(math.isfinite(value) for value in ends):
        return None
    return RangeOut(low=e.low, mean=e.mean, high=e.high)
