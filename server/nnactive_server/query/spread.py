"""Where a patch stands among all places of the pool, without keeping their scores."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_QUANTILES = 65
_SAMPLE = 20_000


@dataclass(frozen=True, slots=True)
class Spread:
    """Distribution of one image's patch means.

    Attributes:
        places: how many there are.
        quantiles: of the means, evenly spaced from the lowest to the highest; between them the
            distribution is taken as linear.
    """

    places: int
    quantiles: Sequence[float]

    @classmethod
    def of(cls, means: np.ndarray) -> Spread:
        """Of the means at all places (z, y, x), from an even sample of about 20,000 of them."""
        step = max(1, round((means.size / _SAMPLE) ** (1 / 3)))
        sample = means[::step, ::step, ::step]
        extremes = [float(means.min()), float(means.max())]
        inner = np.quantile(sample, np.linspace(0, 1, _QUANTILES)[1:-1])
        return cls(means.size, (extremes[0], *inner.tolist(), extremes[1]))

    def packed(self) -> Spread:
        """The same in a quarter of the memory, for a pool that keeps thousands."""
        return Spread(self.places, array("d", self.quantiles))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"places": self.places, "quantiles": list(self.quantiles)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Spread:
        """Read what `to_json` wrote; raises KeyError, TypeError or ValueError when it is something else."""
        return cls(int(document["places"]), tuple(float(value) for value in document["quantiles"]))


def percentile(spreads: Iterable[Spread], values: np.ndarray) -> np.ndarray:
    """Percentage (0 to 100) of all places of these images whose mean lies below each value."""
    known = list(spreads)
    below = [spread.places * _share_below(np.array(spread.quantiles), values) for spread in known]
    total = max(1, sum(spread.places for spread in known))
    # Exact sums: the order of the cases must not change the last digit.
    return np.array([100 * math.fsum(column) / total for column in zip(*below, strict=True)])


def _share_below(quantiles: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The distribution function, continuous from the left: places of an equal mean do not lie below."""
    last = len(quantiles) - 1
    upper = np.clip(np.searchsorted(quantiles, values, side="left"), 1, last)
    low, high = quantiles[upper - 1], quantiles[upper]
    inside = np.divide(values - low, high - low, out=np.zeros(len(values)), where=high > low)
    shares: np.ndarray = (upper - 1 + np.clip(inside, 0, 1)) / last
    return np.where(values > quantiles[-1], 1.0, shares)
