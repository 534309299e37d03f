"""What each strategy is worth in each setting: one value per seed, and what they say together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_server.core.economy import Estimate, Gain
from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation.budgets import TARGETS, needed
from nnactive_server.evaluation.curves import aubc
from nnactive_server.evaluation.efficiency import Efficiency, efficiency, no_efficiency
from nnactive_server.evaluation.saving import mean_interval, next_gain, pooled_mean, saved_share
from nnactive_server.study.analysis.results import Setting, StudyResults, Unit

BASELINE = "random-fg-66"


@dataclass(frozen=True, slots=True)
class Target:
    """What it takes to come near the Dice of all labels.

    Attributes:
        share: of the full-data Dice.
        dice: the Dice to reach.
        patches: needed by each seed, infinite where its budget did not do.
        foreground_voxels: likewise.
    """

    share: float
    dice: float
    patches: np.ndarray
    foreground_voxels: np.ndarray

    @property
    def reached(self) -> int:
        """Number of seeds that came so far."""
        return int(np.isfinite(self.patches).sum())


@dataclass(frozen=True, slots=True)
class Score:
    """A strategy in a setting.

    Attributes:
        setting: data, budget, training.
        strategy: how patches were chosen.
        seeds: the finished ones.
        aubc: one per seed.
        final: Mean Dice after the last cycle, one per seed.
        ours: FG-Eff, started at the mean of the seeds.
        reference: FG-Eff as the published numbers were made.
        targets: budgets to come near all labels; empty without the full-data Dice.
        classes: class to its Dice after the last cycle, one per seed.
    """

    setting: Setting
    strategy: str
    seeds: tuple[int, ...]
    aubc: np.ndarray
    final: np.ndarray
    ours: Efficiency
    reference: Efficiency
    targets: tuple[Target, ...]
    classes: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Saving:
    """What a strategy saves against the baseline in a setting, and how sure that is.

    Attributes:
        setting: data, budget, training.
        strategy: how patches were chosen.
        baseline: what it is compared with.
        patches: share of the baseline's patches saved, if every patch takes the same time.
        foreground: share of the baseline's foreground voxels saved, if marking structures takes the time.
        dice: difference of the Final Dice.
        compute_seconds: mean computing time of a run beyond the baseline's, tests left out.
        baseline_patches: mean patches of a baseline's run.
    """

    setting: Setting
    strategy: str
    baseline: str
    patches: Estimate
    foreground: Estimate
    dice: Estimate
    compute_seconds: float
    baseline_patches: float


@dataclass(frozen=True, slots=True)
class NextCycle:
    """What one more cycle of a strategy would bring in a setting."""

    setting: Setting
    strategy: str
    gain: Gain


def score(results: StudyResults, setting: Setting, strategy: str) -> Score:
    """All figures of merit of a strategy in a setting."""
    units = results.of(setting, strategy)
    dice = results.curves(setting, strategy, "dice")
    full = results.full_dice(setting)
    share = results.curves(setting, strategy, "foreground_fraction")
    names = list(dict.fromkeys(name for unit in units for name in unit.rows[-1].per_class))
    return Score(
        setting,
        strategy,
        tuple(unit.seed for unit in units),
        np.array([aubc(curve) for curve in dice]),
        dice[:, -1],
        _efficiency(share, dice, full, reference=False),
        _efficiency(share, dice, full, reference=True),
        _targets(results, setting, strategy, full),
        {name: np.array([u.rows[-1].per_class.get(name, math.nan) for u in units]) for name in names},
    )


def mean_scores(scores: Sequence[Score], strategy: str) -> tuple[Estimate, Estimate]:
    """Mean AUBC and mean Final Dice of a strategy over its settings, with 95 % intervals (see `pooled_mean`).

    Settings with a single seed have no spread, so the intervals are then not known.
    """
    own = [entry for entry in scores if entry.strategy == strategy]
    counts = [len(entry.seeds) for entry in own]
    return (_pooled([entry.aubc for entry in own], counts), _pooled([entry.final for entry in own], counts))


def saving(results: StudyResults, setting: Setting, strategy: str, baseline: str = BASELINE) -> Saving:
    """What a strategy saves against a baseline, seed by seed (thesis, equation 4.1; see `saved_share`).

    Raises:
        NNActiveError: the setting does not hold the baseline.
    """
    pairs = _pairs(results, setting, strategy, baseline)
    ours, theirs = zip(*pairs, strict=True) if pairs else ((), ())

    def saved(column: str) -> Estimate:
        tables = [
            np.array([u.column(name) for u in units]) for units in (ours, theirs) for name in (column, "dice")
        ]
        return mean_interval(saved_share(*tables) if pairs and np.isfinite(tables).all() else [])

    return Saving(
        setting,
        strategy,
        baseline,
        saved("patches"),
        saved("foreground_voxels"),
        mean_interval([a.rows[-1].dice - b.rows[-1].dice for a, b in pairs]),
        _mean([_computed(a) - _computed(b) for a, b in pairs]),
        _mean([b.rows[-1].patches for _, b in pairs]),
    )


def next_cycle(results: StudyResults, setting: Setting, strategy: str) -> NextCycle:
    """What one more cycle would bring, from the mean curve over seeds; the step is the last one made."""
    patches = results.curves(setting, strategy, "patches").mean(axis=0)
    dice = results.curves(setting, strategy, "dice").mean(axis=0)
    step = float(patches[-1] - patches[-2]) if patches.size > 1 else 0.0
    if step <= 0:
        return NextCycle(setting, strategy, next_gain(patches[:1], dice[:1], 1.0))
    return NextCycle(setting, strategy, next_gain(patches, dice, step))


def _efficiency(share: np.ndarray, dice: np.ndarray, full: float, *, reference: bool) -> Efficiency:
    if not math.isfinite(full):
        return no_efficiency("the Dice with all labels is not known")
    if dice.shape[1] < 2:
        return no_efficiency("one cycle makes no curve")
    if not np.isfinite(share).all():
        return no_efficiency("the annotated share of the foreground is not known")
    return efficiency(share, dice, full, "reference" if reference else "ours")


def _targets(results: StudyResults, setting: Setting, strategy: str, full: float) -> tuple[Target, ...]:
    if not math.isfinite(full):
        return ()
    dice = results.curves(setting, strategy, "dice")

    def amounts(column: str, target: float) -> np.ndarray:
        table = results.curves(setting, strategy, column)
        known = np.isfinite(table).all()
        return np.array(
            [needed(x, y, target) if known else math.nan for x, y in zip(table, dice, strict=True)]
        )

    return tuple(
        Target(
            share, share * full, amounts("patches", share * full), amounts("foreground_voxels", share * full)
        )
        for share in TARGETS
    )


def _pairs(results: StudyResults, setting: Setting, strategy: str, baseline: str) -> list[tuple[Unit, Unit]]:
    base = {unit.seed: unit for unit in results.of(setting, baseline)}
    if not base:
        raise NNActiveError(
            f"{setting}: no finished run of {baseline} to compare with; run it, or name another"
        )
    return [(unit, base[unit.seed]) for unit in results.of(setting, strategy) if unit.seed in base]


def _computed(unit: Unit) -> float:
    return sum(v for row in unit.rows for k, v in row.seconds.items() if k != "evaluate" and math.isfinite(v))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _pooled(values: Sequence[np.ndarray], counts: Sequence[int]) -> Estimate:
    spreads = [float(v.std(ddof=1)) if v.size > 1 else math.nan for v in values]
    return pooled_mean([float(v.mean()) for v in values], spreads, counts)
