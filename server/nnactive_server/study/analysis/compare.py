"""Strategies against each other, over all settings of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nnactive_server.evaluation.comparison import PenaltyMatrix, penalty_matrix
from nnactive_server.evaluation.ranking import Agreement, RankTest, agreement, rank_test
from nnactive_server.study.analysis.results import Setting, StudyResults
from nnactive_server.study.analysis.scores import Score

METRICS = ("AUBC", "Final Dice", "FG-Eff")
ENOUGH_SETTINGS = 6
"""From so many settings on, the rank plot's blocks are settings; below, every seed of a setting is one."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks by one metric.

    Attributes:
        metric: one of `METRICS`.
        block: "setting" when scores were averaged over seeds first, "seed" when each seed was ranked.
        test: mean ranks and tests.
        left_out: strategies that are not in every setting and so cannot be ranked with the others.
    """

    metric: str
    block: str
    test: RankTest
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """Whether two settings rank their common strategies alike."""

    metric: str
    first: Setting
    second: Setting
    strategies: int
    found: Agreement


def penalties(
    results: StudyResults, *, correct: bool, only: Sequence[Setting] | None = None
) -> PenaltyMatrix:
    """Pairwise penalty matrix over all settings, or over some."""
    settings = [s for s in results.settings if only is None or s in only]
    return penalty_matrix(
        [results.aligned(s) for s in settings], results.strategies(*settings), correct=correct
    )


def rankings(scores: Sequence[Score]) -> tuple[Ranking, ...]:
    """Ranks by each metric: over settings, and for the metrics that each seed has, over seeds too."""
    settings = tuple(dict.fromkeys(entry.setting for entry in scores))
    everywhere, left_out = _everywhere(scores, settings)
    found = []
    for metric in METRICS:
        for block in ("setting", "seed"):
            table = _blocks(scores, settings, everywhere, metric, block)
            if len(everywhere) > 1 and len(table):
                found.append(Ranking(metric, block, rank_test(table, everywhere), left_out))
    return tuple(found)


def shown_rankings(found: Sequence[Ranking]) -> tuple[Ranking, ...]:
    """One ranking per metric: by settings when there are many, otherwise by seeds where they have it."""
    chosen: dict[str, Ranking] = {}
    for entry in sorted(found, key=lambda r: (r.block == "seed") != (_settings(found) < ENOUGH_SETTINGS)):
        chosen.setdefault(entry.metric, entry)
    return tuple(chosen[metric] for metric in METRICS if metric in chosen)


def agreements(scores: Sequence[Score]) -> tuple[RankAgreement, ...]:
    """Kendall's tau of every pair of settings, by each metric (papers: two-sided, alpha 0.1)."""
    settings = tuple(dict.fromkeys(entry.setting for entry in scores))
    found = []
    for metric in METRICS:
        values = {(e.setting, e.strategy): _mean(e, metric) for e in scores}
        for first, second in combinations(settings, 2):
            common = sorted({s for at, s in values if at == first} & {s for at, s in values if at == second})
            pair = [[values[at, s] for s in common] for at in (first, second)]
            found.append(RankAgreement(metric, first, second, len(common), agreement(*pair)))
    return tuple(found)


def _everywhere(
    scores: Sequence[Score], settings: Sequence[Setting]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Strategies that every setting has, and the others."""
    where: dict[str, set[Setting]] = {}
    for entry in scores:
        where.setdefault(entry.strategy, set()).add(entry.setting)
    everywhere = tuple(s for s, at in where.items() if len(at) == len(settings))
    return everywhere, tuple(s for s in where if s not in everywhere)


def _blocks(
    scores: Sequence[Score], settings: Sequence[Setting], strategies: Sequence[str], metric: str, block: str
) -> np.ndarray:
    """(blocks, strategies); blocks in which a strategy has no value are left out."""
    by = {(entry.setting, entry.strategy): entry for entry in scores}
    rows = []
    for setting in settings:
        own = [by[setting, strategy] for strategy in strategies]
        if block == "setting":
            rows.append([_mean(entry, metric) for entry in own])
        elif metric != "FG-Eff":  # one fit for all seeds
            seeds = set.intersection(*(set(entry.seeds) for entry in own)) if own else set()
            rows += [[_of_seed(entry, metric)[seed] for entry in own] for seed in sorted(seeds)]
    table = np.array(rows, dtype=float).reshape(len(rows), len(strategies))
    complete: np.ndarray = table[np.isfinite(table).all(axis=1)]
    return complete


def _mean(entry: Score, metric: str) -> float:
    if metric == "FG-Eff":
        return entry.ours.gamma if entry.ours.identifiable else math.nan
    return float(np.mean(list(_of_seed(entry, metric).values())))


def _of_seed(entry: Score, metric: str) -> Mapping[int, float]:
    values = entry.aubc if metric == "AUBC" else entry.final
    return dict(zip(entry.seeds, values.tolist(), strict=True))


def _settings(found: Sequence[Ranking]) -> int:
    return max((entry.test.blocks for entry in found if entry.block == "setting"), default=0)
