"""How many crops a second an ensemble's members train with, one after the other and at the same time.

    python Testing/benchmarks/members.py                     on a GPU: the published profile, five members
    python Testing/benchmarks/members.py --profile fast-cpu --at-once 1 2    on two cores, some minutes

Hippocampus images when they are there, phantoms otherwise. The rate is that of the middle of the training,
without the start of processes. Beside it stock nnU-Net's trainer, one member, on the same plan and device:
with its batches made in the same process, and its network alone, as if batches cost it nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

from run import source
from table import head, line, machine_line
from train import Bench
from train_stock import split_seconds, stock_step

from nnactive_server.core.monitor import Monitor
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.profiles import Ensemble
from nnactive_server.segmentation.training import ensemble


class Pace(Monitor):
    """Remembers how many steps were done when."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, int]] = []

    def report(self, stage: str, done: int, total: int, detail: str = "") -> None:  # noqa: ARG002
        if stage == "train":
            self.seen.append((time.perf_counter(), done))

    def rate(self) -> float:
        """Steps a second between a fifth and four fifths of all."""
        last = self.seen[-1][1]
        middle = [entry for entry in self.seen if last / 5 <= entry[1] <= 4 * last / 5]
        (begin, first), (end, second) = middle[0], middle[-1]
        return (second - first) / (end - begin)


def together(bench: Bench, count: int) -> float:
    """Steps a second of all members, so many of them at the same time on one device."""
    pace, hardware = Pace(), bench.hardware
    place = replace(hardware, threads=max(1, hardware.threads // count))
    engine = Engine(bench.project, bench.folder / "work", bench.profile, pace, hardware)
    with (
        mock.patch.object(Hardware, "apart", return_value=(place,) * count if count > 1 else ()),
        mock.patch.object(ensemble, "WORTH_STEPS", 1),
    ):
        engine.train(bench.folder / f"members_{count}", cases=bench.project.cases, seed=1, cycle=0)
    return pace.rate()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500, help="of each member")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--stock-steps", type=int, default=30)
    options = parser.parse_args()
    profile = get_profile(
        options.profile,
        members=options.members,
        iterations=options.steps,
        first_iterations=None,
        ensemble=Ensemble.FOLDS,
    )
    print(machine_line())
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(source(Path(name)), Path(name), profile)
        crops = bench.plan.configuration.batch_size
        stock = stock_step(bench.project, bench.plan, bench.folder / "stock", bench.hardware.device)
        with stock as (batch, step):
            data, network = split_seconds(batch, step, options.stock_steps, bench.finish)
        whole, alone = crops / (data + network), crops / network
        print(f"{bench.title()}; crops a second\n")
        print(head("training", "crops/s", "to stock with its batches", "to stock's network alone"))
        print(line("stock nnU-Net, one member", f"{whole:.1f}; its network alone {alone:.1f}", "", ""))
        for count in options.at_once:
            rate = crops * together(bench, count)
            what = f"ours, {options.members} members, {count} at the same time"
            print(line(what, f"{rate:.1f}", f"{rate / whole:.2f}x", f"{rate / alone:.2f}x"), flush=True)


if __name__ == "__main__":
    main()
