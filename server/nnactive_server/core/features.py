"""Embeddings of an image on a coarse grid: what a network's features become on their way to a query.

A network's features are many and as large as its input. They travel as the mean over cells of the image's
own grid, in few dimensions, so that any box's embedding is a weighted mean of cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Index3, Patch, index3
from nnactive_server.core.places import positive3


class Embedding(StrEnum):
    """What a feature vector is.

    BOTTLENECK: the network's features at its lowest resolution (Core-Set; Sener & Savarese 2018).
    GRADIENT: gradient of the cross-entropy with the predicted class as label, with respect to the weights of
        the last layer: `(p - onehot(argmax p)) h^T` for each voxel, h the features before that layer
        (BADGE; Ash et al. 2020). The mean over a box is the gradient of the box's mean loss.
    """

    BOTTLENECK = "bottleneck"
    GRADIENT = "gradient"


@dataclass(frozen=True, eq=False)
class FeatureGrid:
    """Feature vectors of cells that tile an image from its first voxel on.

    Attributes:
        values: (D, cells z, cells y, cells x) float32, finite; the mean over each cell.
        cell: voxels of a cell (z, y, x); the last one on an axis is cut off by the image.
        shape: voxels of the image (z, y, x).

    Raises:
        QueryError: numbers that are not finite, no features at all, or cells that do not tile the image.
    """

    values: np.ndarray
    cell: Index3
    shape: Index3

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", positive3(self.cell, "feature cell"))
        object.__setattr__(self, "shape", positive3(self.shape, "image shape of the features"))
        cells = cell_counts(self.shape, self.cell)
        if self.values.ndim != 4 or self.values.shape[1:] != cells or not len(self.values):
            raise QueryError(
                f"features of shape {self.values.shape}: an image of {self.shape} has {cells} cells "
                f"of {self.cell}; need (features, z, y, x)"
            )
        if not np.isfinite(self.values).all():
            raise QueryError("features hold values that are not finite; check the model's weights")

    def box_means(self, boxes: Sequence[Patch]) -> np.ndarray:
        """Mean feature vector of each box, (boxes, D) float64; a cell counts by the voxels it shares.

        Raises:
            QueryError: a box that reaches outside the image.
        """
        found = np.empty((len(boxes), len(self.values)))
        for row, box in zip(found, boxes, strict=True):
            row[:] = self.grid_means([np.array([start]) for start in box.start], box.size).ravel()
        return found

    def grid_means(self, starts: Sequence[np.ndarray], size: Index3) -> np.ndarray:
        """As `box_means`, for boxes of one size at every combination of start positions.

        One axis after the other, so that thousands of boxes cost little more than one.

        Args:
            starts: first voxels on each axis, (z, y, x).
            size: voxels (z, y, x).

        Returns:
            float64 (D, starts z, starts y, starts x).

        Raises:
            QueryError: a box that reaches outside the image.
        """
        total = self.values.astype(np.float64)
        for axis in range(3):
            if starts[axis].min() < 0 or starts[axis].max() + size[axis] > self.shape[axis]:
                raise QueryError(f"box of {tuple(size)} reaches outside the image of {self.shape}")
            shares = _shares(starts[axis], size[axis], self.cell[axis], total.shape[1])
            # The axis at hand is always the second: it goes out there and comes back last.
            total = np.tensordot(total, shares, (1, 1))
        return total / math.prod(size)


def cell_counts(shape: Sequence[int], cell: Sequence[int]) -> Index3:
    """Number of cells on each axis of an image."""
    return index3([-(-n // c) for n, c in zip(shape, cell, strict=True)])


def _shares(starts: np.ndarray, size: int, cell: int, cells: int) -> np.ndarray:
    """How many voxels of each interval [start, start + size) lie in each cell, (starts, cells)."""
    edges = np.arange(cells + 1) * cell
    inside = np.clip(edges, starts[:, None], starts[:, None] + size)
    return np.diff(inside, axis=1).astype(np.float64)
