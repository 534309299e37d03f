"""From voxels to patches: the mean of a map over every box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.places import Places


def patch_scores(
    values: np.ndarray, patch_size: Sequence[int], stride: int | Sequence[int] = 1
) -> np.ndarray:
    """Mean of a map over every box that lies fully inside.

    Args:
        values: map (z, y, x).
        patch_size: voxels (z, y, x), clipped to the map: `k_d = min(P_d, n_d)`.
        stride: step between start positions, one number or (z, y, x).

    Returns:
        float64 array indexed by start position (see `start_positions`), (z, y, x).

    Raises:
        QueryError: not three axes, values that are not finite, an impossible size or stride.
    """
    if np.ndim(values) != 3:
        raise QueryError(f"a map needs three axes (z, y, x), got shape {np.shape(values)}")
    if not np.isfinite(values).all():
        raise QueryError("the map holds values that are not finite")
    places = Places.fit(np.shape(values), patch_size, stride)
    sums = np.asarray(values, dtype=np.float64)
    for axis, (size, starts) in enumerate(zip(places.size, places.starts, strict=True)):
        sums = _window_sums(sums, axis, size)
        if len(starts) < sums.shape[axis]:
            sums = sums.take(starts, axis=axis)
    return sums / np.prod(places.size)


def _window_sums(values: np.ndarray, axis: int, length: int) -> np.ndarray:
    """Sums of every `length` neighbours along an axis, put together from windows of 1, 2, 4, … voxels.

    Differences of a cumulative sum would be one line shorter, but cancel: zeros beside bright regions
    turn into small negative numbers, and equal boxes into unequal scores. Here every box goes through
    the same additions, so boxes of equal content tie exactly and zero stays zero.
    """
    window = np.moveaxis(values, axis, 0)
    count = window.shape[0] - length + 1
    sums = np.zeros((count, *window.shape[1:]))
    width, done = 1, 0
    while done < length:
        if length & width:
            sums += window[done : done + count]
            done += width
        if done < length:
            window = window[:-width] + window[width:]
            width *= 2
    return np.moveaxis(sums, 0, axis)
