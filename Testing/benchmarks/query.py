"""Measures the query engine beside two plain baselines and prints markdown tables; `make bench-query`.

    python Testing/benchmarks/query.py            about four minutes on two cores
    python Testing/benchmarks/query.py --quick    a small input, under a minute: shows that it runs

Each row runs in a process of its own, which reads its input from a temporary folder into memory before any
clock starts. Memory is the rise of the process's peak (VmHWM) over its peak with the whole input loaded, so
the input itself does not count. Seconds are medians; the baselines run once and are stopped at a limit.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from apart import apart
from baseline_query import Pick, Stage
from limits import Least, Rates, least, places, rates
from query_work import Cost, Job, PoolCost, Shape, each, on_gpu, ours, pool, save_input, theirs
from table import head, line, machine_line

from nnactive_server.query import strategy_names

STRATEGIES = {"predictive-entropy": "PE", "clasp-pe": "ClaSP PE, beta 1", "bald": "BALD"}


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        shapes: of the images, each twice as many voxels as the one before; the last is the table's.
        members: of the ensemble.
        classes: with the background.
        patch: of the table.
        small_patch: of the smaller images, so that they have room for the patches as well.
        case: shape of one case of the pools.
        case_patch: patch there.
        pools: numbers of cases.
        repeats: runs of which the median counts.
        limit: seconds after which a baseline is stopped.
        copied: megabytes for the measurement of the bandwidth.
    """

    shapes: tuple[Shape, ...] = ((64, 128, 128), (128, 128, 128), (128, 256, 128), (128, 256, 256))
    members: int = 5
    classes: int = 4
    patch: Shape = (32, 64, 64)
    small_patch: Shape = (16, 32, 32)
    case: Shape = (16, 48, 48)
    case_patch: Shape = (8, 16, 16)
    pools: tuple[int, ...] = (10, 100, 1000)
    repeats: int = 5
    limit: float = 60.0
    copied: int = 512

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The rows of the first table."""
        asked = (("predictive-entropy", 1), ("clasp-pe", 1), ("bald", 8), ("bald", 1))
        return tuple(Job(name, self.patch, stride, repeats=self.repeats) for name, stride in asked)


QUICK = Scale(
    shapes=((16, 64, 64), (32, 64, 64)),
    patch=(8, 16, 16),
    small_patch=(4, 8, 8),
    case=(8, 16, 16),
    case_patch=(4, 8, 8),
    pools=(2, 8),
    repeats=1,
    limit=5.0,
    copied=8,
)
# What was asked for: seconds, and gigabytes above the input. The second BALD row is ours alone.
REACH = {("predictive-entropy", 1): "1.5 s", ("clasp-pe", 1): "3 s, 1.2 GB", ("bald", 8): "1.0 s"}


def name_of(job: Job) -> str:
    return f"{STRATEGIES.get(job.strategy, job.strategy)}, stride {job.stride}"


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def measured(folder: Path, shape: Shape, job: Job) -> Cost:
    return apart(ours, folder, shape, job)[0][0]


def side_by_side(folder: Path, scale: Scale) -> Iterator[tuple[Job, Cost, str]]:
    """Each job of the first table, what it cost, and its row."""
    shape = scale.shapes[-1]
    for job in scale.jobs:
        cost = measured(folder, shape, job)
        cells = ["", ""]
        if (job.strategy, job.stride) in REACH:
            cells = [baseline_cell(folder, scale, job, way, cost.picks) for way in ("plain", "fft")]
        reach = REACH.get((job.strategy, job.stride), "")
        times = (f"{seconds:.2f} s" for seconds in (cost.uncertainty, cost.choice))
        total = f"**{cost.total:.2f} s**"
        yield job, cost, line(name_of(job), reach, *times, total, gigabytes(cost.rise), *cells)


def baseline_cell(folder: Path, scale: Scale, job: Job, way: str, picks: Sequence[Pick]) -> str:
    found, stopped = apart(theirs, folder, scale.shapes[-1], job, way, limit=scale.limit)
    stages = [message for message in found if isinstance(message, Stage)]
    chosen = [message for message in found if isinstance(message, Pick)]
    cell = f"{sum(stage.seconds for stage in stages):.1f} s"
    if stopped:
        cell = f">{scale.limit:.0f} s (stopped with {len(chosen)} of {job.count} patches)"
    if "scores" in [stage.name for stage in stages]:
        before = sum(stage.seconds for stage in stages if stage.name != "choice")
        cell += f", {before:.1f} s of it before the choice"
    cell += f", {gigabytes(stages[-1].rise)}"
    return cell if job.strategy == "clasp-pe" else f"{cell}; {agreement(picks, chosen)}"


def agreement(picks: Sequence[Pick], others: Sequence[Pick]) -> str:
    """Whether a baseline chose what ours did, in the same order, as far as it came."""
    differing = [(a, b) for a, b in zip(picks, others, strict=False) if a.start != b.start]
    if not differing and len(picks) == len(others):
        return "same patches"
    if not differing:
        return f"the same {len(others)} patches as ours so far"
    shared = {pick.start for pick in picks} & {pick.start for pick in others}
    one, other = differing[0]
    apart_by = abs(one.score - other.score) / one.score
    return f"{len(shared)} of {len(others)} the same; scores of the first other one {apart_by:.0e} apart"


def bandwidth(jobs: Sequence[tuple[Job, Cost]], scale: Scale, rate: Rates) -> Iterator[str]:
    voxels = math.prod(scale.shapes[-1])
    for job, cost in jobs:
        count = places(scale.shapes[-1], job.patch, job.stride)
        steps = least(job.strategy, scale.members, scale.classes, voxels, count)
        for step, seconds in zip(steps, (cost.uncertainty, cost.choice), strict=True):
            yield limit_row(job, step, seconds, rate)


def limit_row(job: Job, step: Least, seconds: float, rate: Rates) -> str:
    once, streamed = step.bytes / rate.copy, (step.bytes + step.sums) / rate.copy
    logs, draws = step.logs / rate.logs, step.draws / rate.draws
    times = (f"{value:.3f} s" if value else "" for value in (once, streamed, logs, draws, seconds))
    ratios = f"{seconds / once:.1f}x", f"{seconds / (streamed + logs + draws):.1f}x"
    return line(f"{name_of(job)}: {step.name}", gigabytes(step.bytes), *times, *ratios)


def voxel_growth(folder: Path, scale: Scale) -> Iterator[str]:
    for strategy in ("predictive-entropy", "clasp-pe"):
        first = None
        for shape in scale.shapes:
            job = Job(strategy, scale.small_patch, repeats=min(3, scale.repeats))
            cost = measured(folder, shape, job)
            first = first or cost
            yield line(
                STRATEGIES[strategy],
                "x".join(map(str, shape)),
                f"{math.prod(shape) // math.prod(scale.shapes[0])}x",
                f"{places(shape, job.patch, 1) / 1e6:.2f} M",
                f"{cost.uncertainty:.2f} s",
                f"{cost.choice:.2f} s",
                f"{cost.total / first.total:.1f}x",
                gigabytes(cost.rise),
            )


def pool_growth(scale: Scale) -> Iterator[str]:
    for strategy in ("clasp-pe", "coreset"):
        for cases in scale.pools:
            cost: PoolCost = apart(pool, cases, scale.case, Job(strategy, scale.case_patch))[0][0]
            times = f"{1e3 * cost.case:.1f} ms", f"{1e3 * cost.merge:.0f} ms"
            yield line(strategy, cases, *times, f"{cost.rise / 1e6:.1f} MB")


def strategy_rows(folder: Path, scale: Scale) -> Iterator[str]:
    jobs = [Job(name, scale.small_patch, repeats=min(3, scale.repeats)) for name in strategy_names()]
    costs, _ = apart(each, folder, scale.shapes[0], jobs)
    for job, cost in zip(jobs, costs, strict=True):
        uncertainty = f"{cost.uncertainty:.3f} s" if cost.uncertainty > 1e-4 else "none needed"
        yield line(job.strategy, uncertainty, f"{cost.choice:.3f} s", len(cost.picks))


def gpu_rows(folder: Path, scale: Scale) -> Iterator[str]:
    found, _ = apart(on_gpu, folder, scale.shapes[-1], scale.jobs)
    if not found:
        yield "GPU: not measured (none here)"
        return
    name, costs = found[0]
    yield f"{name}, members already there:\n"
    yield head("step", "uncertainty", "scores + choice", "together", "GPU memory above input")
    for job, cost in zip(scale.jobs, costs, strict=True):
        times = (f"{seconds:.3f} s" for seconds in (cost.uncertainty, cost.choice, cost.total))
        yield line(name_of(job), *times, gigabytes(cost.rise))


def show(rows: Iterator[str], *names: str) -> None:
    """A table, row by row as they come."""
    if names:
        print(f"\n{head(*names)}", flush=True)
    for row in rows:
        print(row, flush=True)


def report(folder: Path, scale: Scale) -> None:
    apart(save_input, folder, scale.members, scale.classes, scale.shapes)
    shape = "x".join(map(str, scale.shapes[-1]))
    print(
        f"{scale.members} members x {scale.classes} classes x {shape} float32, patch "
        f"{'x'.join(map(str, scale.patch))}, 20 patches, median of {scale.repeats}:"
    )
    done: list[tuple[Job, Cost]] = []

    def table() -> Iterator[str]:
        for job, cost, row in side_by_side(folder, scale):
            done.append((job, cost))
            yield row

    times = "uncertainty", "scores + choice", "together"
    show(table(), "step", "reach", *times, "memory above input", "plain baseline", "published style")
    rate: Rates = apart(rates, scale.copied)[0][0]
    print(
        f"\nCopying moves {rate.copy_one / 1e9:.1f} GB/s on one thread, {rate.copy_all / 1e9:.1f} GB/s on "
        f"all (read and written bytes); {rate.logs / 1e9:.2f} G logarithms/s on all, "
        f"{rate.draws / 1e6:.0f} M Gumbel numbers/s on one."
    )
    limits = "least bytes", "at copy speed", "with streamed sums", "logarithms", "draws", "measured"
    show(bandwidth(done, scale, rate), "step", *limits, "measured / copy", "measured / all")
    growth = "voxels", "candidates", "uncertainty", "scores + choice", "time", "memory above input"
    show(voxel_growth(folder, scale), "strategy", "shape", *growth)
    show(pool_growth(scale), "strategy", "cases", "stage 1, a case", "stage 2, all", "peak memory rise")
    show(strategy_rows(folder, scale), "strategy", "uncertainty", "scores + choice", "patches")
    print()
    show(gpu_rows(folder, scale))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small input, under a minute")
    arguments = parser.parse_args()
    print(machine_line())
    with tempfile.TemporaryDirectory() as name:
        report(Path(name), QUICK if arguments.quick else Scale())


if __name__ == "__main__":
    main()
