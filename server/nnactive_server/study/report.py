"""One HTML file that tells what a run achieved, where the model was unsure, and what it cost."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.files import atomic_path
from nnactive_server.evaluation import QueryView, plots
from nnactive_server.query import Query, describe
from nnactive_server.study import report_html as html
from nnactive_server.study.report_data import Proposal, Run, read_run, shown_number
from nnactive_server.study.summary import STAGES

PICTURES_PER_CYCLE = 4
_STAGE_NAMES = {
    "label_update": "label update",
    "train": "training",
    "predict": "prediction",
    "query": "query",
    "evaluate": "evaluation",
}

log = logging.getLogger(__name__)


def write_report(run: Path, out: Path | None = None, compare: Sequence[Path] = ()) -> Path:
    """Write the report of a finished or unfinished run.

    Args:
        run: the run's folder.
        out: the HTML file to write; `report.html` in the run's folder when not given.
        compare: folders of other runs, drawn into the learning curve.

    Returns:
        The file written.

    Raises:
        LoopError: a folder is not that of a run.
    """
    target = out or run / "report.html"
    text = _document(read_run(run), [read_run(folder) for folder in compare])
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def _document(run: Run, others: Sequence[Run]) -> str:
    title = f"Active learning on {run.setting('dataset', run.name)}"
    sections = (
        _summary(run, others),
        _learning(run, others),
        _classes(run),
        _cycles(run),
        _members(run),
        _proposed(run),
        _times(run),
        _settings(run),
    )
    return html.page(title, [html.heading(1, title), *(piece for pieces in sections for piece in pieces)])


def _summary(run: Run, others: Sequence[Run]) -> list[str]:
    scored = [c for c in run.cycles if math.isfinite(c.dice)]
    if not run.cycles:
        return [html.paragraph("No cycle is finished yet; the report grows as the run goes on.", "lead")]
    if not scored:
        last = run.cycles[-1]
        return [
            html.paragraph(
                f"{html.whole(last.patches)} boxes are annotated after "
                f"{html.counted(len(run.cycles), 'cycle')}. "
                "There are no held-out scans with a reference, so the model's quality is not measured.",
                "lead",
            )
        ]
    first, last = scored[0], scored[-1]
    share = f" ({html.percent(last.foreground)} of the structures)" if math.isfinite(last.foreground) else ""
    held_out = (
        "the held-out scans" if run.test_cases is None else html.counted(run.test_cases, "held-out scan")
    )
    lead = (
        f"After annotating {html.whole(last.patches)} boxes{share} the model reaches a Mean Dice of "
        f"{html.decimal(last.dice)} on {held_out}."
    )
    details = []
    if len(scored) > 1:
        details.append(f"It started at {html.decimal(first.dice)} with {html.whole(first.patches)} boxes.")
    details += [_class_sentence(run), *_comparisons(run, others), _cost_sentence(run)]
    meaning = (
        "Dice measures how well the model's outline overlaps the reference: 1 is perfect, 0 is no overlap."
    )
    return [
        html.paragraph(lead, "lead"),
        html.paragraph(" ".join(filter(None, details))),
        html.paragraph(meaning, "note"),
    ]


def _class_sentence(run: Run) -> str:
    dice = [
        (d, name) for d, name in zip(run.cycles[-1].per_class, run.labels, strict=True) if math.isfinite(d)
    ]
    if len(dice) < 2:
        return ""
    (low, hardest), (high, easiest) = min(dice), max(dice)
    return f"Best now is {easiest} ({html.decimal(high)}), hardest is {hardest} ({html.decimal(low)})."


def _comparisons(run: Run, others: Sequence[Run]) -> list[str]:
    """What each other run reaches with as many boxes."""
    mine, sentences = run.curve(""), []
    for other, name in zip(others, _names([run, *others])[1:], strict=True):
        curve = other.curve(name)
        if curve.patches and curve.patches[0] <= mine.patches[-1] <= curve.patches[-1]:
            dice = float(np.interp(mine.patches[-1], curve.patches, curve.dice))
            sentences.append(f"With as many boxes, {name} reaches {html.decimal(dice)}.")
    return sentences


def _cost_sentence(run: Run) -> str:
    total = sum(sum(c.seconds.values()) for c in run.cycles)
    return f"Computing took {html.duration(total)} in all." if total else ""


def _learning(run: Run, others: Sequence[Run]) -> list[str]:
    runs = [run, *others]
    curves = [r.curve(name) for r, name in zip(runs, _names(runs), strict=True)]
    if not curves[0].dice:
        return []
    caption = (
        "Mean Dice on the held-out scans after each cycle. Left: against the number of annotated boxes. "
    )
    caption += (
        "Right: against the annotated share of all structure voxels, closer to the work of a clinician."
    )
    chart = html.picture(plots.png(plots.learning_curve(curves, run.full_dice)), caption, "chart")
    area = f"Area under the curve over cycles (AUBC): {html.decimal(run.aubc, 3)}."
    note = html.paragraph(area, "note") if math.isfinite(run.aubc) else ""
    return [html.heading(2, "Learning curve"), chart, note]


def _names(runs: Sequence[Run]) -> list[str]:
    """A short name each: the strategy, with seed or folder where that is not enough."""
    names = [run.setting("strategy") or run.name for run in runs]
    for extra in (lambda run: f"seed {run.setting('seed', '?')}", lambda run: run.name):
        repeats = Counter(names)
        names = [
            f"{name}, {extra(run)}" if repeats[name] > 1 else name
            for name, run in zip(names, runs, strict=True)
        ]
    return names


def _classes(run: Run) -> list[str]:
    scored = [c for c in run.cycles if any(math.isfinite(d) for d in c.per_class)]
    if not scored:
        return []
    dice = np.array([c.per_class for c in scored])
    figure = plots.class_curves([c.patches for c in scored], dice, run.labels)
    caption = "Dice of each structure on the held-out scans after each cycle."
    return [html.heading(2, "Each structure"), html.picture(plots.png(figure), caption, "chart")]


def _cycles(run: Run) -> list[str]:
    if not run.cycles:
        return []
    head = ["cycle", "boxes", "voxels", "share of structures", "Mean Dice", *run.labels]
    rows = [
        [
            str(c.shown),
            html.whole(c.patches),
            html.whole(c.annotated_voxels),
            html.percent(c.foreground),
            html.decimal(c.dice, 3),
            *(html.decimal(d, 3) for d in c.per_class),
        ]
        for c in run.cycles
    ]
    notes = [
        f"Query of cycle {c.shown}: only {found} of {asked} boxes {group_name(group, run.labels)} found a "
        "free place; others took the rest as far as there was room."
        for c in run.cycles
        for group, asked, found in c.shortages
    ]
    shortages = [html.paragraph(note, "note") for note in notes]
    return [html.heading(2, "Cycles"), html.table(head, rows), *shortages]


def _members(run: Run) -> list[str]:
    rows = [
        [str(c.shown), html.decimal(c.pairwise_dice, 3), html.decimal(c.mutual_information, 4)]
        for c in run.cycles
        if math.isfinite(c.pairwise_dice) or math.isfinite(c.mutual_information)
    ]
    if not rows:
        return []
    note = "Several models are trained in each cycle. Where they disagree, the prediction is unsure: "
    note += "agreement of 1 would mean that they all draw the same outline and cannot warn of anything."
    head = ["cycle", "agreement (pairwise Dice)", "mutual information (nats)"]
    return [
        html.heading(2, "Agreement of the models"),
        html.paragraph(note, "note"),
        html.table(head, rows),
    ]


def _proposed(run: Run) -> list[str]:
    """Pictures of the queries, last cycle first."""
    pieces = []
    for number in sorted(run.proposals, reverse=True):
        shown = _with_views(_varied(run.proposals[number]))
        if shown:
            top = max(view.heat_top for _, view in shown)
            pictures = [
                html.picture(
                    plots.png(plots.query_picture(view, top), 130),
                    _caption(query, run),
                    detail=_numbers(query),
                )
                for query, view in shown
            ]
            count = f"{len(shown)} of {len(run.proposals[number])} boxes"
            text = f"Proposed after cycle {shown_number(number)}: {count}"
            pieces += [html.heading(3, text), html.grid(pictures)]
    if not pieces:
        return []
    note = "Slices through the middle of each box, seen as in the reading room: the patient's right (R) is "
    note += "on the left. Bright colours show where the models are unsure."
    return [html.heading(2, "Proposed boxes"), html.paragraph(note, "note"), *pieces]


def _varied(queries: Sequence[Proposal]) -> list[Proposal]:
    """Best first, but every group has its turn: first the best of each, then the second best."""
    seen: Counter[str] = Counter()
    turns = []
    for entry in sorted(queries, key=lambda proposal: proposal.query.rank):
        turns.append((seen[entry.query.group], entry.query.rank, entry))
        seen[entry.query.group] += 1
    return [entry for _, _, entry in sorted(turns, key=lambda turn: turn[:2])]


def _with_views(proposals: Sequence[Proposal]) -> list[tuple[Query, QueryView]]:
    found: list[tuple[Query, QueryView]] = []
    for entry in proposals:
        if len(found) == PICTURES_PER_CYCLE:
            break
        if entry.view.is_file():
            try:
                found.append((entry.query, QueryView.load(entry.view)))
            except NNActiveError as problem:
                log.warning("left out of the report: %s", problem)
    return found


def _caption(query: Query, run: Run) -> str:
    """Which box this is and why it was chosen, for a radiologist."""
    which = ", ".join(filter(None, (query.case, f"rank {query.rank}", group_name(query.group, run.labels))))
    return f"{which}. {describe(query, run.labels)}".strip()


def _numbers(query: Query) -> str:
    """The same for those who compare numbers."""
    means = [f"{k.replace('_', ' ')} {html.decimal(v, 3)}" for k, v in query.why.measures.items()]
    inside = f"; in the box: {', '.join(means)} (nats)" if means else ""
    return f"score {html.decimal(query.score)}{inside}"


def group_name(group: str, labels: Sequence[str]) -> str:
    """What a query's group is called in words: the class it was chosen for, or all structures."""
    value = group.removeprefix("class-")
    if value != group and value.isdecimal() and 1 <= int(value) <= len(labels):
        return f"for {labels[int(value) - 1]}"
    return "over all structures" if group == "plain" else group


def _times(run: Run) -> list[str]:
    timed = [c for c in run.cycles if c.seconds]
    if not timed:
        return []
    known = [stage for stage in STAGES if any(stage in c.seconds for c in timed)]
    stages = known + sorted({stage for c in timed for stage in c.seconds} - set(known))
    columns = {_STAGE_NAMES.get(s, s): [c.seconds.get(s, math.nan) for c in timed] for s in stages}
    filled = {name: np.nan_to_num(values) for name, values in columns.items()}
    totals = np.sum(list(filled.values()), axis=0)
    rows = [
        [str(c.shown), *(html.duration(v[i]) for v in columns.values()), html.duration(totals[i])]
        for i, c in enumerate(timed)
    ]
    rows.append(["all", *(html.duration(v.sum()) for v in filled.values()), html.duration(totals.sum())])
    figure = plots.stage_times([c.shown for c in timed], {n: v.tolist() for n, v in filled.items()})
    return [
        html.heading(2, "Computing time"),
        html.picture(plots.png(figure), "Time of each stage in each cycle.", "chart"),
        html.table(["cycle", *columns, "total"], rows),
    ]


def _settings(run: Run) -> list[str]:
    settings = [[key.replace("_", " "), _plain(value)] for key, value in run.settings.items()]
    versions = [[name, version] for name, version in run.versions.items()]
    pieces = [html.heading(2, "Settings and versions")] if settings or versions else []
    pieces.append(html.table(["setting", "value"], settings, "words"))
    return [*pieces, html.table(["package", "version"], versions, "words")]


def _plain(value: object) -> str:
    """A setting for people: 8 × 16 × 16, not brackets; nested settings as "name value, name value"."""
    if isinstance(value, list):
        numbers = all(isinstance(v, int | float) for v in value)
        return (" × " if numbers else ", ").join(_plain(v) for v in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{k.replace('_', ' ')} {_plain(v)}" for k, v in value.items()) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
