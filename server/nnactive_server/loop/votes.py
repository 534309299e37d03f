"""How far members agree, found while their predictions pass by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from nnactive_server.core.labels import LabelSet
from nnactive_server.evaluation import Overlap, class_means, mean_dice
from nnactive_server.query.fold import highest_class

_BLOCK = 2**20
"""Votes are counted in blocks of this many voxels: the counting takes eight bytes for each."""

Counts = dict[tuple[int, int], np.ndarray]


class Votes:
    """The class that each member gives each voxel, counted for each pair of members.

    A volume may pass by in parts.
    """

    def __init__(self) -> None:
        self._counts: Counts = {}

    def watch(self, members: Iterable[Any]) -> Iterator[Any]:
        """Pass members' softmax arrays (C, z, y, x) on, of a volume or a part of it, and note their votes."""
        votes, classes = [], 0
        for member in members:
            votes.append(highest_class(member))
            classes = len(member)
            yield member
            del member  # or it would stay in memory until the next one is there
        self._count(votes, classes)

    def agreement(self, labels: LabelSet) -> float:
        """Mean pairwise Dice of the members seen, see `evaluation.pairwise_dice`; NaN where it has none."""
        pairs = [[_overlap(counts, value) for value in labels.foreground] for counts in self._counts.values()]
        if not pairs:
            return math.nan
        return class_means([[mean_dice([[overlap.dice for overlap in pair]])] for pair in pairs])[0]

    def _count(self, votes: list[np.ndarray], classes: int) -> None:
        if len(votes) < 2:
            return
        shown = np.zeros(votes[0].shape, bool)
        for vote in votes:
            shown |= vote > 0
        # Where all say background no class is counted, and that is most of an image.
        chosen = [vote[shown] for vote in votes]
        for a, b in combinations(range(len(votes)), 2):
            table = _joint(chosen[a], chosen[b], classes)
            self._counts[a, b] = self._counts.get((a, b), 0) + table


def _joint(first: np.ndarray, second: np.ndarray, classes: int) -> np.ndarray:
    """Voxels (classes, classes) for each class of the first and of the second array."""
    table = np.zeros(classes * classes, np.int64)
    for start in range(0, len(first), _BLOCK):
        both = first[start : start + _BLOCK].astype(np.intp) * classes + second[start : start + _BLOCK]
        table += np.bincount(both, minlength=len(table))
    return table.reshape(classes, classes)


def _overlap(counts: np.ndarray, value: int) -> Overlap:
    if value >= len(counts):
        return Overlap()
    both = int(counts[value, value])
    return Overlap(both, int(counts[value].sum()) - both, int(counts[:, value].sum()) - both)
