"""What `query.py` measures; each function runs in a process of its own, see `apart.py`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from apart import peak_bytes
from baseline_query import FFT_WAY, PLAIN_WAY, Pick, Stage, baseline
from scipy import ndimage

from nnactive_server.core.features import FeatureGrid, cell_counts
from nnactive_server.query import (
    CaseCandidates,
    CaseMaps,
    Proposal,
    Request,
    case_candidates,
    get_strategy,
    merge_candidates,
    streamed,
    uncertainty_maps,
)

Shape = tuple[int, int, int]
WAYS = {"plain": PLAIN_WAY, "fft": FFT_WAY}


@dataclass(frozen=True)
class Job:
    """One query of one image.

    Attributes:
        strategy: its name.
        patch: voxels (z, y, x).
        stride: step between candidates.
        count: patches to choose.
        repeats: runs of which the median counts.
    """

    strategy: str
    patch: Shape
    stride: int = 1
    count: int = 20
    repeats: int = 5

    def request(self) -> Request:
        """The first of four query steps: the noise is strongest there, beta 1."""
        return Request(self.count, self.patch, stride=self.stride, total_steps=4)


@dataclass(frozen=True)
class Cost:
    """What a job cost: medians in seconds, and the rise of the peak memory over the input, bytes."""

    uncertainty: float
    choice: float
    total: float
    rise: int
    picks: tuple[Pick, ...]


@dataclass(frozen=True)
class PoolCost:
    """What a streamed pool cost: seconds of stage 1 of a case and of stage 2, and as in `Cost`."""

    case: float
    merge: float
    rise: int


def softmax_members(members: int, classes: int, shape: Shape, seed: int) -> Iterator[np.ndarray]:
    """Smooth blobs that all members share, and noise of each member's own; softmax (C, z, y, x) float32.

    Most voxels are almost certain, those between the blobs are not, as in a trained network's output.
    """
    rng = np.random.default_rng(seed)
    coarse = [max(2, n // 16) for n in shape]
    zoom = [n / c for n, c in zip(shape, coarse, strict=True)]
    blobs = [
        6 * ndimage.zoom(rng.normal(size=coarse).astype(np.float32), zoom, order=1) for _ in range(classes)
    ]
    blobs[0] += 2
    for _ in range(members):
        logits = 0.5 * rng.standard_normal((classes, *shape), dtype=np.float32)
        for channel, blob in zip(logits, blobs, strict=True):
            channel += blob
        logits -= logits.max(axis=0)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=0)
        yield logits


def save_input(folder: Path, members: int, classes: int, shapes: Sequence[Shape]) -> Iterator[str]:
    """Write the members of every shape, crops of the largest, the last, from the corner on."""
    for index, member in enumerate(softmax_members(members, classes, shapes[-1], seed=0)):
        for shape in shapes:
            path = input_folder(folder, shape) / f"{index}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, member[(slice(None), *map(slice, shape))])
    yield "saved"


def input_folder(folder: Path, shape: Shape) -> Path:
    return folder / "x".join(map(str, shape))


def load_input(folder: Path, shape: Shape) -> list[np.ndarray]:
    return [np.load(path) for path in sorted(input_folder(folder, shape).glob("*.npy"))]


def ours(folder: Path, shape: Shape, job: Job) -> Iterator[Cost]:
    """The engine on one image whose members are in memory, handed over one at a time."""
    members = load_input(folder, shape)
    before = peak_bytes()
    yield timed(members, job, before, lambda: None)


def theirs(folder: Path, shape: Shape, job: Job, way: str) -> Iterator[Stage | Pick]:
    """A baseline on the same input, once."""
    members = load_input(folder, shape)
    yield from baseline(members, job.strategy, job.patch, job.stride, job.count, WAYS[way])


def on_gpu(folder: Path, shape: Shape, jobs: Sequence[Job]) -> Iterator[tuple[str, list[Cost]]]:
    """The engine on tensors that live on the GPU, and the GPU's name; nothing without one."""
    import torch

    if not torch.cuda.is_available():
        return
    members = [torch.from_numpy(member).cuda() for member in load_input(folder, shape)]
    costs = []
    for job in jobs:
        timed(members, replace(job, repeats=1), 0, torch.cuda.synchronize)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        cost = timed(members, job, 0, torch.cuda.synchronize)
        costs.append(replace(cost, rise=torch.cuda.max_memory_allocated() - before))
    yield torch.cuda.get_device_name(), costs


def timed(members: Sequence[Any], job: Job, before: int, finish: Callable[[], object]) -> Cost:
    """Medians over the repeats; `finish` waits until work under way is done."""
    strategy, request = get_strategy(job.strategy), job.request()
    features = features_of(members, request) if strategy.embedding else None
    labels = uncertainty_maps(iter(members), ("prediction",))["prediction"] if strategy.needs_labels else None
    first, second = [], []
    proposal = Proposal([], job.count)
    for _ in range(job.repeats):
        start = time.perf_counter()
        wanted = streamed(strategy.measures)
        maps = uncertainty_maps(iter(members), wanted) if wanted else {}
        finish()
        middle = time.perf_counter()
        case = CaseMaps("case", tuple(members[0].shape[1:]), maps, labels, features=features)
        proposal = merge_candidates([case_candidates(case, strategy, request)], strategy, request)
        second.append(time.perf_counter() - middle)
        first.append(middle - start)
        del maps, case
    return Cost(
        statistics.median(first),
        statistics.median(second),
        statistics.median(a + b for a, b in zip(first, second, strict=True)),
        peak_bytes() - before,
        tuple(Pick(query.start, query.score) for query in proposal),
    )


def pool(cases: int, shape: Shape, job: Job) -> Iterator[PoolCost]:
    """A pool of small cases, made one after the other; making them is not timed."""
    strategy, request = get_strategy(job.strategy), job.request()
    making = stage_1 = 0.0

    def offers(count: int) -> Iterator[CaseCandidates]:
        nonlocal making, stage_1
        for index in range(count):
            start = time.perf_counter()
            members = list(softmax_members(3, 3, shape, seed=index))
            features = features_of(members, request) if strategy.embedding else None
            made = time.perf_counter()
            wanted = streamed(strategy.measures)
            maps = uncertainty_maps(iter(members), wanted) if wanted else {}
            case = CaseMaps(f"case_{index:04d}", shape, maps, features=features)
            offer = case_candidates(case, strategy, request)
            making += made - start
            stage_1 += time.perf_counter() - made
            yield offer

    merge_candidates(offers(2), strategy, request)
    before, making, stage_1 = peak_bytes(), 0.0, 0.0
    start = time.perf_counter()
    merge_candidates(offers(cases), strategy, request)
    merging = time.perf_counter() - start - making - stage_1
    yield PoolCost(stage_1 / cases, merging, peak_bytes() - before)


def each(folder: Path, shape: Shape, jobs: Sequence[Job]) -> Iterator[Cost]:
    """One strategy after the other on one image."""
    members = load_input(folder, shape)
    for job in jobs:
        yield timed(members, job, 0, lambda: None)


def features_of(members: Sequence[np.ndarray], request: Request, dimensions: int = 32) -> FeatureGrid:
    """Features that only have the right shape: `dimensions` a member, normal."""
    shape = members[0].shape[1:]
    cells = cell_counts(shape, request.cell)
    rng = np.random.default_rng(1)
    values = rng.standard_normal((dimensions * len(members), *cells), dtype=np.float32)
    return FeatureGrid(values, request.cell, shape)
