"""All statistics of a study in one value, and as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.evaluation.comparison import PenaltyMatrix
from nnactive_server.study.analysis import tables
from nnactive_server.study.analysis.compare import (
    RankAgreement,
    Ranking,
    agreements,
    penalties,
    rankings,
)
from nnactive_server.study.analysis.results import StudyResults
from nnactive_server.study.analysis.scores import (
    BASELINE,
    NextCycle,
    Saving,
    Score,
    next_cycle,
    saving,
    score,
)
from nnactive_server.study.analysis.table import Table


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything a study says.

    Attributes:
        results: what was read.
        scores: every strategy in every setting.
        penalties: pairwise penalty matrix, as published and with Holm's correction.
        rankings: by every metric and kind of block.
        agreements: Kendall's tau of pairs of settings.
        savings: against the baseline; empty where no setting holds it.
        next_cycles: what one more cycle would bring.
    """

    results: StudyResults
    scores: tuple[Score, ...]
    penalties: tuple[PenaltyMatrix, PenaltyMatrix]
    rankings: tuple[Ranking, ...]
    agreements: tuple[RankAgreement, ...]
    savings: tuple[Saving, ...]
    next_cycles: tuple[NextCycle, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables; those without rows have nothing to say."""
        plain, holm = self.penalties
        return (
            tables.scores_table(self.scores),
            tables.means_table(self.scores),
            tables.efficiency_table(self.scores),
            tables.targets_table(self.scores),
            tables.penalty_table(plain),
            tables.penalty_table(holm),
            tables.ranks_table(self.rankings),
            tables.nemenyi_table(self.rankings),
            tables.agreement_table(self.agreements),
            tables.classes_table(self.scores),
            tables.savings_table(self.savings),
            tables.next_table(self.next_cycles),
            tables.triage_table(self.results),
            tables.times_table(self.results),
            tables.seeds_table(self.scores),
            tables.rows_table(self.results),
        )


def compute(results: StudyResults, baseline: str = BASELINE) -> Analysis:
    """All statistics of a study.

    Raises:
        LoopError: no experiment is finished.
    """
    if not results.units:
        missing = f" ({results.left_out[0]})" if results.left_out else ""
        raise LoopError(
            f"{results.name}: no experiment is finished yet{missing}; run `nnactive study run` to the end"
        )
    each = [(setting, strategy) for setting in results.settings for strategy in results.strategies(setting)]
    scores = tuple(score(results, *one) for one in each)
    against = [(s, name) for s, name in each if name != baseline and results.of(s, baseline)]
    return Analysis(
        results,
        scores,
        (penalties(results, correct=False), penalties(results, correct=True)),
        rankings(scores),
        agreements(scores),
        tuple(saving(results, setting, strategy, baseline) for setting, strategy in against),
        tuple(next_cycle(results, *one) for one in each),
    )


def document(analysis: Analysis) -> dict[str, Any]:
    """All tables but the raw cycles, as plain values."""
    results = analysis.results
    return {
        "study": results.name,
        "experiments": len(results.units),
        "left_out": list(results.left_out),
        "full_dice": [
            {"dataset": dataset, "profile": profile, "dice": list(values)}
            for (dataset, profile), values in sorted(results.full.items())
        ],
        "tables": {t.name: t.documents() for t in analysis.tables if t.rows and t.name != "rows"},
        "versions": dict(results.versions),
    }
