"""`nnactive study`: many experiments by one plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table

from nnactive_server.cli.progress import clock
from nnactive_server.cli.session import Json, session

OUT = Path("out")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Compare strategies by simulation: run all experiments of a plan.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    group.command("run")(run)
    app.add_typer(group, name="study")


def run(
    config: Annotated[Path, typer.Argument(help="The plan, a YAML file; see study/plan.py for its keys.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study.  [default: out/NAME-OF-THE-PLAN]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Experiments at the same time.  [default: as the plan says]")
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Check the plan and say what it would do.")] = False,
    as_json: Json = False,
) -> None:
    """Run every experiment of a plan: data sets x regimes x profiles x strategies x seeds, and all labels.

    Each runs in a process of its own. Those that are done are skipped, and a study that was stopped, even
    killed, goes on with the same command. Disk use is told before anything begins.

    Example: nnactive study run Testing/studies/smoke.yaml
    """
    with session(as_json) as shown:
        from nnactive_server.study.plan import read_plan
        from nnactive_server.study.running import StudyRun

        study = StudyRun(read_plan(config), out or OUT / config.stem, workers)
        forecast = study.forecast()
        shown.monitor.say(forecast.words)
        if dry:
            shown.result(forecast.to_json(), forecast.words)
            return
        done = study.run(shown.monitor)
        table = Table(title=f"{done.name}: {len(done.units)} experiments")
        for column in ("experiment", "state", "Dice", "time"):
            table.add_column(column, justify="left" if column == "experiment" else "right")
        for unit in done.units:
            dice = "–" if unit.final_dice is None else f"{unit.final_dice:.3f}"
            table.add_row(unit.name, unit.state, dice, clock(unit.seconds))
        text = Group(table, *done.problems, f"Results: {done.folder}; compare with: nnactive study analyze {done.folder}")
        shown.result(done.to_json(), text, failed=bool(done.problems))
