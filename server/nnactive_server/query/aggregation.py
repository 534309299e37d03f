"""From voxels to one number per patch: how the values of a box become its score (thesis ch. 6, C3).

    mean           (1/n) sum of u over the box's n voxels; the papers' main study
    top-fraction   mean of the highest `fraction` of the box's values: a small bright spot counts
    threshold      mean of the values above `threshold` nats, 0 when there is none

A voxel of two classes passes the default threshold of 0.2 nats when the second one has 5 %. The thesis takes
the threshold from validation images: the quantile `1 - foreground share` of their uncertainty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Index3
from nnactive_server.core.places import Places, positive3
from nnactive_server.query.blocks import on_all_cores
from nnactive_server.query.device import to_numpy
from nnactive_server.query.scores import patch_scores

AGGREGATIONS = ("mean", "top-fraction", "threshold")


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A way to turn a box of values into one.

    Attributes:
        name: one of `AGGREGATIONS`.
        fraction: of the box's voxels that count, in (0, 1]; for `top-fraction`.
        threshold: nats, not negative; for `threshold`.

    Raises:
        QueryError: a value out of range.
    """

    name: str = "mean"
    fraction: float = 0.1
    threshold: float = 0.2

    def __post_init__(self) -> None:
        if self.name not in AGGREGATIONS:
            raise QueryError(f"aggregation {self.name!r} is unknown; choose among {list(AGGREGATIONS)}")
        if not 0 < self.fraction <= 1:
            raise QueryError(f"fraction {self.fraction}: needs a share above 0, at most 1")
        if not 0 <= self.threshold < math.inf:
            raise QueryError(f"threshold {self.threshold}: needs nats of at least 0")

    def scores(
        self, values: Any, patch_size: Sequence[int], stride: int | Sequence[int] = 1
    ) -> tuple[Places, np.ndarray]:
        """The places of an image and what the values of each box come to.

        Args:
            values: map (z, y, x), array or tensor, not negative.
            patch_size: voxels (z, y, x).
            stride: step between places. Ranks within a box cannot be carried from place to place, so
                `top-fraction` looks at most at every quarter of a patch.

        Returns:
            Places, and float64 scores by place (z, y, x).

        Raises:
            QueryError: as `patch_scores`.
        """
        if values.ndim != 3:
            raise QueryError(f"a map needs three axes (z, y, x), got shape {tuple(values.shape)}")
        if self.name == "top-fraction":
            return self._top_scores(values, positive3(patch_size, "patch size"), stride)
        places = Places.fit(values.shape, patch_size, stride)
        if self.name == "mean":
            return places, patch_scores(values, patch_size, stride)
        above = values > self.threshold
        sums = patch_scores(values * above, patch_size, stride)
        shares = patch_scores(above, patch_size, stride)
        return places, np.divide(sums, shares, out=np.zeros_like(sums), where=shares > 0)

    def _top_scores(
        self, values: Any, patch_size: Index3, stride: int | Sequence[int]
    ) -> tuple[Places, np.ndarray]:
        quarter = [max(s, k // 4) for s, k in zip(positive3(stride, "stride"), patch_size, strict=True)]
        places = Places.fit(values.shape, patch_size, quarter)
        array = to_numpy(values)
        if not np.isfinite(array).all():
            raise QueryError("the map holds values that are not finite")
        count = max(1, math.ceil(self.fraction * math.prod(places.size) - 1e-9))
        scores = np.empty(places.shape)

        def plane(z: int) -> None:
            for y, x in np.ndindex(places.shape[1:]):
                scores[z, y, x] = _top_mean(array[places.patch((z, y, x)).slices], count)

        on_all_cores(plane, range(places.shape[0]))
        return places, scores


def _top_mean(box: np.ndarray, count: int) -> float:
    """Mean of the `count` highest values; added in order of size, so that equal contents tie exactly."""
    highest = np.sort(np.partition(box, box.size - count, axis=None)[box.size - count :])
    return float(highest.mean(dtype=np.float64))
