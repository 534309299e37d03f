"""`nnactive demo` and `nnactive simulate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from nnactive_server.cli.session import Json, With, session, settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(demo)
    app.command()(simulate)


def demo(
    data: Annotated[
        Path | None, typer.Option(help="A completely labelled data set in nnU-Net's raw layout.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for data, run and report.")] = Path("nnactive-demo"),
    as_json: Json = False,
) -> None:
    """Show the whole loop in a few minutes, with a simulated clinician and a report at the end.

    Without --data it makes synthetic volumes with three organs. Stop it with Ctrl-C and start it
    again to continue.

    Example: nnactive demo --out /tmp/demo
    """
    with session(as_json) as run:
        from nnactive_server.study.demo import demo as show

        made = show(data, out, monitor=run.monitor)
        text = Group(summary_table(made.summary), f"Report: {made.report}")
        run.result({"run": str(made.run), "report": str(made.report), "summary": made.summary}, text)


def simulate(
    dataset: Annotated[Path, typer.Argument(help="Completely labelled data set in nnU-Net's raw layout.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run in it is continued.")],
    patch: Annotated[
        tuple[int, int, int], typer.Option(metavar="Z Y X", help="Patch size in voxels, three numbers.")
    ],
    query_size: Annotated[int, typer.Option(min=1, help="Patches annotated between two trainings.")],
    strategy: Annotated[str, typer.Option(help="How patches are chosen, e.g. clasp-pe, bald, random.")] = (
        "clasp-pe"
    ),
    cycles: Annotated[int, typer.Option(min=1, help="Number of trainings.")] = 5,
    seed: Annotated[int, typer.Option(help="Of everything random; another seed is another run.")] = 12345,
    profile: Annotated[
        str, typer.Option(help="How long a training is: smoke, fast-cpu, paper, deploy.")
    ] = "fast-cpu",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the profile; repeat."),
    ] = None,
    start_size: Annotated[
        int | None, typer.Option(min=1, help="Patches before the first training.  [default: --query-size]")
    ] = None,
    patches_per_image: Annotated[
        int | None, typer.Option(min=1, help="Most patches of one image in a query.  [default: --query-size]")
    ] = None,
    stride: Annotated[
        tuple[int, int, int], typer.Option(metavar="Z Y X", help="Voxels between candidates.")
    ] = (1, 1, 1),
    overlap: Annotated[
        float, typer.Option(help="Largest share of a patch that other patches may hold, below 1.")
    ] = 0.0,
    change_strategy: With = None,
    report: Annotated[bool, typer.Option(help="Write report.html into the run's folder.")] = True,
    as_json: Json = False,
) -> None:
    """Run an active-learning experiment on a labelled data set, whose labels stay hidden until asked for.

    About a quarter of the cases is set aside for testing, always the same ones. Results so far are in
    summary.json at any time. The same command continues a run that was stopped.

    Example: nnactive simulate Dataset004_Hippocampus --patch 20 20 20 --query-size 20 --out runs/clasp-1

    Settings of a profile are described in segmentation/profiles.py, e.g. --set members=3; parameters of a
    strategy in query/strategies, e.g. --with beta=10
    """
    overrides, parameters = settings(change, "--set"), settings(change_strategy, "--with")
    with session(as_json) as run:
        from nnactive_server.dataset import RawDataset
        from nnactive_server.segmentation import get_profile
        from nnactive_server.study.report import write_report
        from nnactive_server.study.simulate import Settings
        from nnactive_server.study.simulate import simulate as experiment

        asked = Settings(
            strategy,
            cycles,
            query_size,
            patch,
            seed,
            get_profile(profile, **overrides),
            start_size=start_size,
            patches_per_image=patches_per_image,
            strategy_parameters=parameters,
            stride=stride,
            overlap=overlap,
        )
        summary = experiment(RawDataset.open(dataset), out, asked, monitor=run.monitor)
        last = f"Report: {write_report(out)}" if report else f"Results: {out / 'summary.json'}"
        run.result(summary, Group(summary_table(summary), last))


def summary_table(summary: Mapping[str, Any]) -> Table:
    """The cycles of a summary.json for people."""
    table = Table(title=f"{summary['dataset']}, {summary['strategy']}, {summary['profile']}")
    for column in ("cycle", "patches", "annotated", "of the foreground", "Mean Dice", "time"):
        table.add_column(column, justify="right")
    for entry in summary["cycles"]:
        share = entry["foreground_fraction"]
        dice = entry["mean_dice"]
        table.add_row(
            str(entry["cycle"] + 1),
            str(entry["patches"]),
            f"{entry['annotated_voxels']:,} voxels",
            "–" if share is None else f"{share:.1%}",
            "–" if dice is None else f"{dice:.3f}",
            f"{sum(entry['seconds'].values()):.0f} s",
        )
    return table
