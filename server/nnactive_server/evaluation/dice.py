"""Dice per class, its mean over test cases, and how far ensemble members agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.labels import LabelSet


@dataclass(frozen=True, slots=True)
class Overlap:
    """Voxels of one class in a prediction and a reference; sums over cases with `+`.

    Attributes:
        both: in the prediction and in the reference (true positives).
        predicted: in the prediction alone (false positives).
        reference: in the reference alone (false negatives).
    """

    both: int = 0
    predicted: int = 0
    reference: int = 0

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.both + other.both, self.predicted + other.predicted, self.reference + other.reference
        )

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN when the class is in neither of the two."""
        voxels = 2 * self.both + self.predicted + self.reference
        return 2 * self.both / voxels if voxels else math.nan


def overlap_per_class(prediction: np.ndarray, reference: np.ndarray, labels: LabelSet) -> tuple[Overlap, ...]:
    """Voxels shared and not shared of each foreground class, in the order of `labels.foreground`.

    Voxels whose reference is the ignore id do not count.

    Args:
        prediction: class ids, any shape.
        reference: class ids, same shape; may hold the ignore id when `labels.partial` is set.
        labels: the classes.

    Raises:
        NNActiveError: the arrays differ in shape.
    """
    if prediction.shape != reference.shape:
        raise NNActiveError(
            f"Dice: prediction {prediction.shape} and reference {reference.shape} differ in shape; "
            "compare them on one voxel grid"
        )
    if labels.partial:
        judged = reference != labels.ignore
        prediction, reference = prediction[judged], reference[judged]
    return tuple(_overlap(prediction == value, reference == value) for value in labels.foreground)


def dice_per_class(prediction: np.ndarray, reference: np.ndarray, labels: LabelSet) -> tuple[float, ...]:
    """Dice of each foreground class, in the order of `labels.foreground`.

    The rules are nnU-Net's: a class absent from both arrays gives NaN, one that is predicted but
    absent from the reference gives 0, and voxels whose reference is the ignore id do not count.

    Args:
        prediction: class ids (z, y, x).
        reference: class ids (z, y, x); may hold the ignore id when `labels.partial` is set.
        labels: the classes.

    Raises:
        NNActiveError: the arrays differ in shape.
    """
    return tuple(overlap.dice for overlap in overlap_per_class(prediction, reference, labels))


def class_means(per_case: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Mean Dice of each class over the cases where it is defined; NaN where it never is.

    Args:
        per_case: one row per test case, one Dice per foreground class.
    """
    table = np.asarray(per_case, dtype=float)
    if table.ndim != 2 or table.size == 0:
        raise NNActiveError("mean Dice: give at least one case with one Dice per class")
    return tuple(_nanmean(column) for column in table.T)


def mean_dice(per_case: Sequence[Sequence[float]]) -> float:
    """Mean over foreground classes of the nan-mean over test cases (NNActive paper, appendix D).

    A class that is defined in no test case is left out; NaN when that holds for all of them.

    Args:
        per_case: one row per test case, one Dice per foreground class.
    """
    return _nanmean(np.asarray(class_means(per_case)))


def pairwise_dice(members: Sequence[np.ndarray], labels: LabelSet) -> float:
    """Mean over pairs of members of their mean foreground Dice: 1 when all members agree.

    Roy et al. 2019 use it as the confidence of a case. A class that neither member of a pair shows
    does not count, nor does a pair that shows no foreground at all; NaN when no pair is left.

    Args:
        members: one array of class ids (z, y, x) per member.
        labels: the classes.
    """
    dense = LabelSet(labels.classes)
    pairs = [_nanmean(np.asarray(dice_per_class(a, b, dense))) for a, b in combinations(members, 2)]
    return _nanmean(np.asarray(pairs))


def _overlap(prediction: np.ndarray, reference: np.ndarray) -> Overlap:
    both, predicted, referred = (
        int(np.count_nonzero(voxels)) for voxels in (prediction & reference, prediction, reference)
    )
    return Overlap(both, predicted - both, referred - both)


def _nanmean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan
