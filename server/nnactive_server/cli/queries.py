"""`nnactive query`: what another strategy would have proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from nnactive_server.cli.session import Json, With, session, settings

if TYPE_CHECKING:
    from nnactive_server.core.monitor import Monitor
    from nnactive_server.dataset import RawDataset
    from nnactive_server.loop import Answer, SegmentationEngine
    from nnactive_server.query import Query, Shortage

_COLUMNS = (
    "rank", "case", "start", "size", "group", "score", "pct.", "PE", "MI", "predicted", "nearest",
)  # fmt: skip
_WORDS = ("case", "group", "predicted")
_LEGEND = (
    "Start, size: voxels (z y x); pct.: percentile among all places of the pool; PE: predictive entropy, "
    "MI: mutual information, means over the patch in nats; nearest: distance to an annotated box."
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(query)


def query(
    project: Annotated[Path, typer.Argument(help="The folder of a simulation, finished or not.")],
    strategy: Annotated[str, typer.Option(help="How patches are chosen, e.g. clasp-pe, bald, coreset.")],
    cycle: Annotated[
        int | None,
        typer.Option(help="Number of the folder cycle_NNN, from 0; the newest trained one unless given."),
    ] = None,
    query_size: Annotated[int | None, typer.Option(help="Patches to propose.")] = None,
    patch: Annotated[
        tuple[int, int, int] | None, typer.Option(metavar="Z Y X", help="Patch size in voxels.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    stride: Annotated[
        tuple[int, int, int] | None, typer.Option(metavar="Z Y X", help="Voxels between candidates.")
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Largest share of a patch that other patches may hold, below 1.")
    ] = None,
    patches_per_image: Annotated[int | None, typer.Option(help="Most patches of one image.")] = None,
    change_strategy: With = None,
    out: Annotated[Path | None, typer.Option(help="Write the JSON document to this file too.")] = None,
    as_json: Json = False,
) -> None:
    """Ask another strategy which patches it would propose after a cycle, without training again.

    Takes seconds where the cycle's maps are stored: those of the newest queried cycle are. Cases without
    stored maps are predicted with the cycle's members first, and what was computed is kept for the next
    question. Unless given here, everything is as the cycle was begun. Boxes annotated after the cycle do not
    count. Strategies that look at labels (random-fg-33, random-fg-66) get the current prediction, as in real
    use; in a simulation they get the truth, so their answer here differs.

    Example: nnactive query runs/clasp-1 --strategy bald

    Example: nnactive query runs/clasp-1 --strategy power-pe --with beta=10 --query-size 50 --out query.json
    """
    parameters = settings(change_strategy, "--with")
    changes = {
        "query_size": query_size,
        "patch_size": patch,
        "seed": seed,
        "stride": stride,
        "overlap": overlap,
        "patches_per_image": patches_per_image,
    }
    with session(as_json) as run:
        from nnactive_server.core.files import write_json
        from nnactive_server.loop import requery

        answer = requery(
            project,
            strategy,
            _engine,
            cycle=cycle,
            strategy_parameters=parameters,
            changes={name: value for name, value in changes.items() if value is not None},
            monitor=run.monitor,
        )
        document = answer.to_json()
        if out is not None:
            write_json(out, document)
        run.result(document, Group(*_shown(answer, out)))


def _engine(
    project: RawDataset, workdir: Path, profile: Mapping[str, Any], monitor: Monitor
) -> SegmentationEngine:
    from nnactive_server.segmentation import Engine, get_profile  # imports torch, which takes seconds

    return Engine(project, workdir, get_profile(**profile), monitor)


def _shown(answer: Answer, out: Path | None) -> list[Table | Text]:
    classes = answer.project.labels.classes
    computed = f", {answer.computed} cases computed first" if answer.computed else ""
    lines = [
        *(_shortage(shortage, classes) for shortage in answer.proposal.shortages),
        f"{len(answer.proposal)} of {answer.proposal.query_size} patches in {answer.seconds:.1f} s{computed}",
        *([f"Written: {out}"] if out else []),
    ]
    return [_table(answer, classes), Text(_LEGEND, style="dim"), *map(Text, lines)]


def _table(answer: Answer, classes: Sequence[str]) -> Table:
    title = f"{answer.strategy.name} after cycle {answer.cycle + 1} (cycle_{answer.cycle:03d})"
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        justify: JustifyMethod = "left" if name in _WORDS else "right"
        # On a narrow terminal the words give way, not the numbers.
        table.add_column(name, justify=justify, no_wrap=name != "predicted", min_width=len(name))
    for query in answer.proposal:
        table.add_row(*map(Text, _row(query, classes)))
    return table


def _row(query: Query, classes: Sequence[str]) -> list[str]:
    from nnactive_server.query import group_class
    from nnactive_server.query.words import class_name

    why, value = query.why, group_class(query.group)
    shares = sorted(why.class_shares.items(), key=lambda entry: -entry[1])
    return [
        str(query.rank),
        query.case,
        " ".join(map(str, query.start)),
        " ".join(map(str, query.size)),
        f"{query.group} {class_name(value, classes)}" if value else query.group,
        f"{query.score:.4g}",
        _number(why.percentile, ".1f"),
        _number(why.measures.get("predictive_entropy"), ".3f"),
        _number(why.measures.get("mutual_information"), ".4f"),
        ", ".join(f"{class_name(v, classes)} {share:.0%}" for v, share in shares if share >= 0.005) or "–",
        "–" if why.nearest_mm is None else f"{why.nearest_mm:.0f} mm",
    ]


def _shortage(shortage: Shortage, classes: Sequence[str]) -> str:
    from nnactive_server.query import group_class
    from nnactive_server.query.words import class_name

    value = group_class(shortage.group)
    name = f" ({class_name(value, classes)})" if value else ""
    return (
        f"Note: {shortage.group}{name}: only {shortage.found} of {shortage.asked} patches found a free place"
    )


def _number(value: float | None, digits: str) -> str:
    return "–" if value is None else format(value, digits)
