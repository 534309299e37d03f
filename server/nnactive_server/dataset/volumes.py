"""Read and write volumes: numpy arrays (z, y, x) with the grid they lie on.

SimpleITK does the reading and writing. NIfTI keeps its affine in float32, so a geometry that went
through a `.nii.gz` file agrees with the original to about seven digits, not to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnactive_server.core.errors import DatasetError, GeometryMismatch
from nnactive_server.core.files import atomic_path
from nnactive_server.core.geometry import Float3, Geometry
from nnactive_server.core.patch import Index3
from nnactive_server.dataset import nifti

_WHOLE = 1e-3  # label values stored as scaled floats come back this close to whole numbers


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels and the grid they lie on.

    Attributes:
        array: (C, z, y, x) float32 for an image, (z, y, x) whole numbers for a label map.
        geometry: the grid; `geometry.shape` is the (z, y, x) part of the array's shape.
    """

    array: np.ndarray
    geometry: Geometry


def read_geometry(path: Path) -> Geometry:
    """The grid of a 3D image file, from its header alone.

    Raises:
        DatasetError: missing, unreadable, not 3D, or more than one value a voxel.
    """
    return _geometry_3d(_header(path), path)


def read_image(paths: Sequence[Path]) -> Volume:
    """One image, one file a channel: (C, z, y, x) float32.

    Raises:
        DatasetError: no file, a file that is not a readable 3D image, or NaN or infinite voxels.
        GeometryMismatch: channels on different grids.
    """
    if not paths:
        raise DatasetError("no image file given; an image needs one file for each channel")
    volumes = [read_stored(Path(path)) for path in paths]
    first = volumes[0].geometry
    for path, volume in zip(paths[1:], volumes[1:], strict=True):
        require_same_grid(path, volume.geometry, paths[0], first)
    array = np.empty((len(volumes), *first.shape), dtype=np.float32)
    for channel, (path, volume) in enumerate(zip(paths, volumes, strict=True)):
        array[channel] = volume.array
        require_finite(array[channel], path)
    return Volume(array, first)


def read_label(path: Path) -> Volume:
    """One label map: (z, y, x) uint8, or int16 when a value is above 255.

    Raises:
        DatasetError: not a readable 3D image, or a value that is not a whole number from 0 to 32767.
    """
    volume = read_stored(Path(path))
    return Volume(as_labels(volume.array, path), volume.geometry)


def read_stored(path: Path) -> Volume:
    """One 3D image file: (z, y, x) in the type it is stored in, values not checked.

    Raises:
        DatasetError: missing, unreadable, not 3D, or more than one value a voxel.
    """
    header = _header(path)
    geometry = _geometry_3d(header, path)
    return Volume(_execute(header, path), geometry)


def channel_count(path: Path) -> int:
    """Length of the fourth axis of an image file, 1 for a 3D file; from the header alone.

    Raises:
        DatasetError: missing, unreadable, neither 3D nor 4D, or more than one value a voxel.
    """
    header = _header(path)
    if header.GetDimension() == 4 and header.GetNumberOfComponents() == 1:
        return int(header.GetSize()[3])
    _geometry_3d(header, path)
    return 1


def read_channels(path: Path) -> tuple[Volume, ...]:
    """The channels, each (z, y, x) as stored, of a file whose fourth axis holds them.

    Raises:
        DatasetError: missing, unreadable or not 4D.
    """
    header = _header(path)
    if header.GetDimension() != 4:
        raise DatasetError(
            f"{path}: a {header.GetDimension()}D image where channels on a fourth axis are needed"
        )
    direction = np.array(header.GetDirection()).reshape(4, 4)[:3, :3]
    size, spacing, origin = header.GetSize()[:3], header.GetSpacing()[:3], header.GetOrigin()[:3]
    grid = _grid(size, spacing, origin, tuple(direction.ravel().tolist()), path)
    return tuple(Volume(channel, grid) for channel in _execute(header, path))


def write_volume(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write a (z, y, x) array with its grid, compressed, whole or not at all.

    Whole numbers are stored in the smallest of uint8, int16 and int32 that holds them (label maps
    therefore as uint8), floats as float32. The file's ending chooses the format.

    Raises:
        DatasetError: shape and geometry disagree, NaN or infinite voxels, or the file cannot be written.
    """
    if array.shape != geometry.shape:
        raise DatasetError(f"{path}: array of shape {array.shape} does not fit the grid {geometry.shape}")
    image = sitk.GetImageFromArray(_storable(array, path))
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as problem:
            raise DatasetError(f"{path}: cannot be written ({_reason(problem)})") from problem


def require_same_grid(path: Path, geometry: Geometry, reference: Path, expected: Geometry) -> None:
    """Refuse two files that must share one voxel grid and do not.

    Raises:
        GeometryMismatch: naming both files and what differs.
    """
    found = geometry.differences(expected)
    if found:
        raise GeometryMismatch(
            f"{path}: not on the grid of {reference.name}: {'; '.join(found)}. "
            "Resample one of them onto the other's grid"
        )


def require_finite(array: np.ndarray, path: Path) -> None:
    """Refuse NaN and infinite voxels in an array of any shape.

    Raises:
        DatasetError: naming the file and how many.
    """
    if not np.isfinite(array).all():
        count = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise DatasetError(f"{path}: {count} voxels are NaN or infinite; replace them before importing")


def as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    """A label array of any shape and stored type as uint8, or int16 when a value is above 255.

    Raises:
        DatasetError: values that are not whole numbers from 0 to 32767.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f":
        require_finite(array, path)
        whole = np.rint(array)
        if np.abs(array - whole).max(initial=0) > _WHOLE:
            raise DatasetError(f"{path}: label values are not whole numbers; is this a probability map?")
        array = whole
    low, high = array.min(initial=0), array.max(initial=0)
    if low < 0 or high > np.iinfo(np.int16).max:
        raise DatasetError(f"{path}: label values reach from {low} to {high}; use 0, 1, 2, …")
    return array.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.int16)


def _header(path: Path) -> sitk.ImageFileReader:
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as problem:
        raise DatasetError(_explain(path, problem)) from problem
    return reader


def _geometry_3d(header: sitk.ImageFileReader, path: Path) -> Geometry:
    dimension, components = header.GetDimension(), header.GetNumberOfComponents()
    if dimension != 3:
        raise DatasetError(f"{path}: a {dimension}D image; only 3D volumes are used, one file a channel")
    if components != 1:
        raise DatasetError(f"{path}: {components} values a voxel; split the channels into one file each")
    return _grid(header.GetSize(), header.GetSpacing(), header.GetOrigin(), header.GetDirection(), path)


def _grid(
    size: Index3, spacing: Float3, origin: Float3, direction: tuple[float, ...], path: Path
) -> Geometry:
    """A grid from ITK's values, all in the order x, y, z."""
    if not min(spacing) > 0:
        raise DatasetError(f"{path}: voxel spacing {spacing} is not positive; correct the header")
    (x, y, z), (dx, dy, dz) = size, spacing
    return Geometry((z, y, x), (dz, dy, dx), origin, direction)


def _execute(reader: sitk.ImageFileReader, path: Path) -> np.ndarray:
    """The voxels as stored."""
    try:
        array: np.ndarray = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as problem:
        raise DatasetError(_explain(path, problem)) from problem
    nifti.require_sound(path, array)
    return array


def _explain(path: Path, problem: RuntimeError) -> str:
    if "orthonormal" in str(problem):
        return (
            f"{path}: its header describes a sheared grid (axes not at right angles); "
            "resample it onto a regular grid, or write its nearest rotation into the header"
        )
    return f"{path}: not a readable image ({_reason(problem)}); check that the file is complete"


def _reason(problem: RuntimeError) -> str:
    """The last line of an ITK message; the lines before it name source files."""
    return str(problem).strip().splitlines()[-1].strip()


def _storable(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype.kind == "f":
        stored = np.ascontiguousarray(array, dtype=np.float32)
        require_finite(stored, path)
        return stored
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    for dtype in (np.uint8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.ascontiguousarray(array, dtype=dtype)
    raise DatasetError(f"{path}: values from {low} to {high} do not fit 32-bit whole numbers")
