"""The running sums behind `uncertainty_maps`: numpy arrays, folded on all cores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.query.blocks import on_all_cores, planes_and_rows
from nnactive_server.query.device import is_tensor, to_numpy

VOXEL_MEASURES = ("predictive_entropy", "expected_entropy", "mutual_information")
MEASURES = (*VOXEL_MEASURES, "class_signal", "mean_probability", "prediction")
_SUM_TOLERANCE = 1e-2


class Fold:
    """Checks members and counts them; how they are summed up is the subclass's.

    Args:
        measures: names out of `MEASURES`.
        prefix: begins error messages.

    Raises:
        QueryError: unknown measure.
    """

    of_tensors = False

    def __init__(self, measures: Iterable[str], prefix: str = "") -> None:
        self.measures = tuple(measures)
        unknown = [name for name in self.measures if name not in MEASURES]
        if unknown:
            raise QueryError(f"{prefix}unknown measures {unknown}; choose among {list(MEASURES)}")
        self.needs_expected = bool({"expected_entropy", "mutual_information"} & set(self.measures))
        self.count = 0
        self._prefix = prefix
        self._shape: tuple[int, ...] = ()

    def add(self, member: Any) -> None:
        """Fold in one softmax array (C, z, y, x).

        Raises:
            QueryError: another shape than before, or no softmax.
        """
        self._check_shape(tuple(member.shape))
        if not self.count:
            self._begin(member)
            self._shape = tuple(member.shape)
        self._check_values(*self._accumulate(member))
        self.count += 1

    def maps(self) -> dict[str, Any]:
        """The measures over all members so far; ends the fold, because the sums are reused."""
        raise NotImplementedError

    def _begin(self, member: Any) -> None:
        """Make room for the sums."""
        raise NotImplementedError

    def _accumulate(self, member: Any) -> tuple[float, float, float]:
        """Returns the lowest value, and the lowest and highest sum over the classes; NaN stays NaN."""
        raise NotImplementedError

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        which = f"{self._prefix}member {self.count}"
        if len(shape) != 4 or shape[0] < 2 or 0 in shape or shape[0] > 256:
            raise QueryError(f"{which} has shape {shape}; need (classes, z, y, x) with 2 to 256 classes")
        if self.count and shape != self._shape:
            raise QueryError(
                f"{which} has shape {shape}, but the ones before it have {self._shape}; "
                "predict all members on the same grid"
            )

    def _check_values(self, lowest: float, low_sum: float, high_sum: float) -> None:
        which = f"{self._prefix}member {self.count}"
        worst = max(1 - low_sum, high_sum - 1)
        if not np.isfinite([lowest, low_sum, high_sum]).all():
            raise QueryError(f"{which} holds values that are not finite; check the model's weights")
        if lowest < -_SUM_TOLERANCE or worst > _SUM_TOLERANCE:
            raise QueryError(
                f"{which} is no softmax: lowest value {lowest:.4g}, class sums differ from 1 by up to "
                f"{worst:.4g} (allowed {_SUM_TOLERANCE}); give probabilities, not logits"
            )


class NumpyFold(Fold):
    """Sums of numpy arrays, float64 when the first member is, otherwise float32."""

    def _begin(self, member: np.ndarray) -> None:
        dtype = np.float64 if member.dtype == np.float64 else np.float32
        self._sum = np.zeros(member.shape, dtype=dtype)
        self._entropy_sum = np.zeros(member.shape[1:] if self.needs_expected else (0, 0, 0), dtype=dtype)

    def _accumulate(self, member: np.ndarray) -> tuple[float, float, float]:
        extremes: list[tuple[float, float, float]] = []
        on_all_cores(
            lambda block: extremes.append(self._add_block(member, block)), planes_and_rows(member.shape[1:])
        )
        lowest, low_sums, high_sums = np.array(extremes).T
        return float(lowest.min()), float(low_sums.min()), float(high_sums.max())

    def _add_block(self, member: np.ndarray, block: tuple[slice, slice]) -> tuple[float, float, float]:
        sums = np.zeros_like(self._sum[(0, *block)])
        lowest, entropy = np.full_like(sums, np.inf), np.zeros_like(sums)
        for total, channel in zip(self._sum, member, strict=True):
            values = channel[block].astype(sums.dtype, copy=False)
            sums += values
            np.minimum(lowest, values, out=lowest)
            # Resampling may leave values a hair below zero, whose logarithm would be NaN.
            probability = np.maximum(values, 0)
            total[block] += probability
            if self.needs_expected:
                entropy -= _plogp(probability)
        if self.needs_expected:
            self._entropy_sum[block] += entropy
        return float(lowest.min()), float(sums.min()), float(sums.max())

    def maps(self) -> dict[str, np.ndarray]:
        """The measures over all members so far; ends the fold, because the sums are reused."""
        shape, dtype = self._sum.shape[1:], self._sum.dtype
        out = {
            name: np.empty(shape, np.uint8 if name == "prediction" else dtype)
            for name in (*VOXEL_MEASURES, "prediction")
            if name in self.measures
        }
        out["mean_probability"] = self._sum
        if "class_signal" in self.measures:
            out["class_signal"] = np.empty((len(self._sum) - 1, *shape), dtype)
        on_all_cores(lambda block: self._finish_block(out, block), planes_and_rows(shape))
        return {name: out[name] for name in self.measures}

    def _finish_block(self, out: dict[str, np.ndarray], block: tuple[slice, slice]) -> None:
        """Turn the sums of a block into measures; the sum over members becomes their mean."""
        mean = self._sum[(slice(None), *block)]
        mean /= self.count
        if "prediction" in out:
            out["prediction"][block] = highest_class(mean)
        if set(self.measures) <= {"mean_probability", "prediction"}:
            return
        total = np.zeros_like(mean[0])
        for channel in mean:
            total -= _plogp(channel)
        np.maximum(total, 0, out=total)  # a mean of 1.001 would go below zero
        found = {"predictive_entropy": total}
        if self.needs_expected:
            found["expected_entropy"] = self._entropy_sum[block] / self.count
            found["mutual_information"] = np.maximum(total - found["expected_entropy"], 0)
        for name in VOXEL_MEASURES:
            if name in out:
                out[name][block] = found[name]
        for signal, channel in zip(out.get("class_signal", ()), mean[1:], strict=False):
            np.multiply(channel, total, out=signal[block])


def highest_class(softmax: Any) -> np.ndarray:
    """The class (uint8) of the highest value, the lowest class on a tie.

    As numpy's `argmax` along the first axis, which is several times slower there.

    Args:
        softmax: array or tensor (C, ...), at most 256 classes.
    """
    if is_tensor(softmax):
        return to_numpy(softmax.argmax(0).byte())
    best, found = softmax[0].copy(), np.zeros(softmax.shape[1:], np.uint8)
    for value, channel in enumerate(softmax[1:], start=1):
        np.copyto(found, np.uint8(value), where=channel > best)
        np.maximum(best, channel, out=best)
    return found


def _plogp(probability: np.ndarray) -> np.ndarray:
    """p log p with `0 log 0 = 0`, p not negative."""
    product: np.ndarray = np.maximum(probability, np.finfo(probability.dtype).tiny)
    np.log(product, out=product)
    product *= probability
    return product
