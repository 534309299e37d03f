"""From a case's own voxels to those of the plan, as nnU-Net resamples, in a fraction of its memory.

Splines are separable: each axis alone is a matrix that does not depend on the image. Here these matrices are
made by scipy itself and images go through them plane by plane, so that beside the image only the result, and
once half-way to it, are in memory: 8 to 12 bytes a voxel, where nnU-Net's way takes some 48.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import (
    determine_do_sep_z_and_axis,
    resample_data_or_seg_to_shape,
)
from scipy import ndimage

SLAB_VOXELS = 2**21
"""Voxels of a label map that are resampled at once: some 16 bytes each for every class among them."""

NEAREST = 0
"""Order of a spline that takes the value of the nearest voxel."""

_TIE = 1e-9
"""Scores of two labels that differ by less are equal."""


@dataclass(frozen=True, slots=True)
class _Axes:
    """How a volume is resampled.

    Attributes:
        order: of these axes, the one that is cut first; the volume's other two follow in their order.
        splines: the order of the spline along each.
        apart: whether planes of the first axis are resampled each by itself, as nnU-Net does with thick ones.
    """

    order: tuple[int, int, int]
    splines: tuple[int, int, int]
    apart: bool

    def matrices(self, before: Sequence[int], after: Sequence[int]) -> list[np.ndarray]:
        """The matrix of each axis, for volumes of these shapes in this order of axes."""
        return [spline_matrix(*sizes) for sizes in zip(before, after, self.splines, strict=True)]


def resample_image(
    image: np.ndarray,
    shape: Sequence[int],
    spacing: Sequence[float],
    wanted: Sequence[float],
    way: functools.partial[Any],
) -> np.ndarray:
    """An image on a grid of another shape, equal to what nnU-Net makes of it but for rounding (1e-6).

    Args:
        image: (C, z, y, x) float32.
        shape: voxels (z, y, x) of the result.
        spacing: mm of the image's voxels.
        wanted: mm of the result's.
        way: the plan's function for it; one that is not nnU-Net's own is called.

    Returns:
        (C, *shape) float32; the image itself when it has that shape.
    """
    if tuple(image.shape[1:]) == tuple(shape):
        return image
    if way.func is not resample_data_or_seg_to_shape:
        return np.asarray(way(image, shape, spacing, wanted))
    axes = _axes(spacing, wanted, way)
    out = np.empty((len(image), *shape), np.float32)
    for channel, made in zip(image, out, strict=True):
        _resample_channel(channel.transpose(axes.order), made.transpose(axes.order), axes)
    return out


def resample_labels(
    labels: np.ndarray,
    shape: Sequence[int],
    spacing: Sequence[float],
    wanted: Sequence[float],
    way: functools.partial[Any],
) -> np.ndarray:
    """A label map on a grid of another shape, as nnU-Net makes it.

    Each label's voxels are resampled as an image of ones and zeros, and the highest wins; of equal ones the
    nearest voxel's label, if it is one of them, else the lowest.

    Args:
        labels: (z, y, x) integers.
        shape, spacing, wanted, way: see `resample_image`.

    Returns:
        `shape` of the same type; the map itself when it has that shape.
    """
    if tuple(labels.shape) == tuple(shape):
        return labels
    if way.func is not resample_data_or_seg_to_shape:
        return np.asarray(way(labels[None], shape, spacing, wanted)[0], dtype=labels.dtype)
    axes = _axes(spacing, wanted, way)
    out = np.empty(tuple(shape), labels.dtype)
    source, target = labels.transpose(axes.order), out.transpose(axes.order)
    matrices = axes.matrices(source.shape, target.shape)
    nearest = [spline_matrix(*matrix.shape[::-1], NEAREST).argmax(1) for matrix in matrices]
    thickness = max(1, SLAB_VOXELS // max(source[0].size, target[0].size))
    for start in range(0, len(target), thickness):
        part = slice(start, start + thickness)
        known = np.flatnonzero(matrices[0][part].any(0))
        planes = source[known[0] : known[-1] + 1]
        if planes.min() == planes.max():
            target[part] = planes.min()
            continue
        near = planes[np.ix_(nearest[0][part] - known[0], nearest[1], nearest[2])]
        target[part] = _winners(planes, [matrices[0][part, known[0] : known[-1] + 1], *matrices[1:]], near)
    return out


@functools.lru_cache(maxsize=32)
def spline_matrix(before: int, after: int, order: int) -> np.ndarray:
    """What resampling an axis does to it, (after, before) float64.

    Column i is what scipy's `zoom` makes of a line with a one at voxel i, with the borders continued as
    they are and grids that share their outer edges, as nnU-Net calls it.
    """
    matrix = np.stack(
        [
            ndimage.zoom(line, after / before, order=order, mode="nearest", grid_mode=True)
            for line in np.eye(before)
        ],
        axis=1,
    )
    matrix.flags.writeable = False
    return matrix


def _axes(spacing: Sequence[float], wanted: Sequence[float], way: functools.partial[Any]) -> _Axes:
    settings = way.keywords
    apart, axis = determine_do_sep_z_and_axis(settings.get("force_separate_z", False), spacing, wanted)
    first = int(axis) if apart else 0
    order = settings.get("order", 3)
    rest = [other for other in range(3) if other != first]
    along = settings.get("order_z", NEAREST) if apart else order
    return _Axes((first, rest[0], rest[1]), (along, order, order), apart)


def _resample_channel(image: np.ndarray, out: np.ndarray, axes: _Axes) -> None:
    """Fill `out` (Z, Y, X) from `image` (z, y, x), both with the axis that is cut first in front."""
    through, rows, columns = axes.matrices(image.shape, out.shape)
    low, high = float(image.min()), float(image.max())
    halfway = np.empty((len(image), *out.shape[1:]), np.float32)
    for plane, made in zip(image, halfway, strict=True):
        values = rows @ plane.astype(np.float64) @ columns.T
        if axes.apart:
            values.clip(plane.min(), plane.max(), out=values)
        made[:] = values
    for row in range(out.shape[1]):
        out[:, row] = (through @ halfway[:, row].astype(np.float64)).clip(low, high)


def _winners(planes: np.ndarray, matrices: Sequence[np.ndarray], nearest: np.ndarray) -> np.ndarray:
    """The label with the highest score at each voxel."""
    values = np.unique(planes)
    through, rows, columns = matrices
    winner = np.full(nearest.shape, values[0], planes.dtype)
    best, own = np.zeros(nearest.shape), np.zeros(nearest.shape)
    for value in values:
        marked = (planes == value).astype(np.float64)
        score = np.tensordot(through, rows @ marked @ columns.T, 1)
        better = score > best + _TIE
        winner[better], best[better] = value, score[better]
        own = np.where(nearest == value, score, own)
    return np.where(own >= best - _TIE, nearest, winner)
