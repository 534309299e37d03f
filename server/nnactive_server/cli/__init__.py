"""The command `nnactive`.

Commands import what they need when they run: `nnactive --help` loads neither torch nor nnU-Net.
"""

from __future__ import annotations

import atexit
import gc
from typing import Annotated

import typer

from nnactive_server import __version__
from nnactive_server.cli import doctor, experiments, projects, queries, server, study

app = typer.Typer(
    name="nnactive",
    help=(
        "Train nnU-Net on partly labelled volumes and propose the 3D patches worth annotating next.\n\n"
        "Start with 'nnactive demo', which shows the whole loop in a few minutes, and with "
        "'nnactive doctor' when something does not work."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
experiments.register(app)
study.register(app)
queries.register(app)
projects.register(app)
server.register(app)
doctor.register(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"nnactive {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Handle what stands before the name of a command."""
    del version  # its callback has printed it


def main() -> None:
    """Entry point of the console script."""
    # Nothing is left to free; a last search of all that was loaded for cycles takes a quarter of a second.
    atexit.register(gc.freeze)
    app()
