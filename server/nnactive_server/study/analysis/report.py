"""The report of a study: one HTML file with everything in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nnactive_server.core.economy import stop_sentence
from nnactive_server.study import report_html as html
from nnactive_server.study.analysis.compare import shown_rankings
from nnactive_server.study.analysis.cost import saving_sentences
from nnactive_server.study.analysis.figures import Picture
from nnactive_server.study.analysis.findings import Analysis
from nnactive_server.study.analysis.results import Setting
from nnactive_server.study.analysis.table import Table
from nnactive_server.study.analysis.tables import ranks_table

_SEEDS_FOR_TESTS = 4
_SCORES, _TRIAGE = "AUBC and Final Dice", "Which cases will fail"
_TITLES = (_SCORES, _TRIAGE)
"""Sections that are called as their first table is."""


def report(analysis: Analysis, pictures: Sequence[Picture], drawn: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        analysis: what to tell.
        pictures: figures with captions.
        drawn: figure name to PNG.
    """
    # Of the rankings only those that are drawn; the CSV has all.
    drawn_ranks = ranks_table(shown_rankings(analysis.rankings))
    tables = {table.name: table for table in (*analysis.tables, drawn_ranks)}
    shown = _Shown(pictures, drawn)
    sections: tuple[list[str], ...] = (
        _lead(analysis),
        _section("Learning curves", shown.of("curves_")),
        _section(_SCORES, _tables(tables, "scores", "means")),
        _section("Who beats whom", shown.of("ppm")),
        _section("Ranks", shown.of("ranks"), _tables(tables, "ranks", "kendall")),
        _section(
            "Annotation efficiency", shown.of("fg_efficiency_"), _tables(tables, "fg_efficiency", "targets")
        ),
        _section("Each structure", shown.of("classes_"), _tables(tables, "classes")),
        _section("Does it pay?", _pays(analysis), _tables(tables, "savings", "next_cycle")),
        _section(_TRIAGE, _tables(tables, "triage")),
        _section("What was asked for", shown.of("query_")),
        _section("Computing time", _tables(tables, "times")),
        _missing(analysis),
        _settings(analysis),
    )
    title = f"Study {analysis.results.name}"
    return html.page(title, [html.heading(1, title), *(piece for pieces in sections for piece in pieces)])


class _Shown:
    """Pictures by the beginning of their name."""

    def __init__(self, pictures: Sequence[Picture], drawn: Mapping[str, bytes]) -> None:
        self._pictures, self._drawn = pictures, drawn

    def of(self, beginning: str) -> list[str]:
        """Pieces of HTML."""
        return [
            html.picture(self._drawn[picture.name], picture.caption, "chart")
            for picture in self._pictures
            if picture.name.startswith(beginning)
        ]


def _section(title: str, *pieces: Iterable[str]) -> list[str]:
    inside = [piece for part in pieces for piece in part if piece]
    return [html.heading(2, title), *inside] if inside else []


def _tables(tables: Mapping[str, Table], *names: str) -> list[str]:
    """Tables with their titles; one that says all its section says needs none."""
    shown = [tables[name] for name in names if tables[name].rows]
    return [("" if t.title in _TITLES else html.heading(3, t.title)) + t.html() for t in shown]


def _lead(analysis: Analysis) -> list[str]:
    results = analysis.results
    words = (
        f"{len(results.units)} finished experiments: {html.counted(len(results.settings), 'setting')}, "
        f"{html.counted(len(results.strategies()), 'strategy', 'strategies')}."
    )
    best = [html.paragraph(sentence) for setting in results.settings for sentence in _best(analysis, setting)]
    return [
        html.paragraph(words, "lead"),
        *best,
        *_ties(analysis),
        *_cautions(analysis),
        *_left_out(analysis),
    ]


def _ties(analysis: Analysis) -> list[str]:
    """Said plainly when nothing was shown to differ: a list of means suggests a winner."""
    _, corrected = analysis.penalties
    if len(corrected.methods) < 2 or np.nansum(corrected.wins) > 0:
        return []
    return [
        html.paragraph(
            "No strategy beats another at any budget once all comparisons are counted (paired t-tests over "
            "seeds, Holm's correction): the order above may be chance."
        )
    ]


def _best(analysis: Analysis, setting: Setting) -> list[str]:
    """Who leads a setting, and by how much against the spread."""
    own = [entry for entry in analysis.scores if entry.setting == setting]
    if len(own) < 2:
        return []
    first, second = sorted(own, key=lambda entry: -float(entry.final.mean()))[:2]
    full = analysis.results.full_dice(setting)
    of_all = f", {100 * first.final.mean() / full:.0f} % of that of all labels" if math.isfinite(full) else ""
    return [
        f"{setting}: the highest Final Dice has {first.strategy} ({_dice(first.final)}{of_all}), then "
        f"{second.strategy} ({_dice(second.final)})."
    ]


def _cautions(analysis: Analysis) -> list[str]:
    """What these numbers cannot carry."""
    results = analysis.results
    fewest = min(len(entry.seeds) for entry in analysis.scores)
    found = []
    if fewest < _SEEDS_FOR_TESTS:
        found.append(
            f"Some strategies have {html.counted(fewest, 'seed')} only (the papers use {_SEEDS_FOR_TESTS}): "
            "paired tests find large differences alone, and no win does not mean no difference."
        )
    if len({(entry.setting, entry.seeds) for entry in analysis.scores}) > len(results.settings):
        found.append(
            "Not all strategies have the same seeds, which begin with better or worse patches: means compare "
            "fairly once they do."
        )
    if len({setting.dataset for setting in results.settings}) == 1:
        found.append("All results are of one data set; another one may rank the strategies differently.")
    ranked = shown_rankings(analysis.rankings)
    absent = sorted({name for entry in ranked for name in entry.left_out})
    if absent:
        found.append(f"Not ranked, because some settings lack them: {', '.join(absent)}.")
    return [html.paragraph(text, "note") for text in found]


def _left_out(analysis: Analysis) -> list[str]:
    count = len(analysis.results.left_out)
    return (
        [html.paragraph(f"{html.counted(count, 'experiment')} left out, see below.", "note")] if count else []
    )


def _pays(analysis: Analysis) -> list[str]:
    found = [
        html.paragraph(sentence) for entry in analysis.savings for sentence in saving_sentences(entry)[:1]
    ]
    for entry in analysis.next_cycles:
        text = f"{entry.strategy} ({entry.setting}). {stop_sentence(entry.gain)}"
        found.append(html.paragraph(text, "note"))
    return found


def _missing(analysis: Analysis) -> list[str]:
    return _section("Left out", [html.paragraph(f"{text}.") for text in analysis.results.left_out])


def _settings(analysis: Analysis) -> list[str]:
    plan = [[str(key).replace("_", " "), _plain(value)] for key, value in analysis.results.plan.items()]
    versions = [[name, version] for name, version in analysis.results.versions.items()]
    return _section(
        "Plan and versions",
        [
            html.table(["setting", "value"], plan, "words"),
            html.table(["package", "version"], versions, "words"),
        ],
    )


def _plain(value: Any) -> str:
    """A setting for people; nested ones as "name value, name value"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(k).replace('_', ' ')} {_plain(v)}" for k, v in value.items()) or "–"
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return f"{len(value)}, see study.json"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _dice(values: Any) -> str:
    spread = f" ± {100 * values.std(ddof=1):.2f}" if values.size > 1 else ""
    return f"{100 * values.mean():.2f}{spread}"
