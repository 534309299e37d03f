"""Embeddings of an image: a network's features as means over coarse cells of the case's own grid.

Features are made tile by tile, and each tile's are reduced at once: to few dimensions by a random projection
and to the cells the tile lies under. What is kept is the coarse grid alone.

Projection: y = R x with entries of R drawn from N(0, 1/dims). Distances survive in expectation, within a
factor of about 1 ± sqrt(2/dims) (Johnson & Lindenstrauss 1984; Dasgupta & Gupta 2003). R depends on the
kind of embedding, the width and the dims alone, so that all cases and members share it.

Way back: a feature stands for a box of the preprocessed image (axes turned, cropped to what is not zero,
resampled, padded). All of these act on each axis by itself, so that box is a box of the case, and the share
of a cell that a feature fills is a product of three lengths. Where tiles overlap, each of them counts with
its part: every voxel of the case weighs the same in the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from nnactive_server.core.features import Embedding, FeatureGrid, cell_counts
from nnactive_server.core.patch import Index3, index3
from nnactive_server.core.places import positive3
from nnactive_server.core.rng import generator
from nnactive_server.segmentation.hardware import Hardware
from nnactive_server.segmentation.plan import Plan
from nnactive_server.segmentation.prediction.tiles import Box, Tiles

DIMS = 32
"""Numbers a feature vector keeps per member. Wider ones are projected."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of each cell the features of one tile fill, on one axis.

    Attributes:
        cells: the cells the tile lies under.
        lengths: voxels of the case, (cells, features) float32; voxels in several tiles count in parts.
    """

    cells: slice
    lengths: np.ndarray


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a padded image, laid over the cells of the case.

    Attributes:
        place: where each voxel edge of the padded image lies in the case, in voxels of the case, (n + 1).
            Padding has no length.
        counted: voxels of the case up to each of these edges, each divided by the number of its tiles.
        edges: where cells of the case begin and end, (cells + 1).
    """

    place: np.ndarray
    counted: np.ndarray
    edges: np.ndarray

    @classmethod
    def over(
        cls,
        size: int,
        inside: slice,
        crop: Sequence[int],
        cell: int,
        cells: int,
        starts: Sequence[int],
        tile: int,
    ) -> Axis:
        """An axis of a padded image.

        Args:
            size: voxels of the padded image.
            inside: those of them that are not padding.
            crop: first and end voxel of the case that they show.
            cell, cells: voxels of a cell, and how many there are.
            starts, tile: first voxels of the tiles, and their size.
        """
        place = np.interp(np.arange(size + 1), [inside.start, inside.stop], [crop[0], crop[1]])
        tiles = np.zeros(size)
        for start in starts:
            tiles[start : start + tile] += 1
        counted = np.concatenate([[0.0], np.cumsum(np.diff(place) / tiles)])
        return cls(place, counted, np.arange(cells + 1) * cell)

    def covered(self) -> np.ndarray:
        """Voxels of each cell that the image shows, (cells,)."""
        voxels: np.ndarray = np.diff(np.clip(self.edges, self.place[0], self.place[-1]))
        return voxels

    def shares(self, part: slice, features: int) -> Shares:
        """Shares of the features that divide the voxels `part` of the padded image evenly."""
        borders = np.linspace(part.start, part.stop, features + 1)
        at = np.interp(borders, np.arange(len(self.place)), self.place)
        inside = np.clip(self.edges[:, None], at[:-1], at[1:])
        lengths = np.diff(np.interp(inside, self.place, self.counted), axis=0)
        rows = np.flatnonzero(lengths.any(axis=1))
        cells = slice(int(rows[0]), int(rows[-1]) + 1)
        return Shares(cells, lengths[cells].astype(np.float32))


class Embedder:
    """Embeds images of one plan.

    Args:
        plan: tile size and axis order.
        hardware: device and number format.
        step: distance of tiles in tile sizes, in (0, 1].
        dims: numbers kept per member.
    """

    def __init__(self, plan: Plan, hardware: Hardware, step: float, dims: int = DIMS) -> None:
        self._plan = plan
        self._hardware = hardware
        self._tiles = Tiles(plan, hardware, step)
        self._classes = plan.labels.num_classes
        self._dims = dims

    def embed(
        self,
        networks: Sequence[nn.Module],
        image: np.ndarray,
        properties: Mapping[str, Any],
        kind: Embedding,
        cell: Index3,
    ) -> FeatureGrid:
        """Features of each member, stacked along the first axis; 0 in cells outside the non-zero crop.

        Args:
            networks: of the members, ready to predict, deep supervision off.
            image: preprocessed image (channels, z, y, x).
            properties: of the preprocessed case.
            kind: what a feature is.
            cell: voxels of a cell (z, y, x) of the case's own grid.

        Raises:
            QueryError: not a cell size, or features that are not finite.
        """
        cell = positive3(cell, "feature cell")
        forward, backward = self._plan.manager.transpose_forward, self._plan.manager.transpose_backward
        turned = properties["shape_before_cropping"]
        padded, inside = self._tiles.padded(image)
        axes = self._axes(padded.shape[1:], inside, properties, [cell[axis] for axis in forward])
        grids = [self._means(network, padded, kind, axes) for network in networks]
        values = np.concatenate(grids).transpose(0, *(axis + 1 for axis in backward))
        shape = index3([turned[axis] for axis in backward])
        return FeatureGrid(np.ascontiguousarray(values), cell, shape)

    def _axes(
        self, size: Sequence[int], inside: Box, properties: Mapping[str, Any], cell: Sequence[int]
    ) -> list[Axis]:
        counts = cell_counts(properties["shape_before_cropping"], cell)
        crop, starts = properties["bbox_used_for_cropping"], self._tiles.starts(size)
        return [
            Axis.over(size[i], inside[i], crop[i], cell[i], counts[i], starts[i], self._tiles.shape[i])
            for i in range(3)
        ]

    def _means(
        self, network: nn.Module, image: torch.Tensor, kind: Embedding, axes: Sequence[Axis]
    ) -> np.ndarray:
        """Mean feature of each cell (D, cells z, y, x) float32, axes turned as in the image."""
        reduce = self._bottleneck_sums if kind is Embedding.BOTTLENECK else self._gradient_sums
        counts = [len(axis.edges) - 1 for axis in axes]
        with _forward(network, kind) as forward:

            def work(tiles: torch.Tensor, boxes: Sequence[Box]) -> Iterator[tuple[list[slice], np.ndarray]]:
                with self._hardware.precision():
                    out = forward(tiles)
                for box, tile in zip(boxes, out, strict=False):
                    parts = zip(axes, box, tile.shape[1:], strict=True)
                    shares = [axis.shares(part, features) for axis, part, features in parts]
                    sums = reduce(tile.float(), [share.lengths for share in shares])
                    yield [share.cells for share in shares], sums.cpu().numpy()

            total = np.zeros((0, *counts), np.float32)
            for _, _, (cells, sums) in self._tiles.each([image], work):
                total = total if len(total) else np.zeros((len(sums), *counts), np.float32)
                total[(slice(None), *cells)] += sums
        z, y, x = (axis.covered() for axis in axes)
        covered = (z[:, None, None] * y[:, None] * x).astype(np.float32)
        means: np.ndarray = np.divide(total, covered, out=np.zeros_like(total), where=covered > 0)
        return means

    def _bottleneck_sums(self, features: torch.Tensor, lengths: Sequence[np.ndarray]) -> torch.Tensor:
        """Sums (D, cells) of features (F, z, y, x) over a tile's cells."""
        rows = self._projected(Embedding.BOTTLENECK, features.flatten(1).T)
        sums = rows.T.reshape(-1, *features.shape[1:])
        for axis_lengths in lengths:
            # The axis at hand is always the second: it goes out there and comes back last.
            sums = torch.tensordot(sums, torch.from_numpy(axis_lengths).to(sums), ([1], [1]))
        return sums

    def _gradient_sums(self, both: torch.Tensor, lengths: Sequence[np.ndarray]) -> torch.Tensor:
        """Sums (D, cells) of `(p - onehot(argmax p)) h^T` over a tile's cells; `both` is h and then logits.

        The products of all voxels would be as many as classes times features. They are summed within cells,
        one layer of cells after the other, before they are projected.
        """
        hidden, logits = both[: -self._classes], both[-self._classes :]
        errors = torch.softmax(logits, 0)
        errors.scatter_add_(0, logits.argmax(0, keepdim=True), errors.new_full((1, *errors.shape[1:]), -1))
        layers = [self._projected(Embedding.GRADIENT, rows) for rows in _products(errors, hidden, lengths)]
        return torch.cat(layers).T.reshape(-1, *(len(rows) for rows in lengths))

    def _projected(self, kind: Embedding, rows: torch.Tensor) -> torch.Tensor:
        """Rows (n, width) in at most `dims` numbers each."""
        width = rows.shape[1]
        if width <= self._dims:
            return rows
        return rows @ torch.from_numpy(projection(kind, width, self._dims)).to(rows).T


def projection(kind: Embedding, width: int, dims: int) -> np.ndarray:
    """The random projection (dims, width) float32 of features of this kind and width."""
    drawn = generator("projection", kind, width, dims).standard_normal((dims, width))
    drawn /= np.sqrt(dims)
    return drawn.astype(np.float32)


@contextmanager
def _forward(network: nn.Module, kind: Embedding) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """What turns tiles (B, channels, z, y, x) into the encoder's last features, or into those before the last
    layer followed by its logits."""
    if kind is Embedding.BOTTLENECK:
        yield lambda tiles: network.encoder(tiles)[-1]  # type: ignore[operator]
        return
    # The hook hands the layer's input on with its output and keeps nothing, so threads can share it.
    last = network.decoder.seg_layers[-1]  # type: ignore[union-attr,index]
    with last.register_forward_hook(lambda _, given, out: torch.cat([given[0], out], 1)):  # type: ignore
        yield network


def _products(
    errors: torch.Tensor, hidden: torch.Tensor, lengths: Sequence[np.ndarray]
) -> Iterator[torch.Tensor]:
    """For each layer of cells, the sums over its cells of `errors hidden^T`, (cells y * cells x, C * F).

    Args:
        errors: (C, z, y, x).
        hidden: (F, z, y, x).
        lengths: for each axis how many voxels of each cell a voxel fills, (cells, voxels).
    """
    (z, z_lengths), (y, y_lengths), (x, x_lengths) = (_windows(axis, errors.device) for axis in lengths)

    def blocks(array: torch.Tensor, layer: torch.Tensor) -> torch.Tensor:
        """Voxels by cell, (cells y * cells x, channels, voxels)."""
        cut = array[:, layer][:, :, y][..., x]
        by_cell = cut.permute(2, 4, 0, 1, 3, 5)
        return by_cell.reshape(len(y) * len(x), len(array), -1)

    flat = y_lengths[:, None, None, :, None] * x_lengths[:, None, None, :]
    flat = flat.reshape(len(y) * len(x), 1, 1, -1)
    for layer, heights in zip(z, z_lengths, strict=True):
        weights = (heights[:, None] * flat).flatten(2)
        sums = torch.bmm(blocks(errors, layer) * weights, blocks(hidden, layer).transpose(1, 2))
        yield sums.flatten(1)


def _windows(lengths: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The voxels under each cell and the lengths they fill, both (cells, largest number of voxels).

    Cells under fewer voxels get others with length 0.
    """
    first = (lengths > 0).argmax(axis=1)[:, None]
    window = first + np.arange((lengths > 0).sum(axis=1).max())
    voxels = np.minimum(window, lengths.shape[1] - 1)
    found = np.take_along_axis(lengths, voxels, axis=1) * (window == voxels)
    return torch.from_numpy(voxels).to(device), torch.from_numpy(found.astype(np.float32)).to(device)
