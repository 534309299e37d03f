"""Choosing among vectors: farthest first, in proportion to the squared distance, and by weighted k-means.

Distances are Euclidean and computed as sums of squared differences, in float64: equal vectors are exactly 0
apart and tie exactly on every machine, which the faster `|a|^2 - 2ab + |b|^2` does not give. Memory is
O(vectors * dimensions); no matrix of all pairs is ever made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
from scipy.spatial.distance import cdist

_BLOCK = 32
_ROUNDS = 100

Picks = list[tuple[int, float]]


class Space(Protocol):
    """Vectors of which some can be taken.

    Attributes:
        vectors: (n, D) float64; equal ones are preferred in this order.
        open: (n,) bool, which can still be taken.
    """

    vectors: np.ndarray
    open: np.ndarray

    def take(self, index: int) -> None:
        """Take one that is open; closes it and what this rules out."""


class Cover:
    """How far vectors lie from the nearest of the centres so far.

    Without any centre it prefers what lies nearest to the mean: of all single centres, that one has the
    smallest mean squared distance to the others.

    Attributes:
        gain: (n,) squared distance to the nearest centre; minus the squared distance to the mean while there
            is none. Changed in place.
    """

    def __init__(self, vectors: np.ndarray, centres: np.ndarray) -> None:
        self._vectors = vectors
        self._started = False
        self.gain = -squared(vectors, vectors.mean(axis=0)) if len(vectors) else np.empty(0)
        for first in range(0, len(centres), _BLOCK):
            self.add(centres[first : first + _BLOCK])

    def add(self, centres: np.ndarray) -> None:
        """One centre (D,) or several (m, D) more."""
        nearest = squared(self._vectors, centres)
        self.gain = np.minimum(self.gain, nearest, out=self.gain) if self._started else nearest
        self._started = True

    def distance(self, index: int) -> float:
        """Distance of a vector to its nearest centre; 0 while there is none."""
        return math.sqrt(max(0.0, float(self.gain[index])))


def squared(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distance (n,) of each vector (n, D) to the nearest of a few centres (m, D) or (D,)."""
    nearest: np.ndarray = cdist(vectors, np.atleast_2d(centres), "sqeuclidean").min(axis=1)
    return nearest


def grow(space: Space, cover: Cover, count: int, choose: Callable[[np.ndarray], int]) -> Picks:
    """Take up to `count` vectors one by one, each a centre for those after it.

    Args:
        space: what can be taken.
        cover: the centres to start from.
        count: how many to take at most.
        choose: index to try next, from the gains, which are -inf where nothing can be taken.

    Returns:
        Index of each, and its distance to the nearest centre when it was taken.
    """
    picks: Picks = []
    while len(picks) < count and space.open.any():
        index = choose(np.where(space.open, cover.gain, -np.inf))
        space.take(index)
        picks.append((index, cover.distance(index)))
        cover.add(space.vectors[index])
    return picks


def farthest_first(space: Space, centres: np.ndarray, count: int) -> Picks:
    """k-centre greedy (Gonzalez 1985): again and again the vector farthest from all centres.

    The largest distance that is left is at most twice the smallest possible with as many vectors.

    Args:
        space: what can be taken.
        centres: (m, D) there already; without any it begins nearest to the mean.
        count: how many to take at most.
    """
    return grow(space, Cover(space.vectors, centres), count, lambda gain: int(gain.argmax()))


def in_order(space: Space, order: Iterable[int], scores: np.ndarray, count: int) -> Picks:
    """Take the first `count` of these that can be taken, with their scores."""
    picks: Picks = []
    for index in map(int, order):
        if len(picks) >= count:
            break
        if space.open[index]:
            space.take(index)
            picks.append((index, float(scores[index])))
    return picks


def draw(rng: np.random.Generator, weights: np.ndarray) -> int:
    """Index drawn in proportion to the weights; what is not positive is never drawn.

    The largest of `log w + Gumbel(0, 1)` has this law. A cumulative sum would have it too, but rounding at
    its end could draw a weight of zero.
    """
    with np.errstate(divide="ignore"):
        keys = np.log(np.maximum(weights, 0))
    return int((keys + rng.gumbel(size=len(weights))).argmax())


def weighted_kmeans(
    vectors: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's algorithm on `sum_i w_i |x_i - centre(i)|^2` from a k-means++ start.

    Args:
        vectors: (n, D), n at least 1.
        weights: (n,), not negative.
        count: clusters; fewer are made when there are fewer different vectors of positive weight.
        rng: of the start.

    Returns:
        Cluster (n,) of each vector, and the centres (clusters, D).
    """
    centres = plus_plus(vectors, weights, count, rng)
    labels = _nearest(vectors, centres)
    for _ in range(_ROUNDS):
        centres = _means(vectors, weights, labels, centres)
        before, labels = labels, _nearest(vectors, centres)
        if np.array_equal(before, labels):
            break
    return labels, centres


def plus_plus(vectors: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ start (Arthur & Vassilvitskii 2007), weighted: each centre is drawn by `w_i D_i^2`.

    `D_i` is the distance to the nearest centre so far; the first centre is drawn by weight.
    """
    first = draw(rng, weights)
    chosen, cover = [first], Cover(vectors, vectors[[first]])
    while len(chosen) < count:
        gain = weights * cover.gain
        if not gain.any():
            break
        chosen.append(draw(rng, gain))
        cover.add(vectors[chosen[-1]])
    found: np.ndarray = vectors[chosen]
    return found


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    labels: np.ndarray = cdist(vectors, centres, "sqeuclidean").argmin(axis=1)
    return labels


def _means(vectors: np.ndarray, weights: np.ndarray, labels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Weighted mean of each cluster; one without weight stays where it is."""
    totals = np.bincount(labels, weights, minlength=len(centres))
    sums = np.zeros_like(centres)
    np.add.at(sums, labels, vectors * weights[:, None])
    filled = totals > 0
    moved = centres.copy()
    moved[filled] = sums[filled] / totals[filled, None]
    return moved
