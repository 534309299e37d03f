"""How fast this machine could be at best: memory bandwidth, logarithms, random numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnactive_server.core.cores import available_cores

_FLOAT, _DOUBLE = 4, 8


@dataclass(frozen=True)
class Rates:
    """Per second: bytes moved by one copying thread and by one a core (read and written ones both count),
    float32 logarithms on all cores, and Gumbel numbers on one."""

    copy_one: float
    copy_all: float
    logs: float
    draws: float

    @property
    def copy(self) -> float:
        """The higher of the two: one thread may fill the bus already."""
        return max(self.copy_one, self.copy_all)


@dataclass(frozen=True)
class Least:
    """What a step cannot do without.

    Attributes:
        name: of the step.
        bytes: every input read once, every output written once.
        sums: bytes of running sums that come on top when members arrive one at a time: read and written
            back for each, because they do not fit a cache.
        logs: logarithms.
        draws: random numbers.
    """

    name: str
    bytes: int
    sums: int = 0
    logs: int = 0
    draws: int = 0


def rates(megabytes: int) -> Iterator[Rates]:
    """Measured, best of five each."""
    cores = available_cores()
    source = np.ones(megabytes * 2**20 // _FLOAT, np.float32)
    target = np.zeros_like(source)
    block = np.full(2**15, 0.3, np.float32)
    rng = np.random.default_rng(0)

    def copy(part: slice) -> None:
        np.copyto(target[part], source[part])

    def logs(_: slice) -> None:
        out = np.empty_like(block)
        for _ in range(100):
            np.log(block, out=out)

    moved = 2 * source.nbytes
    yield Rates(
        moved / best_seconds(copy, len(source), 1),
        moved / best_seconds(copy, len(source), cores),
        cores * 100 * len(block) / best_seconds(logs, len(block), cores),
        10**6 / best_seconds(lambda _: rng.gumbel(size=10**6), 1, 1),
    )


def best_seconds(work: Callable[[slice], object], length: int, threads: int) -> float:
    """Shortest of five runs of work cut into one piece a thread."""
    cuts = np.linspace(0, length, threads + 1).astype(int)
    parts = [slice(a, b) for a, b in pairwise(cuts)]
    taken = []
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(work, parts))
            taken.append(time.perf_counter() - start)
    return min(taken)


def least(strategy: str, members: int, classes: int, voxels: int, places: int) -> tuple[Least, Least]:
    """The two steps of `predictive-entropy`, `bald` or `clasp-pe`: uncertainty; scores and choice."""
    by_class, expected = strategy == "clasp-pe", strategy == "bald"
    groups = classes if by_class else 1
    maps = 1 + (classes if by_class else 0)  # the mean probabilities, of which class maps are made
    uncertainty = Least(
        "uncertainty",
        (members * classes + maps) * voxels * _FLOAT,
        2 * members * (classes + expected) * voxels * _FLOAT,
        (1 + (members if expected else 0)) * classes * voxels,
    )
    reads = 1 + 2 * (groups - 1)  # a class's map is its probability times the entropy
    noise = groups * places if by_class else 0
    choice = Least(
        "scores + choice", reads * voxels * _FLOAT + 2 * groups * places * _DOUBLE, logs=noise, draws=noise
    )
    return uncertainty, choice


def places(shape: tuple[int, ...], patch: tuple[int, ...], stride: int) -> int:
    """Candidates of an image, the last on each axis included."""
    return math.prod(-(-(n - min(n, k)) // stride) + 1 for n, k in zip(shape, patch, strict=True))
