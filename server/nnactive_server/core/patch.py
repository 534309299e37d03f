"""A query patch: an axis-aligned box of voxels in array order (z, y, x)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Index3 = tuple[int, int, int]
_INTEGERS = [int, int, int]


def index3(values: Sequence[int], what: str = "value") -> Index3:
    """Three plain integers from any sequence of three integral numbers.

    Raises:
        ValueError: not exactly three, or not integral.
    """
    if type(values) is tuple and [*map(type, values)] == _INTEGERS:  # most callers, thousands at a time
        return values
    numbers = tuple(int(v) for v in values)
    if len(numbers) != 3 or any(n != v for n, v in zip(numbers, values, strict=True)):
        raise ValueError(f"{what} needs three whole numbers (z, y, x), got {tuple(values)}")
    return numbers[0], numbers[1], numbers[2]


@dataclass(frozen=True, slots=True, order=True)
class Patch:
    """A box of voxels on one image's own grid.

    Attributes:
        start: first voxel (z, y, x), zero-based.
        size: extent in voxels (z, y, x), each at least 1.
    """

    start: Index3
    size: Index3

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", index3(self.start, "patch start"))
        object.__setattr__(self, "size", index3(self.size, "patch size"))
        if min(self.start) < 0:
            raise ValueError(f"patch start must not be negative, got {self.start}")
        if min(self.size) < 1:
            raise ValueError(f"patch size must be at least 1 on each axis, got {self.size}")

    @property
    def stop(self) -> Index3:
        """First voxel after the box (z, y, x)."""
        return index3([s + n for s, n in zip(self.start, self.size, strict=True)])

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the box in a (z, y, x) array."""
        (z, y, x), (ze, ye, xe) = self.start, self.stop
        return slice(z, ze), slice(y, ye), slice(x, xe)

    @property
    def voxels(self) -> int:
        """Number of voxels in the box."""
        return self.size[0] * self.size[1] * self.size[2]

    def inside(self, shape: Sequence[int]) -> bool:
        """Whether the whole box lies in an array of this (z, y, x) shape."""
        return all(e <= n for e, n in zip(self.stop, shape, strict=True))

    def overlap(self, other: Patch) -> int:
        """Number of voxels that both boxes hold."""
        shared = 1
        for a, b, ae, be in zip(self.start, other.start, self.stop, other.stop, strict=True):
            shared *= max(0, min(ae, be) - max(a, b))
        return shared


def fit_size(size: Sequence[int], shape: Sequence[int]) -> Index3:
    """The patch size an image really gets: `min(size, shape)` on each axis."""
    return index3([min(p, n) for p, n in zip(index3(size, "patch size"), shape, strict=True)])
