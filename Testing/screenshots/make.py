"""Draws the pictures of the README from a finished demo (`make demo` first); `make screenshots`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nnactive_server.evaluation import QueryView, plots
from nnactive_server.query import Query, describe
from nnactive_server.study.report import group_name
from nnactive_server.study.report_data import read_run

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "Resources" / "Screenshots"


def caption(query: Query, classes: Sequence[str]) -> str:
    return f"{query.case}, rank {query.rank}, {group_name(query.group, classes)}. {describe(query, classes)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, default=ROOT / "out" / "demo" / "run")
    run = read_run(parser.parse_args().run)
    last = max(number for number, queries in run.proposals.items() if queries)
    shown = [entry for entry in run.proposals[last] if entry.view.exists()][:2]
    figures = {
        "learning-curve": plots.learning_curve([run.curve(run.setting("strategy"))]),
        "classes": plots.class_curves(
            [c.patches for c in run.cycles], [list(c.per_class) for c in run.cycles], run.labels
        ),
        "queries": plots.query_montage(
            [QueryView.load(entry.view) for entry in shown],
            [caption(entry.query, run.labels) for entry in shown],
        ),
    }
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        (PICTURES / f"{name}.png").write_bytes(plots.png(figure, 110))
        print(PICTURES / f"{name}.png")


if __name__ == "__main__":
    main()
