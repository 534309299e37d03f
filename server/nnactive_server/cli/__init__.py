"""The command `nnactive`.

Commands import what they need when they run: `nnactive --help` loads neither torch nor nnU-Net.
"""

from __future__ import annotations

import typer

from nnactive_server.cli import doctor, experiments, projects, queries, server

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
queries.register(app)
projects.register(app)
server.register(app)
doctor.register(app)


def main() -> None:
    """Entry point of the console script."""
    app()
