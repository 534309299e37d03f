"""Where a patch can start in an image, and which of these places are taken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Index3, Patch, fit_size, index3

Slices3 = tuple[slice, slice, slice]
_TRIES = 64


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

    @property
    def image_shape(self) -> Index3:
        """Voxels of the image: the last place on each axis ends where the image does."""
        return index3([int(axis[-1]) + k for axis, k in zip(self.starts, self.size, strict=True)])

    def patch(self, position: Sequence[int] | np.ndarray) -> Patch:
        """The box at an index (z, y, x) into `starts`."""
        return Patch(index3([axis[i] for axis, i in zip(self.starts, position, strict=True)]), self.size)

    def position(self, patch: Patch) -> Index3:
        """The index (z, y, x) into `starts` of one of these patches."""
        return index3([int(np.searchsorted(a, s)) for a, s in zip(self.starts, patch.start, strict=True)])

    def overlapping(self, box: Patch) -> Slices3:
        """The positions whose patches share a voxel with this box, which may have any size.

        A patch starting at s overlaps [a, b) on an axis when a - k < s < b.
        """
        z, y, x = (
            slice(int(np.searchsorted(axis, a - k, side="right")), int(np.searchsorted(axis, b)))
            for axis, k, a, b in zip(self.starts, self.size, box.start, box.stop, strict=True)
        )
        return z, y, x


class Occupancy:
    """Which places of one image are free.

    A place is free when the boxes taken so far hold, all together, at most a share `overlap` of its voxels;
    with 0 none of them.

    Args:
        places: where patches can lie.
        boxes: taken from the start; any size.
        overlap: share in [0, 1).
    """

    def __init__(self, places: Places, boxes: Iterable[Patch] = (), overlap: float = 0.0) -> None:
        self.places = places
        self.boxes: list[Patch] = []
        voxels = math.prod(places.size)
        # Forgives binary fractions: 0.29 of 100 voxels are 29. A place that is taken is never free.
        self._most = min(math.floor(overlap * voxels + 1e-9), voxels - 1)
        # A map of what is taken is only needed to count voxels of several boxes together.
        self._taken = np.zeros(places.image_shape if self._most else (0, 0, 0), dtype=bool)
        self._lower, self._upper = np.empty((0, 3), dtype=np.int64), np.empty((0, 3), dtype=np.int64)
        for box in boxes:
            self.take(box)

    def take(self, box: Patch) -> None:
        """Occupy a box."""
        self.boxes.append(box)
        self._lower = np.vstack([self._lower, box.start])
        self._upper = np.vstack([self._upper, box.stop])
        if self._most:
            self._taken[box.slices] = True

    def is_free(self, patch: Patch) -> bool:
        """Whether a patch of the places' size may still be taken."""
        if self._most:
            return int(np.count_nonzero(self._taken[patch.slices])) <= self._most
        shared = (self._lower < patch.stop) & (self._upper > patch.start)
        return not bool(shared.all(axis=1).any())

    def blocked(self, box: Patch) -> tuple[Slices3, np.ndarray]:
        """The places near a taken box, and which of them are not free (bool, of the slices' shape)."""
        near = self.places.overlapping(box)
        extent = tuple(max(0, s.stop - s.start) for s in near)
        if not self._most or 0 in extent:
            return near, np.ones(extent, dtype=bool)
        return near, self._counts(near) > self._most

    def free(self) -> np.ndarray:
        """True at every free place (z, y, x)."""
        free = np.ones(self.places.shape, dtype=bool)
        for box in self.boxes:
            near, blocked = self.blocked(box)
            free[near] &= ~blocked
        return free

    def draw(self, rng: np.random.Generator) -> Patch | None:
        """A free place, each as likely as any other; None when there is none."""
        shape = self.places.shape
        for _ in range(_TRIES):
            patch = self.places.patch(rng.integers(shape))
            if self.is_free(patch):
                return patch
        free = np.flatnonzero(self.free())
        return self.places.patch(np.unravel_index(rng.choice(free), shape)) if len(free) else None

    def centred(self, voxels: np.ndarray) -> np.ndarray:
        """Start corners (..., 3) of patches around voxels (..., 3), shifted inside the image."""
        last = np.array(self.places.image_shape) - self.places.size
        inside: np.ndarray = np.clip(voxels - np.array(self.places.size) // 2, 0, last)
        return inside

    def _counts(self, near: Slices3) -> np.ndarray:
        """Taken voxels in the patch of each of these places; whole numbers, so exact."""
        starts = [axis[part] for axis, part in zip(self.places.starts, near, strict=True)]
        corner = [int(axis[0]) for axis in starts]
        stop = [int(axis[-1]) + k for axis, k in zip(starts, self.places.size, strict=True)]
        counts: np.ndarray = self._taken[tuple(slice(a, b) for a, b in zip(corner, stop, strict=True))]
        for axis, (first, positions, size) in enumerate(zip(corner, starts, self.places.size, strict=True)):
            sums = np.insert(counts.cumsum(axis=axis, dtype=np.int64), 0, 0, axis=axis)
            low = positions - first
            counts = sums.take(low + size, axis=axis) - sums.take(low, axis=axis)
        return counts
