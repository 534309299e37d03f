"""What one image's own maps say about a patch of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnactive_server.core.patch import Patch
from nnactive_server.query.device import to_numpy
from nnactive_server.query.explanation import Explanation
from nnactive_server.query.uncertainty import VOXEL_MEASURES
from nnactive_server.query.values import CaseMaps


def explain(case: CaseMaps, patch: Patch, annotated: Sequence[Patch], value: float | None) -> Explanation:
    """What speaks for a patch of this image, as far as its own maps tell.

    Args:
        case: maps of the image.
        patch: the proposed box.
        annotated: boxes of this image that are annotated already.
        value: of the box in the map it was ranked by, without noise; None when there is none.
    """
    box = patch.slices
    return Explanation(
        value,
        {name: _mean(case.maps[name][box]) for name in VOXEL_MEASURES if name in case.maps},
        _shares(to_numpy(case.maps["prediction"][box])) if "prediction" in case.maps else {},
        min((gap_mm(patch, other, case.spacing) for other in annotated), default=None),
    )


def gap_mm(one: Patch, other: Patch, spacing: Sequence[float]) -> float:
    """Shortest distance between two boxes in mm, 0 when they touch or overlap.

    Args:
        one: a box.
        other: another box on the same grid.
        spacing: mm (z, y, x).
    """
    gaps = [
        max(0, a - be, b - ae) * mm
        for a, ae, b, be, mm in zip(one.start, one.stop, other.start, other.stop, spacing, strict=True)
    ]
    return math.hypot(*gaps)


def _mean(values: Any) -> float:
    # In one order of addition, whatever the map's layout in memory.
    return float(np.ascontiguousarray(to_numpy(values)).mean(dtype=np.float64))


def _shares(prediction: np.ndarray) -> dict[int, float]:
    counts = np.bincount(prediction.ravel())
    return {int(value): float(counts[value] / prediction.size) for value in np.flatnonzero(counts)}
