"""The query written plainly from its formulas: what the engine is compared with.

Two ways. `PLAIN_WAY`: float64 throughout, box means by `scipy.ndimage.uniform_filter`. `FFT_WAY`, in the
style of the published implementation as its description goes: float32, box means by FFT convolution, no
start position off the stride. Both stack all members, hold all maps at once, sort all candidates and check
one box after the other against those taken. One process, one thread of Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from apart import peak_bytes
from scipy import ndimage, signal, special

Start = tuple[int, ...]
BoxMeans = Callable[[np.ndarray, Sequence[int]], np.ndarray]


@dataclass(frozen=True)
class Stage:
    """A stage that ended: seconds it took, and the rise of the peak memory since the begin, bytes."""

    name: str
    seconds: float
    rise: int


@dataclass(frozen=True)
class Pick:
    start: Start
    score: float


@dataclass(frozen=True)
class Way:
    """How a baseline computes.

    Attributes:
        dtype: of the uncertainty maps.
        box_means: of a map, at every start position.
        tail: whether the last start position is a candidate when the stride does not meet it.
    """

    dtype: type[np.floating]
    box_means: BoxMeans
    tail: bool


def filter_means(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    means = ndimage.uniform_filter(values.astype(np.float64), size, mode="constant")
    # The filter is centred: the box that starts at s has its mean at s + size // 2.
    return means[tuple(slice(k // 2, k // 2 + n - k + 1) for n, k in zip(values.shape, size, strict=True))]


def fft_means(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    box = np.full(size, 1 / np.prod(size), values.dtype)
    return signal.fftconvolve(values, box, mode="valid")


PLAIN_WAY = Way(np.float64, filter_means, tail=True)
FFT_WAY = Way(np.float32, fft_means, tail=False)


def baseline(
    members: Sequence[np.ndarray], strategy: str, patch: Sequence[int], stride: int, count: int, way: Way
) -> Iterator[Stage | Pick]:
    """The query of one image, step by step.

    Args:
        members: softmax arrays (C, z, y, x).
        strategy: `predictive-entropy`, `bald` or `clasp-pe` (beta 1).
        patch: voxels (z, y, x).
        stride: step between candidates.
        count: patches to choose.
        way: how to compute.
    """
    before, start = peak_bytes(), time.perf_counter()

    def ended(name: str) -> Stage:
        nonlocal start
        begun, start = start, time.perf_counter()
        return Stage(name, start - begun, peak_bytes() - before)

    yield Stage("begin", 0.0, 0)
    maps = uncertainty(np.stack(members).astype(way.dtype), strategy)
    yield ended("uncertainty")
    rng = np.random.default_rng(0)
    axes = start_positions(maps["plain"].shape, patch, stride, way.tail)
    scores = {group: way.box_means(values, patch)[np.ix_(*axes)] for group, values in maps.items()}
    if strategy == "clasp-pe":
        scores = {group: noisy(means, rng) for group, means in scores.items()}
    yield ended("scores")
    taken: list[Start] = []
    for group, wanted in quotas(list(scores), count, rng).items():
        yield from choose(scores[group], axes, patch, wanted, taken)
    yield ended("choice")


def uncertainty(members: np.ndarray, strategy: str) -> dict[str, np.ndarray]:
    """The maps of the groups, from members (M, C, z, y, x)."""
    mean = members.mean(axis=0)
    entropy = special.entr(mean).sum(axis=0)
    if strategy == "bald":
        expected = special.entr(members).sum(axis=1).mean(axis=0)
        return {"plain": np.maximum(entropy - expected, 0)}
    classes = range(1, len(mean)) if strategy == "clasp-pe" else ()
    return {**{f"class-{c}": mean[c] * entropy for c in classes}, "plain": entropy}


def noisy(means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.log(np.maximum(means, 1e-300)) + rng.gumbel(size=means.shape)


def quotas(groups: list[str], count: int, rng: np.random.Generator) -> dict[str, int]:
    """Patches of each group, in the order in which the groups choose."""
    classes = groups[:-1]
    stratified = int(0.66 * count) if classes else 0
    even, rest = divmod(stratified, max(1, len(classes)))
    shares = dict.fromkeys(classes, even) | {"plain": count - stratified}
    for index in rng.permutation(len(classes))[:rest]:
        shares[classes[index]] += 1
    return {groups[index]: shares[groups[index]] for index in rng.permutation(len(groups))}


def start_positions(
    shape: Sequence[int], size: Sequence[int], stride: int, tail: bool
) -> tuple[list[int], ...]:
    axes = []
    for n, k in zip(shape, size, strict=True):
        starts = list(range(0, n - k + 1, stride))
        axes.append([*starts, n - k] if tail and starts[-1] != n - k else starts)
    return tuple(axes)


def choose(
    scores: np.ndarray, axes: Sequence[list[int]], size: Sequence[int], count: int, taken: list[Start]
) -> Iterator[Pick]:
    """Best first, equal scores by the smallest start corner; `taken` grows."""
    found = 0
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        if found == count:
            return
        position = np.unravel_index(flat, scores.shape)
        start = tuple(axis[i] for axis, i in zip(axes, position, strict=True))
        if not any(overlap(start, other, size) for other in taken):
            taken.append(start)
            found += 1
            yield Pick(start, float(scores[position]))


def overlap(one: Start, other: Start, size: Sequence[int]) -> bool:
    return all(abs(a - b) < k for a, b, k in zip(one, other, size, strict=True))
