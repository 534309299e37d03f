"""Embeddings of an image on a coarse grid: what a network's features become on their way to a query.

A network's features are many and as large as its input. They travel as the mean over cells of the image's
own grid, in few dimensions, so that any box's embedding is a weighted mean of cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Index3, Patch, index3


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
        QueryError: numbers that are not finite, or cells that do not tile the image.
    """

    values: np.ndarray
    cell: Index3
    shape: Index3

    def __post_init__(self) -> None:
        cells = cell_counts(self.shape, self.cell)
        if self.values.ndim != 4 or self.values.shape[1:] != cells:
            raise QueryError(
                f"features of shape {self.values.shape}: an image of {self.shape} has {cells} cells "
                f"of {self.cell}"
            )
        if not np.isfinite(self.values).all():
            raise QueryError("features hold values that are not finite; check the model's weights")

    def box_means(self, boxes: Sequence[Patch]) -> np.ndarray:
        """Mean feature vector of each box, (boxes, D) float64; a cell counts by the voxels it shares."""
        found = np.empty((len(boxes), self.values.shape[0]))
        for row, box in zip(found, boxes, strict=True):
            total = self.values
            for axis in (2, 1, 0):
                weights, cells = _shares(box.start[axis], box.stop[axis], self.cell[axis])
                total = np.tensordot(total[(slice(None),) * (axis + 1) + (cells,)], weights, (axis + 1, 0))
            row[:] = total / box.voxels
        return found


def cell_counts(shape: Sequence[int], cell: Sequence[int]) -> Index3:
    """Number of cells on each axis of an image."""
    return index3([-(-n // c) for n, c in zip(shape, cell, strict=True)])


def _shares(start: int, stop: int, cell: int) -> tuple[np.ndarray, slice]:
    """How many voxels of [start, stop) lie in each cell that it meets."""
    first, last = start // cell, (stop - 1) // cell + 1
    edges = np.clip(np.arange(first, last + 1) * cell, start, stop)
    return np.diff(edges).astype(float), slice(first, last)
