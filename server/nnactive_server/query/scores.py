"""From voxels to patches: the mean of a map over every box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.places import Places
from nnactive_server.query.blocks import on_all_cores, rows_of
from nnactive_server.query.device import is_tensor, to_numpy
from nnactive_server.query.windows import window_sums


def patch_scores(
    values: np.ndarray, patch_size: Sequence[int], stride: int | Sequence[int] = 1
) -> np.ndarray:
    """Mean of a map over every box that lies fully inside.

    Args:
        values: map (z, y, x); a torch tensor is summed on its own device.
        patch_size: voxels (z, y, x), clipped to the map: `k_d = min(P_d, n_d)`.
        stride: step between start positions, one number or (z, y, x).

    Returns:
        float64 array indexed by start position (see `start_positions`), (z, y, x).

    Raises:
        QueryError: not three axes, values that are not finite, an impossible size or stride.
    """
    if values.ndim != 3:
        raise QueryError(f"a map needs three axes (z, y, x), got shape {tuple(values.shape)}")
    places = Places.fit(values.shape, patch_size, stride)
    if is_tensor(values):
        from nnactive_server.query.tensors import tensor_scores

        tensor: Any = values
        return to_numpy(tensor_scores(tensor, places))
    if not np.isfinite(values).all():
        raise QueryError("the map holds values that are not finite")
    columns = np.empty((len(places.starts[0]), *values.shape[1:]))

    def sum_columns(rows: slice) -> None:
        columns[:, rows] = _strided_sums(values[:, rows].astype(np.float64), places, 0)

    means = np.empty(places.shape)

    def sum_planes(planes: slice) -> None:
        boxes = _strided_sums(_strided_sums(columns[planes], places, 1), places, 2)
        np.divide(boxes, np.prod(places.size), out=means[planes])

    on_all_cores(sum_columns, rows_of(values.shape[1], values.shape[0] * values.shape[2]))
    on_all_cores(sum_planes, rows_of(len(columns), values.shape[1] * values.shape[2]))
    return means


def _strided_sums(values: np.ndarray, places: Places, axis: int) -> np.ndarray:
    """Window sums along an axis, at the start positions of the places."""
    sums: np.ndarray = window_sums(values, axis, places.size[axis])
    starts = places.starts[axis]
    return sums.take(starts, axis=axis) if len(starts) < sums.shape[axis] else sums
