"""What each strategy asked for first: slices of the proposed patches, where the experiments kept them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation import QueryView
from nnactive_server.evaluation.plots import query_montage
from nnactive_server.study.analysis.figures import Picture
from nnactive_server.study.analysis.results import Setting, StudyResults, Unit
from nnactive_server.study.report_data import Proposal, read_run

SHOWN = 4
_NOTE = (
    "Slices through the middle of each patch, above with the outlines, below with the uncertainty; the "
    "patient's right (R) is on the left."
)

log = logging.getLogger(__name__)


def montages(results: StudyResults, setting: Setting, place: str) -> list[Picture]:
    """The best patches of the first query of each strategy's first seed; none where no views are kept."""
    found = []
    for strategy in results.strategies(setting):
        views, captions = _first_query(results.of(setting, strategy)[0])
        if views:
            who = f"{setting}: first query of {strategy}"
            figure = query_montage(views, captions)
            found.append(Picture(f"query_{place}_{strategy}", figure, f"{who}. {_NOTE}"))
    return found


def _first_query(unit: Unit) -> tuple[list[QueryView], list[str]]:
    proposals = read_run(unit.folder).proposals
    for _, entries in sorted(proposals.items()):
        views, captions = _loaded(entries)
        if views:
            return views, captions
    return [], []


def _loaded(entries: Sequence[Proposal]) -> tuple[list[QueryView], list[str]]:
    views, captions = [], []
    for entry in sorted((e for e in entries if e.view.exists()), key=lambda e: e.query.rank)[:SHOWN]:
        try:
            views.append(QueryView.load(entry.view))
        except NNActiveError as problem:
            log.warning("left out of the report: %s", problem)
            continue
        captions.append(f"{entry.query.case}, rank {entry.query.rank}")
    return views, captions
