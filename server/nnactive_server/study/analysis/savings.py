"""`saving.json`: what each strategy of a study saves, in a few numbers that `nnactive serve --study` reads.

    {
      "format": "nnactive-saving", "version": 1,
      "study": name of the study,
      "baseline": strategy that the savings are told against,
      "savings": [
        {
          "dataset", "regime", "profile": where it was simulated,
          "strategy": its label in the study,
          "name": of the strategy,
          "parameters": those that differ from its own,
          "patches":    {"mean", "low", "high", "seeds"},
          "foreground": the same
        }, ...
      ]
    }

`patches` is the share of the baseline's patches saved for the same Dice, `foreground` that of its voxels of
structures: 0.2 is a fifth saved, negative more needed. The ends are those of a 95 % interval over paired
seeds; null where there are too few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnactive_server.core.economy import Estimate, number
from nnactive_server.study.analysis.results import StudyResults
from nnactive_server.study.analysis.scores import Saving

SAVING = "saving.json"
FORMAT, VERSION = "nnactive-saving", 1


def saving_document(results: StudyResults, savings: Sequence[Saving], baseline: str) -> dict[str, Any]:
    """The content of `saving.json`."""
    choices = {
        choice["label"]: choice
        for unit in results.plan.get("units") or []
        if isinstance(choice := unit.get("strategy"), Mapping)
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "study": results.name,
        "baseline": baseline,
        "savings": [_entry(one, choices.get(one.strategy, {})) for one in savings],
    }


def _entry(saving: Saving, choice: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dataset": saving.setting.dataset,
        "regime": saving.setting.regime,
        "profile": saving.setting.profile,
        "strategy": saving.strategy,
        "name": choice.get("name", saving.strategy),
        "parameters": dict(choice.get("changes", {})),
        "patches": plain(saving.patches),
        "foreground": plain(saving.foreground),
    }


def plain(estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON; None where there is no value."""
    ends = {name: number(getattr(estimate, name)) for name in ("mean", "low", "high")}
    return {**ends, "seeds": estimate.count}
