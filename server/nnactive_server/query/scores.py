"""From voxels to patches: where a patch can start, and the mean of a map over every such box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Index3, Patch, fit_size, index3


def positive3(values: int | Sequence[int], what: str) -> Index3:
    """Three whole numbers of at least 1; one number stands for all three axes.

    Raises:
        QueryError: another number of axes, not whole, or below 1.
    """
    try:
        numbers = index3([values] * 3 if isinstance(values, int | np.integer) else values, what)
    except (TypeError, ValueError) as problem:
        raise QueryError(f"{what} {values!r}: give three whole numbers (z, y, x)") from problem
    if min(numbers) < 1:
        raise QueryError(f"{what} {numbers}: each axis needs at least 1")
    return numbers


def start_positions(length: int, size: int, stride: int = 1) -> np.ndarray:
    """First voxels a box of `size` can have on an axis of `length` voxels, ascending.

    Every `stride`-th position, and always the last one, so that the far end can be reached.

    Raises:
        QueryError: a size outside 1..length, or a stride below 1.
    """
    if not 1 <= size <= length or stride < 1:
        raise QueryError(f"box of {size} on an axis of {length} with stride {stride} is not possible")
    last = length - size
    starts = np.arange(0, last + 1, stride)
    return starts if starts[-1] == last else np.append(starts, last)


@dataclass(frozen=True, eq=False)
class Places:
    """Every place a patch can take in one image.

    Attributes:
        size: voxels (z, y, x), already clipped to the image.
        starts: ascending start positions on each axis (z, y, x).
    """

    size: Index3
    starts: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def fit(cls, shape: Sequence[int], patch_size: Sequence[int], stride: int | Sequence[int] = 1) -> Places:
        """The places of a patch size, clipped to an image of this (z, y, x) shape."""
        size = fit_size(positive3(patch_size, "patch size"), positive3(shape, "image shape"))
        steps = positive3(stride, "stride")
        z, y, x = (start_positions(n, k, s) for n, k, s in zip(shape, size, steps, strict=True))
        return cls(size, (z, y, x))

    @property
    def shape(self) -> Index3:
        """Number of start positions on each axis."""
        z, y, x = (len(axis) for axis in self.starts)
        return z, y, x

    def patch(self, position: Sequence[int] | np.ndarray) -> Patch:
        """The box at an index (z, y, x) into `starts`."""
        return Patch(index3([axis[i] for axis, i in zip(self.starts, position, strict=True)]), self.size)

    def overlapping(self, box: Patch) -> tuple[slice, slice, slice]:
        """The positions whose patches share a voxel with this box, which may have any size.

        A patch starting at s overlaps [a, b) on an axis when a - k < s < b.
        """
        z, y, x = (
            slice(int(np.searchsorted(axis, a - k, side="right")), int(np.searchsorted(axis, b)))
            for axis, k, a, b in zip(self.starts, self.size, box.start, box.stop, strict=True)
        )
        return z, y, x


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
