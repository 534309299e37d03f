"""The tables of a study; Dice is a share in CSV and times 100 in the report, as in the papers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnactive_server.evaluation.comparison import PenaltyMatrix
from nnactive_server.evaluation.efficiency import Efficiency
from nnactive_server.study import report_html as html
from nnactive_server.study.analysis.compare import RankAgreement, Ranking
from nnactive_server.study.analysis.results import Setting, StudyResults
from nnactive_server.study.analysis.scores import NextCycle, Saving, Score, mean_scores
from nnactive_server.study.analysis.table import (
    Show,
    Table,
    count,
    dice,
    fixed,
    probability,
    share,
    text,
)

_WHERE: tuple[tuple[str, Show], ...] = (
    ("data set", text),
    ("regime", text),
    ("profile", text),
    ("strategy", text),
)
_TRIAGE = tuple(
    (f"{where}{name}", f"{which} {head}")
    for where, which in (("", "test"), ("pool_", "pool"))
    for name, head in (("aurc", "AURC"), ("augrc", "AUGRC"), ("spearman", "Spearman"))
)
"""Measure in the summaries to its heading."""


def rows_table(results: StudyResults) -> Table:
    """Every cycle of every experiment, for other programs."""
    names = list(dict.fromkeys(name for row in results.rows for name in row.per_class))
    stages = list(dict.fromkeys(stage for row in results.rows for stage in row.seconds))
    amounts = ("patches", "annotated_voxels", "foreground_voxels", "foreground_fraction", "dice")
    heads = ["seed", "cycle", *amounts, *(f"dice {n}" for n in names), *(f"seconds {s}" for s in stages)]
    rows = tuple(
        (
            *_where(row.setting, row.strategy),
            row.seed,
            row.cycle,
            *(getattr(row, name) for name in amounts),
            *(row.per_class.get(name) for name in names),
            *(row.seconds.get(stage) for stage in stages),
        )
        for row in results.rows
    )
    return Table("rows", "All cycles", (*_WHERE, *((head, text) for head in heads)), rows)


def seeds_table(scores: Sequence[Score]) -> Table:
    """AUBC and Final Dice of every seed."""
    rows = tuple(
        (*_where(s.setting, s.strategy), seed, float(area), float(final))
        for s in scores
        for seed, area, final in zip(s.seeds, s.aubc, s.final, strict=True)
    )
    return Table("seeds", "Each seed", (*_WHERE, ("seed", text), ("AUBC", dice), ("Final Dice", dice)), rows)


def scores_table(scores: Sequence[Score]) -> Table:
    """AUBC and Final Dice of every strategy: mean and standard deviation over seeds."""
    heads = (
        ("seeds", text),
        ("AUBC", dice),
        ("AUBC sd", dice),
        ("Final Dice", dice),
        ("Final Dice sd", dice),
    )
    rows = tuple(
        (*_where(s.setting, s.strategy), len(s.seeds), *_mean_sd(s.aubc), *_mean_sd(s.final)) for s in scores
    )
    note = (
        "AUBC: area under Mean Dice over the cycles, a constant 80 gives 80. Final Dice: Mean Dice after "
        "the last cycle. Both times 100; sd is the standard deviation over seeds."
    )
    return Table("scores", "AUBC and Final Dice", (*_WHERE, *heads), rows, note)


def means_table(scores: Sequence[Score]) -> Table:
    """Means over settings, for strategies that have more than one."""
    rows = []
    for strategy in dict.fromkeys(entry.strategy for entry in scores):
        area, final = mean_scores(scores, strategy)
        if area.count > 1:
            rows.append(
                (strategy, area.count, area.mean, area.low, area.high, final.mean, final.low, final.high)
            )
    ends = [(f"{m}{end}", dice) for m in ("AUBC", "Final Dice") for end in ("", " low", " high")]
    note = "Mean over settings, with the 95 % interval that follows from the spread over seeds within each."
    return Table(
        "means", "Means over settings", (("strategy", text), ("settings", text), *ends), tuple(rows), note
    )


def efficiency_table(scores: Sequence[Score]) -> Table:
    """FG-Eff in both conventions."""
    number = fixed(2)
    heads: tuple[tuple[str, Show], ...] = (
        ("FG-Eff", number),
        ("low", number),
        ("high", number),
        ("standard error", number),
        ("reference", number),
        ("reference low", number),
        ("reference high", number),
        ("reference variance", number),
        ("remark", text),
    )
    rows = tuple((*_where(s.setting, s.strategy), *_rates(s.ours, s.reference)) for s in scores)
    note = (
        "FG-Eff: rate at which Mean Dice approaches that of all labels per annotated share of the "
        "foreground; only rates of one setting compare. Interval: 95 %, bootstrap over seeds. "
        "Reference: the convention of the published tables, which start at one seed and print the variance "
        "of the fit behind ±. A remark means that the data do not determine the rate; the number must not "
        "be compared."
    )
    return Table("fg_efficiency", "Foreground efficiency", (*_WHERE, *heads), rows, note)


def targets_table(scores: Sequence[Score]) -> Table:
    """Annotation needed to come near all labels."""
    heads: tuple[tuple[str, Show], ...] = (
        ("share of all labels", _percent),
        ("Dice to reach", dice),
        ("seeds that reach it", text),
        ("patches, median", count),
        ("foreground voxels, median", count),
    )
    rows = tuple(
        (
            *_where(s.setting, s.strategy),
            t.share,
            t.dice,
            f"{t.reached} of {len(s.seeds)}",
            float(np.median(t.patches)),
            float(np.median(t.foreground_voxels)),
        )
        for s in scores
        for t in s.targets
    )
    note = (
        "First time the learning curve crosses the Dice, read linearly between cycles. The median counts "
        "seeds that did not get there as needing more than all others."
    )
    return Table("targets", "Budget to come near all labels", (*_WHERE, *heads), rows, note)


def penalty_table(matrix: PenaltyMatrix) -> Table:
    """The pairwise penalty matrix; its last row is the mean of each column."""
    rows = [(name, *map(float, line)) for name, line in zip(matrix.methods, matrix.wins, strict=True)]
    if rows:
        rows.append(("mean loss", *map(float, matrix.mean_loss)))
    name, extra = ("ppm_holm", ", Holm's correction") if matrix.holm else ("ppm", "")
    note = (
        f"Percent of the budgets of {html.counted(matrix.settings, 'setting')} at which the row beats the "
        f"column (paired t-test over seeds, p < 0.05{extra}). Low numbers in a column are good."
    )
    columns = (("strategy", text), *((method, fixed(0)) for method in matrix.methods))
    return Table(name, f"Who beats whom{extra}", columns, tuple(rows), note)


def ranks_table(found: Sequence[Ranking]) -> Table:
    """Mean ranks by every metric."""
    rows = tuple(
        (r.metric, r.block, r.test.blocks, name, float(rank), float(error), r.test.friedman_p)
        for r in found
        for name, rank, error in zip(r.test.methods, r.test.mean_ranks, r.test.errors, strict=True)
    )
    heads: tuple[tuple[str, Show], ...] = (
        ("metric", text),
        ("block", text),
        ("blocks", text),
        ("strategy", text),
        ("mean rank", fixed(2)),
        ("standard error", fixed(2)),
        ("Friedman p", probability),
    )
    note = (
        "1 is best. A block is a setting (mean over its seeds) or a single seed of a setting. Seeds of one "
        "data set are not independent data sets: what they show holds for that data set."
    )
    return Table("ranks", "Mean ranks", heads, rows, note)


def nemenyi_table(found: Sequence[Ranking]) -> Table:
    """Nemenyi's p of every pair."""
    rows = tuple(
        (r.metric, r.block, a, b, float(r.test.p_values[i, j]))
        for r in found
        for i, a in enumerate(r.test.methods)
        for j, b in enumerate(r.test.methods)
        if i < j
    )
    heads = (
        ("metric", text),
        ("block", text),
        ("strategy", text),
        ("other", text),
        ("Nemenyi p", probability),
    )
    return Table("nemenyi", "Nemenyi's test", heads, rows)


def agreement_table(found: Sequence[RankAgreement]) -> Table:
    """Kendall's tau of pairs of settings."""
    rows = tuple(
        (a.metric, str(a.first), str(a.second), a.strategies, a.found.tau, a.found.p_value) for a in found
    )
    heads: tuple[tuple[str, Show], ...] = (
        ("metric", text),
        ("setting", text),
        ("other setting", text),
        ("strategies", text),
        ("Kendall's tau", fixed(3)),
        ("p", probability),
    )
    note = "1: both settings rank the strategies alike, -1: in reverse. The papers call p < 0.1 significant."
    return Table("kendall", "Do settings agree on the ranking?", heads, rows, note)


def classes_table(scores: Sequence[Score]) -> Table:
    """Final Dice of each class."""
    rows = tuple(
        (*_where(s.setting, s.strategy), name, *_mean_sd(values))
        for s in scores
        for name, values in s.classes.items()
    )
    heads = (("class", text), ("Final Dice", dice), ("sd", dice))
    return Table("classes", "Final Dice of each class", (*_WHERE, *heads), rows)


def savings_table(found: Sequence[Saving]) -> Table:
    """What each strategy saves against the baseline."""
    rows = tuple(
        (
            *_where(s.setting, s.strategy),
            s.patches.count,
            *(v for e in (s.patches, s.foreground) for v in (e.mean, e.low, e.high)),
            s.dice.mean,
            s.dice.low,
            s.dice.high,
            s.compute_seconds,
        )
        for s in found
    )
    ends = [(f"{what}{end}", share) for what in ("patches", "foreground") for end in ("", " low", " high")]
    gains = [(f"Final Dice{end}", dice) for end in ("", " low", " high")]
    heads = (("seeds", text), *ends, *gains, ("more computing", _seconds))
    baseline = found[0].baseline if found else ""
    note = (
        f"Saved against {baseline}, read where both curves reach the same Dice; negative: it needs more. "
        "patches: if every patch takes the same time. foreground: if marking structures takes the time. "
        "Interval: 95 %, over paired seeds."
    )
    return Table("savings", f"Annotation saved against {baseline}", (*_WHERE, *heads), rows, note)


def next_table(found: Sequence[NextCycle]) -> Table:
    """What one more cycle would bring."""
    rows = tuple(
        (*_where(n.setting, n.strategy), n.gain.mean, n.gain.low, n.gain.high, n.gain.ceiling, n.gain.verdict)
        for n in found
    )
    heads: tuple[tuple[str, Show], ...] = (
        ("gain of Dice", dice),
        ("low", dice),
        ("high", dice),
        ("curve tends to", dice),
        ("worth it?", text),
    )
    note = "From a saturating curve through the mean over seeds, with a 95 % interval; worth it: from 0.5 on."
    return Table("next_cycle", "What one more cycle would bring", (*_WHERE, *heads), rows, note)


def times_table(results: StudyResults) -> Table:
    """Computing time of a run by stage, mean over seeds."""
    stages = list(dict.fromkeys(stage for row in results.rows for stage in row.seconds))
    rows = []
    for setting in results.settings:
        for strategy in results.strategies(setting):
            units = results.of(setting, strategy)
            sums = [
                sum(row.seconds.get(s, 0.0) for u in units for row in u.rows) / len(units) for s in stages
            ]
            rows.append((*_where(setting, strategy), *sums, sum(sums)))
    heads = [(name.replace("_", " "), _seconds) for name in (*stages, "total")]
    return Table("times", "Computing time of a run", (*_WHERE, *heads), tuple(rows) if stages else ())


def triage_table(results: StudyResults) -> Table:
    """How well cases were ranked by expected quality, mean over seeds and cycles."""
    found: dict[tuple[str, ...], list[Mapping[str, float]]] = {}
    for row in results.rows:
        for way, measures in row.triage.items():
            found.setdefault((*_where(row.setting, row.strategy), way), []).append(measures)
    rows = tuple(
        (*key, *(_known_mean([m[name] for m in entries if name in m]) for name, _ in _TRIAGE))
        for key, entries in found.items()
    )
    heads = (("ranked by", _spaced), *((head, fixed(3)) for _, head in _TRIAGE))
    note = (
        "Risk is 1 - Dice of a case. AURC and AUGRC, the areas under the selective and the generalised "
        "risk over coverage: lower is better. Spearman: rank correlation of predicted and true quality. "
        "Test: the held-out cases; pool: cases without any annotation."
    )
    return Table("triage", "Which cases will fail", (*_WHERE, *heads), rows, note)


def _where(setting: Setting, strategy: str) -> tuple[str, str, str, str]:
    return setting.dataset, setting.regime, setting.profile, strategy


def _mean_sd(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    mean = float(known.mean()) if known.size else math.nan
    return mean, float(known.std(ddof=1)) if known.size > 1 else math.nan


def _rates(ours: Efficiency, reference: Efficiency) -> tuple[Any, ...]:
    own = (ours.gamma, ours.low, ours.high, ours.spread)
    published = (reference.gamma, reference.low, reference.high, reference.spread)
    return (*own, *published, ours.problem)


def _known_mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _percent(value: float) -> str:
    return f"{100 * value:g} %"


def _seconds(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{'−' if value < 0 else ''}{html.duration(abs(value))}"
