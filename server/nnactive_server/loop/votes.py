"""How far members agree, found while their predictions pass by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from nnactive_server.core.labels import LabelSet
from nnactive_server.evaluation.dice import pairwise_dice


class Votes:
    """The class that each member gives each voxel: one byte, where its softmax has four for each class."""

    def __init__(self) -> None:
        self._votes: list[np.ndarray] = []

    def watch(self, members: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass the members' softmax arrays (C, z, y, x) on, and note their votes."""
        for member in members:
            self._votes.append(member.argmax(axis=0).astype(np.uint8))
            yield member

    def agreement(self, labels: LabelSet) -> float:
        """Mean pairwise Dice of the members seen, see `evaluation.pairwise_dice`; NaN where it has none."""
        shown = np.zeros(self._votes[0].shape, bool)
        for vote in self._votes:
            shown |= vote > 0
        # Where all say background no class is counted, and that is most of an image.
        return pairwise_dice([vote[shown] for vote in self._votes], labels)
