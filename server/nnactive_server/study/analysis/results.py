"""The results of a study, read from its folder into one frozen value.

    DIR/study.json                                                        the plan
    DIR/runs/<dataset>/<regime>/<profile>/<strategy>/seed-<n>/summary.json   one experiment each
    DIR/full/<dataset>/<profile>/seed-<n>/summary.json                      trained on all labels

Who an experiment is says its path; what it found says its summary. Unfinished experiments are left out of all
statistics, because their means would be those of earlier budgets, and are named instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json
from nnactive_server.study.report_data import number, public
from nnactive_server.study.summary import SUMMARY

PLAN, RUNS, FULL = "study.json", "runs", "full"
_SEED = re.compile(r"seed-(\d+)")


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """Where strategies compare: the same data, budgets and training.

    Attributes:
        dataset: name of the data set.
        regime: name of the budget, such as low.
        profile: name of the training profile.
    """

    dataset: str
    regime: str
    profile: str

    def __str__(self) -> str:
        return f"{self.dataset}, {self.regime}, {self.profile}"


@dataclass(frozen=True, slots=True)
class Row:
    """One cycle of one experiment; NaN stands for what was not measured.

    Attributes:
        setting: data, budget, training.
        strategy: how patches were chosen.
        seed: of everything random.
        cycle: counted from 0.
        patches: annotated so far.
        annotated_voxels: in these patches.
        foreground_voxels: of any class in them.
        foreground_fraction: the same as a share of all foreground of the pool, 0..1.
        dice: Mean Dice on the test cases.
        per_class: class to its Dice.
        seconds: stage to computing time.
        triage: what was measured of the ranking of unlabelled cases: way of ranking to measure to value.
    """

    setting: Setting
    strategy: str
    seed: int
    cycle: int
    patches: float
    annotated_voxels: float
    foreground_voxels: float
    foreground_fraction: float
    dice: float
    per_class: Mapping[str, float]
    seconds: Mapping[str, float]
    triage: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unit:
    """One finished experiment.

    Attributes:
        setting: data, budget, training.
        strategy: how patches were chosen.
        seed: of everything random.
        rows: its cycles in order.
        folder: where it lies.
        patch: voxels (z, y, x) of a patch; empty when not told.
        query_size: patches of a query; 0 when not told.
    """

    setting: Setting
    strategy: str
    seed: int
    rows: tuple[Row, ...]
    folder: Path
    patch: tuple[int, ...] = ()
    query_size: int = 0

    def column(self, name: str) -> np.ndarray:
        """An attribute of the rows as (cycles,)."""
        return np.array([getattr(row, name) for row in self.rows], dtype=float)


@dataclass(frozen=True, slots=True)
class StudyResults:
    """All finished experiments of a study.

    Attributes:
        name: of the study.
        units: sorted by setting, strategy and seed.
        full: (data set, profile) to the Mean Dice of each seed with all labels.
        left_out: what is missing or unfinished, one sentence each.
        plan: content of study.json, without paths of the machine; empty when there is none.
        versions: package to version, of the first experiment.
    """

    name: str
    units: tuple[Unit, ...]
    full: Mapping[tuple[str, str], tuple[float, ...]]
    left_out: tuple[str, ...]
    plan: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> Iterator[Row]:
        """Every cycle of every experiment."""
        return (row for unit in self.units for row in unit.rows)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings with a finished experiment: by data set and profile, small budgets first."""
        budgets = {unit.setting: unit.rows[0].patches for unit in self.units}
        return tuple(sorted(budgets, key=lambda s: (s.dataset, s.profile, budgets[s], s.regime)))

    def strategies(self, *settings: Setting) -> tuple[str, ...]:
        """Strategies of these settings, or of all: random ones first, as the papers list baselines."""
        found = {unit.strategy for unit in self.units if not settings or unit.setting in settings}
        return tuple(sorted(found, key=lambda name: (not name.startswith("random"), name)))

    def of(self, setting: Setting, strategy: str) -> tuple[Unit, ...]:
        """Experiments of a strategy in a setting, by seed."""
        return tuple(u for u in self.units if u.setting == setting and u.strategy == strategy)

    def seeds(self, setting: Setting) -> tuple[int, ...]:
        """Seeds of any strategy in a setting."""
        return tuple(sorted({unit.seed for unit in self.units if unit.setting == setting}))

    def curves(self, setting: Setting, strategy: str, column: str) -> np.ndarray:
        """A column of `Row` as (seeds, cycles), one row for each finished seed."""
        return np.array([unit.column(column) for unit in self.of(setting, strategy)])

    def aligned(self, setting: Setting, column: str = "dice") -> dict[str, np.ndarray]:
        """Strategy to (seeds, cycles), rows in the order of `seeds(setting)`, NaN where a seed is missing."""
        seeds = self.seeds(setting)
        found = {}
        for strategy in self.strategies(setting):
            by_seed = {unit.seed: unit.column(column) for unit in self.of(setting, strategy)}
            blank = np.full(len(next(iter(by_seed.values()))), math.nan)
            found[strategy] = np.array([by_seed.get(seed, blank) for seed in seeds])
        return found

    def full_dice(self, setting: Setting) -> float:
        """Mean over seeds of the Dice with all labels; NaN when that was not trained."""
        values = self.full.get((setting.dataset, setting.profile), ())
        return float(np.mean(values)) if values else math.nan


def read_study(folder: Path) -> StudyResults:
    """Read a study, finished or not.

    Raises:
        LoopError: the folder holds no experiment, a summary is not valid, or experiments of one setting
            differ in their number of cycles.
    """
    root = folder / RUNS
    if not root.is_dir():
        raise LoopError(f"{folder}: holds no folder {RUNS}; give the folder that `nnactive study run` writes")
    left_out: list[str] = []
    units = [unit for path in sorted(root.glob("*/*/*/*/seed-*")) if (unit := _unit(path, left_out))]
    units.sort(key=lambda unit: (unit.setting, unit.strategy, unit.seed))
    _same_length(units)
    plan = public(_document(folder / PLAN)) if (folder / PLAN).exists() else {}
    left_out += _not_begun(root, plan)
    first = _document(units[0].folder / SUMMARY) if units else {}
    return StudyResults(
        name=str(plan.get("name") or folder.resolve().name),
        units=tuple(units),
        full=_full(folder / FULL, left_out),
        left_out=tuple(left_out),
        plan=plan,
        versions={str(k): str(v) for k, v in first.get("versions", {}).items()},
    )


def _not_begun(root: Path, plan: Mapping[str, Any]) -> list[str]:
    """Planned experiments without a folder; those on all labels have no regime."""
    found = []
    for unit in plan.get("units") or []:
        where = [unit["dataset"], unit["regime"], unit["profile"]["label"], unit["strategy"]["label"]]
        if unit["regime"] and not root.joinpath(*where, f"seed-{unit['seed']}").is_dir():
            found.append(f"{', '.join(where)}, seed {unit['seed']}: not begun")
    return found


def _unit(path: Path, left_out: list[str]) -> Unit | None:
    dataset, regime, profile, strategy, last = path.parts[-5:]
    named = _SEED.fullmatch(last)
    if named is None:
        return None
    setting, seed = Setting(dataset, regime, profile), int(named[1])
    who = f"{setting}, {strategy}, seed {seed}"
    if not (path / SUMMARY).exists():
        left_out.append(f"{who}: no results yet")
        return None
    document = _document(path / SUMMARY)
    rows = tuple(_row(entry, setting, strategy, seed, path) for entry in _list(document, "cycles", path))
    planned = document.get("planned_cycles", len(rows))
    if not rows or len(rows) < planned:
        left_out.append(f"{who}: {len(rows)} of {planned} cycles are done")
        return None
    if not all(math.isfinite(row.dice) for row in rows):
        left_out.append(f"{who}: a cycle has no Mean Dice")
        return None
    patch = tuple(int(edge) for edge in document.get("patch") or ())
    return Unit(setting, strategy, seed, rows, path, patch, int(document.get("query_size") or 0))


def _row(entry: Any, setting: Setting, strategy: str, seed: int, path: Path) -> Row:
    if not isinstance(entry, Mapping) or "cycle" not in entry:
        raise LoopError(f"{path / SUMMARY}: an entry of cycles has no number; run the experiment again")
    return Row(
        setting,
        strategy,
        seed,
        int(entry["cycle"]),
        number(entry.get("patches")),
        number(entry.get("annotated_voxels")),
        number(entry.get("foreground_voxels")),
        number(entry.get("foreground_fraction")),
        number(entry.get("mean_dice")),
        {str(name): number(value) for name, value in (entry.get("dice_per_class") or {}).items()},
        {str(stage): number(value) for stage, value in (entry.get("seconds") or {}).items()},
        _triage(entry.get("triage")),
    )


def _triage(value: Any) -> dict[str, dict[str, float]]:
    """Two levels of names above numbers; anything else is no measurement."""
    if not isinstance(value, Mapping):
        return {}
    return {
        str(way): {str(name): number(v) for name, v in measures.items() if math.isfinite(number(v))}
        for way, measures in value.items()
        if isinstance(measures, Mapping)
    }


def _full(root: Path, left_out: list[str]) -> dict[tuple[str, str], tuple[float, ...]]:
    """Mean Dice with all labels."""
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    for path in sorted(root.glob("*/*/seed-*")):
        dataset, profile = path.parts[-3:-1]
        document = _document(path / SUMMARY) if (path / SUMMARY).exists() else {}
        dice = _final(document)
        if math.isfinite(dice):
            found[dataset, profile] = (*found.get((dataset, profile), ()), dice)
        else:
            left_out.append(f"{dataset}, {profile}, all labels, {path.name}: no Mean Dice yet")
    return found


def _final(document: Mapping[str, Any]) -> float:
    """Mean Dice after the last cycle, wherever the summary tells it."""
    cycles = [entry for entry in document.get("cycles") or [] if isinstance(entry, Mapping)]
    told = [document.get("final_dice"), document.get("mean_dice"), *(e.get("mean_dice") for e in cycles[-1:])]
    return next((number(value) for value in told if math.isfinite(number(value))), math.nan)


def _same_length(units: Sequence[Unit]) -> None:
    lengths: dict[Setting, Unit] = {}
    for unit in units:
        first = lengths.setdefault(unit.setting, unit)
        if len(unit.rows) != len(first.rows):
            raise LoopError(
                f"{unit.folder}: {len(unit.rows)} cycles, but {first.folder} has {len(first.rows)}; "
                "experiments of one regime need the same number"
            )


def _list(document: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise LoopError(f"{path / SUMMARY}: {key} must be a list; run the experiment again")
    return value


def _document(path: Path) -> dict[str, Any]:
    content = read_json(path, LoopError)
    if not isinstance(content, dict):
        raise LoopError(f"{path}: must hold one JSON object; run the same command again to write it anew")
    return content
