"""A case handed out in parts: what members say of one part of its grid at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nnactive_server.core.patch import Index3


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """Some planes of a case, over the whole of the two other axes.

    The slabs of a case come in order and cover it once. All begin at multiples of `thickness` and all but the
    last have it, so that a file in chunks of that length is written chunk by chunk.

    Attributes:
        shape: voxels of the case (z, y, x).
        axis: which one of these the slabs cut.
        start: first plane.
        thickness: planes of a slab; the length of the axis when there is only one.
        members: softmax (C, z, y, x) float32 of the slab's box, one member after the other: arrays, or torch
            tensors on a device. To be read to the end before the next slab.
    """

    shape: Index3
    axis: int
    start: int
    thickness: int
    members: Iterator[Any]

    @property
    def stop(self) -> int:
        """The plane behind the last one."""
        return min(self.start + self.thickness, self.shape[self.axis])

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Where it lies in the case (z, y, x)."""
        z, y, x = (
            slice(self.start, self.stop) if axis == self.axis else slice(0, length)
            for axis, length in enumerate(self.shape)
        )
        return z, y, x

    @property
    def is_whole(self) -> bool:
        """Whether the case is handed out in one."""
        return self.stop - self.start == self.shape[self.axis]
