"""The training crop where nnU-Net's own would be too large for the time there is.

A crop is also the tile of the sliding window. Which shape of a given volume it has matters little to training
but much to prediction: an image of 36x50x35 voxels is eight tiles of 32x32x32 that overlap, or four of
24x32x40 with half of their voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

from nnactive_server.core.patch import Index3, index3

MIN_EDGE = 4
"""Voxels along each axis that the coarsest features keep (nnU-Net's)."""

_GRAIN = 4
"""Edges are tried in steps of so many voxels."""
_FULL = 0.75
"""Share of the allowed voxels that a crop uses at least: smaller ones see less around a voxel."""
_LONGEST = 2.0
"""Longest edge in shortest edges (mm), where the image is that thick."""
_AS_GOOD = 1.05
"""Crops with which so many times the least work is done are as good; the thickest of them is taken."""


def pooled(shape: Sequence[int] | np.ndarray, spacing: np.ndarray) -> Index3:
    """The crop nnU-Net makes of a shape (z, y, x): padded to what its network can pool."""
    return _topology(shape, spacing)[1]


def _topology(shape: Sequence[int] | np.ndarray, spacing: np.ndarray) -> tuple[int, Index3]:
    """How many resolutions nnU-Net's network for a shape has, and the crop it makes of it."""
    found = get_pool_and_conv_props(spacing, shape, MIN_EDGE, 999999)
    return len(found[1]), index3(found[3])


def bounded_crop(shapes: np.ndarray, spacing: np.ndarray, voxels: int, step: float) -> Index3:
    """The crop of at most so many voxels whose tiles cover images with the least work.

    Only crops count whose network has the most resolutions. Of those that do about equally well, the one with
    the longest shortest edge (mm) is taken. Images whose median fits keep nnU-Net's crop.

    Args:
        shapes: voxels of the images (n, 3) at the network's voxel size, z, y, x.
        spacing: voxel size in mm (z, y, x).
        voxels: the bound.
        step: distance of tiles in tile sizes, as prediction has it.

    Returns:
        Voxels (z, y, x). Where even the least crop that can be pooled is too large, that one.
    """
    median = np.maximum(np.round(np.median(shapes, axis=0)).astype(int), 1)
    whole = pooled(median, spacing)
    if np.prod(whole) <= voxels:
        return whole
    edges = _edges(np.array(whole), spacing, voxels)
    grid = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1)
    size, work = grid.prod(axis=-1), tile_voxels(edges, shapes, step)
    allowed = size <= voxels
    good = allowed & (size >= _FULL * voxels) & _is_thick(grid, median, spacing)
    for choice in (good, allowed):
        found = _deepest(grid[choice], work[choice], spacing)
        if found:
            return max(found, key=lambda crop: (min(crop * spacing), np.prod(crop), crop))
    return pooled([min(_GRAIN, n) for n in whole], spacing)


def _edges(whole: np.ndarray, spacing: np.ndarray, voxels: int) -> list[np.ndarray]:
    """Edges of crops along each axis, but for those too long for the bound in a crop that is no sliver."""
    found = []
    for axis, length in enumerate(whole):
        edges = np.unique(np.minimum(np.arange(_GRAIN, length + _GRAIN, _GRAIN), length))
        shortest = edges[:, None] * spacing[axis] / (_LONGEST * spacing)
        others = np.delete(np.minimum(shortest, whole), axis, axis=1)
        found.append(edges[edges * others.prod(axis=1) <= voxels])
    return found


def tile_voxels(edges: Sequence[np.ndarray], shapes: np.ndarray, step: float) -> np.ndarray:
    """Voxels that a network sees to predict an image in tiles, the mean over images.

    Args:
        edges: of tiles, a list of voxels for each of z, y, x.
        shapes: voxels of the images, (n, 3).
        step: distance of tiles in tile sizes, in (0, 1].

    Returns:
        One for each tile that can be made of these edges, (z, y, x).
    """
    tiles = [
        1 + np.ceil(np.maximum(length[:, None] - edge, 0) / (edge * step))
        for length, edge in zip(np.asarray(shapes, float).T, edges, strict=True)
    ]
    tiles[0] = tiles[0] / len(shapes)
    seen = [count * edge for count, edge in zip(tiles, edges, strict=True)]
    total: np.ndarray = np.einsum("nz,ny,nx->zyx", *seen, optimize=True)
    return total


def _deepest(crops: np.ndarray, work: np.ndarray, spacing: np.ndarray) -> list[Index3]:
    """Of crops (n, 3) that a network can pool those with the most resolutions and about the least work."""
    found = []
    for crop, cost in zip(crops.tolist(), work, strict=True):
        depth, padded = _topology(crop, spacing)
        if padded == tuple(crop):
            found.append((depth, cost, padded))
    deepest = max((depth for depth, _, _ in found), default=0)
    least = min((cost for depth, cost, _ in found if depth == deepest), default=0.0)
    return [crop for depth, cost, crop in found if depth == deepest and cost <= _AS_GOOD * least]


def _is_thick(crops: np.ndarray, median: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Whether no edge of crops (..., 3) is much shorter than the longest (mm), but where the image ends."""
    edges = crops * spacing
    thick = edges * _LONGEST >= edges.max(axis=-1, keepdims=True)
    found: np.ndarray = np.all(thick | (crops >= median), axis=-1)
    return found
