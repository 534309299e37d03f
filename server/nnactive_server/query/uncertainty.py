"""Voxel uncertainty of an ensemble, folded in one member after the other.

With `p[m, c]` the softmax of member m and `pbar` its mean over the members, natural logarithms and
`0 log 0 = 0` (Gal, Islam & Ghahramani 2017 for the decomposition):

    predictive entropy   PE = -sum_c pbar_c log pbar_c              total uncertainty
    expected entropy     EE = -(1/M) sum_m sum_c p_mc log p_mc      aleatoric share
    mutual information   MI = PE - EE, clamped at 0                 epistemic share (BALD)
    class signal         pbar_c * PE for each foreground class c

Only `sum_m p` and `sum_m sum_c p log p` are kept, so memory is O(classes), never O(members * classes).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.special import entr

from nnactive_server.core.errors import QueryError

VOXEL_MEASURES = ("predictive_entropy", "expected_entropy", "mutual_information")
MEASURES = (
    *VOXEL_MEASURES,
    "class_signal",
    "mean_probability",
    "prediction",
)
_SUM_TOLERANCE = 1e-2


def uncertainty_maps(
    members: Iterable[np.ndarray],
    measures: Iterable[str] = ("predictive_entropy", "mutual_information", "class_signal"),
    *,
    case: str = "",
) -> dict[str, np.ndarray]:
    """Fold the members' softmax arrays into uncertainty maps.

    Args:
        members: arrays (C, z, y, x), class 0 is background; a generator keeps one in memory at a time.
        measures: names out of `MEASURES`.
        case: named in error messages.

    Returns:
        One map per measure, in nats: (z, y, x) for the entropies and the mutual information,
        (C-1, z, y, x) for `class_signal`, (C, z, y, x) for `mean_probability`, and (z, y, x) uint8
        for `prediction` (the class of the highest mean probability, the lowest class on a tie).
        Maps are float64 when the first member is, otherwise float32.

    Raises:
        QueryError: unknown measure; no members; members of different shapes; values that are not
            finite, negative, or do not sum to one over the classes (tolerance 0.01).
    """
    fold = _Fold(tuple(measures), f"case {case}: " if case else "")
    for member in members:
        fold.add(np.asarray(member))
    return fold.maps()


class _Fold:
    """Running sums over members."""

    def __init__(self, measures: tuple[str, ...], prefix: str) -> None:
        unknown = [name for name in measures if name not in MEASURES]
        if unknown:
            raise QueryError(f"{prefix}unknown measures {unknown}; choose among {list(MEASURES)}")
        self._measures = measures
        self._prefix = prefix
        self._needs_expected = bool({"expected_entropy", "mutual_information"} & set(measures))
        self._count = 0
        self._sum = np.empty(0)
        self._entropy_sum = np.empty(0)

    def add(self, member: np.ndarray) -> None:
        """Fold in one softmax array (C, z, y, x)."""
        self._check(member)
        if not self._count:
            dtype = np.float64 if member.dtype == np.float64 else np.float32
            self._sum = np.zeros(member.shape, dtype=dtype)
            self._entropy_sum = np.zeros(member.shape[1:])
        for total, channel in zip(self._sum, member, strict=True):
            # Resampling may leave values a hair below zero, whose logarithm would be NaN.
            probability = np.maximum(channel, 0).astype(self._sum.dtype, copy=False)
            total += probability
            if self._needs_expected:
                self._entropy_sum += entr(probability)
        self._count += 1

    def maps(self) -> dict[str, np.ndarray]:
        """The measures over all members so far; ends the fold, because the sums are reused."""
        if not self._count:
            raise QueryError(f"{self._prefix}no ensemble members; give at least one softmax array")
        mean = self._sum
        mean /= self._count
        wanted = set(self._measures)
        found = {"mean_probability": mean}
        if "prediction" in wanted:
            found["prediction"] = mean.argmax(axis=0).astype(np.uint8)
        if "expected_entropy" in wanted:
            found["expected_entropy"] = (self._entropy_sum / self._count).astype(mean.dtype)
        if {"predictive_entropy", "mutual_information", "class_signal"} & wanted:
            total = _entropy(mean)
            found["predictive_entropy"] = total.astype(mean.dtype)
            if "class_signal" in wanted:
                found["class_signal"] = mean[1:] * found["predictive_entropy"]
            if "mutual_information" in wanted:
                shared = np.maximum(total - self._entropy_sum / self._count, 0)
                found["mutual_information"] = shared.astype(mean.dtype)
        return {name: found[name] for name in self._measures}

    def _check(self, member: np.ndarray) -> None:
        which = f"{self._prefix}member {self._count}"
        if member.ndim != 4 or member.shape[0] < 2 or 0 in member.shape or member.shape[0] > 256:
            raise QueryError(
                f"{which} has shape {member.shape}; need (classes, z, y, x) with 2 to 256 classes"
            )
        if self._count and member.shape != self._sum.shape:
            raise QueryError(
                f"{which} has shape {member.shape}, but the ones before it have {self._sum.shape}; "
                "predict all members on the same grid"
            )
        sums = member.sum(axis=0, dtype=np.float64)
        lowest, worst = float(member.min()), float(np.abs(sums - 1).max())
        # Written so that NaN fails too: a comparison with NaN is never true.
        if not (np.isfinite(lowest) and np.isfinite(worst)):
            raise QueryError(f"{which} holds values that are not finite; check the model's weights")
        if lowest < -_SUM_TOLERANCE or worst > _SUM_TOLERANCE:
            raise QueryError(
                f"{which} is no softmax: lowest value {lowest:.4g}, class sums differ from 1 by up to "
                f"{worst:.4g} (allowed {_SUM_TOLERANCE}); give probabilities, not logits"
            )


def _entropy(mean: np.ndarray) -> np.ndarray:
    """-sum_c pbar log pbar, float64 (z, y, x); clamped, as a mean of 1.001 would go below zero."""
    entropy = np.zeros(mean.shape[1:])
    for channel in mean:
        entropy += entr(channel)
    return np.maximum(entropy, 0)
