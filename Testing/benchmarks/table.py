"""What the benchmark scripts share: the line about the machine, medians, and lines of a markdown table."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable


def machine_line() -> str:
    """Date, processor, precision and Python of this run."""
    # Here, because it brings torch along, which would double the start of every process of `apart.py`.
    from nnactive_server.segmentation import detect

    machine, day = detect().describe(), time.strftime("%Y-%m-%d")
    return (
        f"{day}, {platform.machine()}, {machine['name']}, {machine['threads']} threads,\n"
        f"{machine['precision']}, Python {platform.python_version()}\n"
    )


def line(*cells: object) -> str:
    """One row."""
    return f"| {' | '.join(map(str, cells))} |"


def head(*names: str) -> str:
    """The names of the columns and the rule below them."""
    return f"{line(*names)}\n|{'---|' * len(names)}"


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median of several calls, after one that does not count."""
    work()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
