"""Dice per class, its mean over test cases, and how far ensemble members agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.labels import LabelSet


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
    if prediction.shape != reference.shape:
        raise NNActiveError(
            f"Dice: prediction {prediction.shape} and reference {reference.shape} differ in shape; "
            "compare them on one voxel grid"
        )
    if labels.partial:
        judged = reference != labels.ignore
        prediction, reference = prediction[judged], reference[judged]
    return tuple(_dice(prediction == value, reference == value) for value in labels.foreground)


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


def _dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    voxels = int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference))
    if voxels == 0:
        return math.nan
    return 2 * int(np.count_nonzero(prediction & reference)) / voxels


def _nanmean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan
