"""`nnactive study`: many experiments by one plan, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table

from nnactive_server.cli.progress import clock
from nnactive_server.cli.session import Json, session

OUT = Path("out")
Baseline = Annotated[str, typer.Option(help="Strategy that savings are told against.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Compare strategies by simulation: run all experiments of a plan, and say what they mean.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    group.command("run")(run)
    group.command("analyze")(analyze)
    group.command("cost")(cost)
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
        if dry:
            shown.result(forecast.to_json(), forecast.words)
            return
        typer.echo(forecast.words, err=True)
        done = study.run(shown.monitor)
        table = Table(title=f"{done.name}: {len(done.units)} experiments")
        for column in ("experiment", "state", "Dice", "time"):
            table.add_column(column, justify="left" if column == "experiment" else "right")
        for unit in done.units:
            dice = "–" if unit.final_dice is None else f"{unit.final_dice:.3f}"
            table.add_row(unit.name, unit.state, dice, clock(unit.seconds))
        text = Group(
            table,
            *done.problems,
            f"Results: {done.folder}; compare with: nnactive study analyze {done.folder}",
        )
        shown.result(done.to_json(), text, failed=bool(done.problems))


def analyze(
    study: Annotated[Path, typer.Argument(help="Folder of a study, finished or not.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables, figures and report.  [default: STUDY/analysis]")
    ] = None,
    baseline: Baseline = "random-fg-66",
    pictures: Annotated[
        bool, typer.Option(help="Draw slices of the proposed patches, where the experiments kept them.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Compare the strategies of a study: tables (CSV), figures (SVG, PNG) and one report (HTML).

    Experiments that are not finished are left out and named.

    Example: nnactive study analyze out/smoke
    """
    with session(as_json) as shown:
        from nnactive_server.study.analysis import analyze as compare
        from nnactive_server.study.analysis.analyze import ANALYSIS
        from nnactive_server.study.analysis.findings import document

        found = compare(study, out, baseline=baseline, pictures_of_patients=pictures)
        table = Table(title=f"{found.results.name}: {len(found.results.units)} experiments, Dice times 100")
        for column in ("setting", "strategy", "seeds", "AUBC", "Final Dice"):
            table.add_column(column, justify="left" if column in {"setting", "strategy"} else "right")
        for entry in found.scores:
            mean = (f"{100 * values.mean():.2f}" for values in (entry.aubc, entry.final))
            table.add_row(str(entry.setting), entry.strategy, str(len(entry.seeds)), *mean)
        missing = [f"Left out: {text}" for text in found.results.left_out]
        report = (out or study / ANALYSIS) / "report.html"
        shown.result(document(found) | {"report": str(report)}, Group(table, *missing, f"Report: {report}"))


def cost(
    study: Annotated[Path, typer.Argument(help="Folder of a study, finished or not.")],
    strategy: Annotated[str | None, typer.Option(help="Only this one.  [default: all]")] = None,
    baseline: Baseline = "random-fg-66",
    seconds_per_patch: Annotated[
        float | None, typer.Option(help="Time to annotate a patch, as the server's statistics measure it.")
    ] = None,
    clinician_hour: Annotated[
        float | None, typer.Option(help="What an hour of a clinician's work costs, in any money.")
    ] = None,
    machine_hour: Annotated[float, typer.Option(help="What an hour of computing costs, in the same.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Say in plain words what a strategy saves, and whether one more cycle is worth it.

    Savings are read where the strategy and the baseline reach the same Dice, seed by seed.

    Example: nnactive study cost out/smoke --strategy clasp-pe --seconds-per-patch 90
    """
    with session(as_json) as shown:
        from math import nan

        from nnactive_server.study.analysis import read_study
        from nnactive_server.study.analysis.cost import Prices, study_cost

        prices = Prices(
            nan if seconds_per_patch is None else seconds_per_patch,
            nan if clinician_hour is None else clinician_hour,
            machine_hour,
        )
        found = study_cost(read_study(study), prices, baseline, strategy)
        text = "\n\n".join("\n".join(entry.sentences) for entry in found)
        shown.result({"costs": [entry.document() for entry in found]}, text)
