"""From DICOM slices to one regular grid, or a clear reason why there is none.

Positions are Image Position (Patient) and Image Orientation (Patient), which are LPS millimetres like
ITK's (DICOM PS3.3, C.7.6.2.1.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Float3, Geometry

_SAME_DIRECTION = 1e-3  # largest difference between two unit vectors that are meant to be one
_SAME_PLACE = 1e-3  # mm
_UNEVEN = 0.05  # of the slice distance: headers round positions
_MISSING = 1.5  # slice distances in one step


@dataclass(frozen=True)
class Slice:
    """One slice as its header describes it.

    Attributes:
        path: the file.
        frame: which frame of the file.
        position: centre of the first voxel, mm, LPS (x, y, z).
        axes: unit vectors along a row (x, y, z) and along a column.
        spacing: mm between rows, mm between columns.
        shape: rows, columns.
    """

    path: Path
    frame: int
    position: Float3
    axes: tuple[float, ...]
    spacing: tuple[float, float]
    shape: tuple[int, int]


def frames(header: pydicom.Dataset) -> Iterator[Slice]:
    """The slices in one file: one, or those of a multi-frame object.

    Raises:
        DatasetError: position, orientation or spacing is missing.
    """
    count = int(header.get("NumberOfFrames") or 1)
    if "PerFrameFunctionalGroupsSequence" not in header:
        if count > 1:
            raise DatasetError("a multi-frame file without a position for each frame; convert it to NIfTI")
        yield _slice(header, header, header, header, 0)
        return
    shared = header.get("SharedFunctionalGroupsSequence", [pydicom.Dataset()])[0]
    for frame, own in enumerate(header.PerFrameFunctionalGroupsSequence):
        position = _group(own, shared, "PlanePositionSequence")
        orientation = _group(own, shared, "PlaneOrientationSequence")
        measures = _group(own, shared, "PixelMeasuresSequence")
        yield _slice(header, position, orientation, measures, frame)


def stack(slices: Sequence[Slice]) -> tuple[tuple[Slice, ...], Geometry]:
    """Slices sorted along their normal, and the grid (z, y, x) they make.

    Raises:
        DatasetError: slices of different shape, spacing or orientation, two at one place, missing or
            unevenly spaced ones, a tilted gantry, or fewer than two slices.
    """
    _require_alike(slices)
    row, column = np.array(slices[0].axes).reshape(2, 3)
    normal = np.cross(row, column)
    ordered = sorted(slices, key=lambda s: float(normal @ np.array(s.position)))
    places = np.array([s.position for s in ordered])
    distance = _distance(places @ normal)
    _require_straight(places, normal, distance, min(slices[0].spacing))
    rows, columns = slices[0].spacing
    geometry = Geometry(
        (len(ordered), *slices[0].shape),
        (distance, rows, columns),
        ordered[0].position,
        tuple(float(v) + 0.0 for v in np.stack([row, column, normal], axis=1).ravel()),  # no -0.0
    )
    return tuple(ordered), geometry


def _group(own: pydicom.Dataset, shared: pydicom.Dataset, name: str) -> pydicom.Dataset:
    for groups in (own, shared):
        if groups.get(name):
            return groups[name][0]
    raise DatasetError(f"a multi-frame file without {name}; convert it to NIfTI")


def _slice(
    header: pydicom.Dataset,
    position: pydicom.Dataset,
    orientation: pydicom.Dataset,
    measures: pydicom.Dataset,
    frame: int,
) -> Slice:
    x, y, z = _numbers(position, "ImagePositionPatient", 3)
    axes = np.array(_numbers(orientation, "ImageOrientationPatient", 6)).reshape(2, 3)
    row, column = axes / np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), np.finfo(float).tiny)
    if abs(row @ column) > _SAME_DIRECTION:
        raise DatasetError("rows and columns are not at right angles")
    column = np.cross(np.cross(row, column), row)  # headers round: exactly at right angles from here on
    rows, columns = _numbers(measures, "PixelSpacing", 2)
    if not min(rows, columns) > 0:
        raise DatasetError(f"PixelSpacing {rows}, {columns} is not positive")
    return Slice(
        Path(str(header.filename)),
        frame,
        (x, y, z),
        tuple(float(v) for v in (*row, *(column / np.linalg.norm(column)))),
        (rows, columns),
        (int(header.Rows), int(header.Columns)),
    )


def _numbers(header: pydicom.Dataset, name: str, count: int) -> list[float]:
    value = header.get(name)
    if value is None or isinstance(value, str) or len(value) != count:
        raise DatasetError(f"{name} is missing or has not {count} numbers; only slices placed in 3D are used")
    return [float(v) for v in value]


def _require_alike(slices: Sequence[Slice]) -> None:
    first = slices[0]
    if len(slices) < 2:
        raise DatasetError("only one slice; a volume needs at least two")
    for other in slices:
        if other.shape != first.shape:
            raise DatasetError(
                f"mixed geometry: {other.path.name} has {other.shape} voxels, not {first.shape}"
            )
        if not np.allclose(other.spacing, first.spacing, rtol=1e-3, atol=0):
            raise DatasetError(f"mixed geometry: {other.path.name} has pixels of {other.spacing} mm")
        if not np.allclose(other.axes, first.axes, rtol=0, atol=_SAME_DIRECTION):
            raise DatasetError(f"mixed geometry: {other.path.name} lies in another orientation")


def _distance(heights: np.ndarray) -> float:
    """The mm between neighbouring slices, given their sorted heights (n,) along the normal."""
    steps = np.diff(heights)
    usual = float(np.quantile(steps, 0.5, method="lower"))
    same = int(np.count_nonzero(steps < _SAME_PLACE))
    if same:
        raise DatasetError(
            f"duplicate slices: {same} lie where another one lies; a time series or a copied file? "
            "Keep one slice for each place"
        )
    gaps = heights[:-1][steps > _MISSING * usual]
    if len(gaps):
        raise DatasetError(
            f"missing slices: {len(gaps)} gaps, the first after {gaps[0]:.2f} mm along the normal"
        )
    if float(np.abs(steps - usual).max()) > _UNEVEN * usual:
        raise DatasetError(
            f"slices are unevenly spaced: {steps.min():.3f} to {steps.max():.3f} mm; resample them"
        )
    return float(heights[-1] - heights[0]) / len(steps)


def _require_straight(places: np.ndarray, normal: np.ndarray, distance: float, pixel: float) -> None:
    """Every slice (n, 3; mm) must lie straight above the first one."""
    straight = places[0] + np.arange(len(places))[:, None] * distance * normal
    shift = places - straight
    sideways = shift - (shift @ normal)[:, None] * normal
    if float(np.linalg.norm(sideways, axis=1).max()) > 0.1 * pixel:
        raise DatasetError(
            "slices are shifted against each other (tilted gantry?); resample the series first"
        )
