"""How good are the boxes that are proposed before a training ends? See `Cycle.query_early`.

    python Testing/benchmarks/early_boxes.py OUT [--arms final early random] [--seeds N ...] [--cycles 3]

Experiments as `nnactive simulate` makes them on the hippocampus images (`fast-cpu`, 20 boxes of 20x20x20 a
cycle, the first of five cycles), in which the clinician answers

    final     the boxes of `clasp-pe` when the training has ended
    early     only those of `clasp-pe` after its first part: somebody who never waits, the worst case
    random    boxes anywhere

An experiment that is there is not repeated, so finished ones of a study may be linked in as OUT/ARM/seed-N.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from cores import run_each
from run import HIPPOCAMPUS
from table import head, line, machine_line

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json
from nnactive_server.dataset import RawDataset
from nnactive_server.loop import Clock, project_lock
from nnactive_server.loop.proposal import read_proposal
from nnactive_server.segmentation import get_profile
from nnactive_server.study.settings import Settings
from nnactive_server.study.simulate import _nnunet, _Run
from nnactive_server.study.truth import Clinician

ARMS = {"final": "clasp-pe", "early": "clasp-pe", "random": "random"}
CYCLES = 5
"""Of the whole experiment: strategies plan their queries by it."""


class EarlyRun(_Run):
    """An experiment in which nobody waits for the end of a training to answer boxes."""

    def cycle(self, number: int, start: Path | None) -> None:
        if number == 0:
            self._start(start)
        cycle = self._cycle(number)
        cycle.update_labels()
        early = cycle.folder.early
        proposal = read_proposal(early) if early.queries.exists() else cycle.query_early()
        cycle.run(self._evaluate, query=False)
        self._answer(number + 1, [self._as_answer(query) for query in proposal or ()])


def one(out: Path, arm: str, seed: int, cycles: int) -> None:
    """The first cycles of an experiment."""
    source = RawDataset.open(HIPPOCAMPUS)
    settings = Settings(ARMS[arm], CYCLES, 20, (20, 20, 20), seed, get_profile("fast-cpu"), views=0)
    out.mkdir(parents=True, exist_ok=True)
    with project_lock(out):
        kind = EarlyRun if arm == "early" else _Run
        run = kind(source, out, settings, Clinician(source), Clock(None), _nnunet)
        for number in range(cycles):
            run.cycle(number, None)
        run.summarise()


def finished(folder: Path, cycles: int) -> list[float] | None:
    """Mean Dice of the cycles of an experiment that is there."""
    path = folder / "summary.json"
    found = read_json(path, LoopError)["cycles"] if path.exists() else []
    dice = [cycle["mean_dice"] for cycle in found[:cycles] if cycle.get("mean_dice") is not None]
    return dice if len(dice) == cycles else None


def report(out: Path, arms: list[str], seeds: list[int], cycles: int) -> None:
    print(machine_line())
    print(
        head(
            "boxes answered", *(f"{20 * (n + 1)} boxes: mean Dice (spread over seeds)" for n in range(cycles))
        )
    )
    for arm in arms:
        rows = [finished(out / arm / f"seed-{seed}", cycles) for seed in seeds]
        columns = list(zip(*(row for row in rows if row), strict=True))
        print(line(arm, *(f"{statistics.mean(c):.3f} ({statistics.stdev(c):.3f})" for c in columns)))
        for seed, row in zip(seeds, rows, strict=True):
            print(line(f"{arm}, seed {seed}", *(f"{value:.3f}" for value in row or ())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[12345, 12346, 12347])
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="experiments at the same time, a core each")
    parser.add_argument("--one", action="store_true", help="in this process, as the others are started")
    options = parser.parse_args()
    out = options.out.resolve()
    if options.one:
        one(
            out / options.arms[0] / f"seed-{options.seeds[0]}",
            options.arms[0],
            options.seeds[0],
            options.cycles,
        )
        return
    command = [sys.executable, __file__, str(out), "--cycles", str(options.cycles), "--one"]
    todo = [
        [*command, "--arms", arm, "--seeds", str(seed)]
        for arm in options.arms
        for seed in options.seeds
        if finished(out / arm / f"seed-{seed}", options.cycles) is None
    ]
    run_each(todo, options.workers)
    report(out, options.arms, options.seeds, options.cycles)


if __name__ == "__main__":
    main()
