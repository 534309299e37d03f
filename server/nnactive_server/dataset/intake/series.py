"""DICOM files that make one volume."""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset.importers.dicom import COLOUR, reason_to_skip, series_key
from nnactive_server.dataset.importers.slices import Slice, frames, stack
from nnactive_server.dataset.intake.contents import KEPT, WHOLE, Contents, IntakeLimits, check_finite

_PREAMBLE = 132  # bytes before the first element, the last four of them `DICM`
_MALFORMED = (  # what pydicom raises on headers that make no sense, most of it only when a value is used
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
    struct.error,
)
_UNTOLD = 0xFFFFFFFF  # length of an element that ends with a mark
_TAGS = (
    "SpecificCharacterSet",
    "ImageType",
    "Modality",
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


def open_series(files: Sequence[Path], limits: IntakeLimits) -> Contents:
    """Look at the files of one DICOM series, in any order.

    Raises:
        DatasetError: another kind of file among them, several series, or slices that make no volume.
    """
    if len(files) > limits.members:
        raise DatasetError(f"{len(files)} files; at most {limits.members} are taken in as one series")
    named = {f"file {number}": path for number, path in enumerate(files, start=1)}
    with _silence():
        headers = [(name, header) for name, path in named.items() for header in _header(name, path)]
        if not headers:
            raise DatasetError("no DICOM slices; send NIfTI, NRRD, MetaImage or a zip of DICOM slices")
        slices, geometry = _stack(headers, limits)
    _check_frames(slices)

    def blocks() -> Iterator[np.ndarray]:
        return _voxels(slices, named, geometry)

    return Contents(geometry, (*WHOLE, KEPT[-1]), blocks)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what pydicom quotes from headers in its warnings out of every log."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _header(name: str, path: Path) -> Iterator[pydicom.Dataset]:
    """The header of a file with slices, nothing for other objects, such as reports and directories.

    Raises:
        DatasetError: no DICOM file.
    """
    try:
        with path.open("rb") as file:
            _check_start(name, file.read(_PREAMBLE))
            meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
            syntax = meta.get("TransferSyntaxUID")
            if syntax == DeflatedExplicitVRLittleEndian:  # unpacks to any size
                raise DatasetError(f"{name}: deflated DICOM; save it uncompressed or as JPEG")
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            reason = reason_to_skip(header)
            if reason is None:
                _check_pixels(name, file, header, syntax)
    except _MALFORMED:
        raise DatasetError(f"{name}: its DICOM header is damaged") from None
    if reason == COLOUR:
        raise DatasetError(f"{name}: a colour image; only images of one value a voxel are used")
    if reason is None:
        header.filename = name
        yield header


def _check_start(name: str, start: bytes) -> None:
    if start[-4:] != b"DICM":
        raise DatasetError(f"{name}: no DICOM file; pack nothing but the slices of one series")


def _check_pixels(name: str, file: BinaryIO, header: pydicom.Dataset, syntax: object) -> None:
    """Uncompressed pixels must all be there: GDCM reads shorter ones without an error.

    Args:
        name: of the file.
        file: where its pixels begin.
        header: what comes before.
        syntax: how elements are written (DICOM PS3.5, 7.1.2).
    """
    start = file.read(8 if syntax == ImplicitVRLittleEndian else 12)
    length = int.from_bytes(start[-4:], "big" if syntax == ExplicitVRBigEndian else "little")
    if length == _UNTOLD:
        return  # compressed: it ends where its decoder says
    present = -file.tell() + file.seek(0, 2)
    frame_count = int(header.get("NumberOfFrames") or 1)
    needed = int(header.Rows) * int(header.Columns) * frame_count * int(header.BitsAllocated) // 8
    if min(length, present) < needed:
        raise DatasetError(f"{name}: its pixels are not complete; copy it again")


def _stack(
    headers: Sequence[tuple[str, pydicom.Dataset]], limits: IntakeLimits
) -> tuple[tuple[Slice, ...], Geometry]:
    """The slices in order, and their grid."""
    slices: list[Slice] = []
    try:
        series = {series_key(header) for _, header in headers}
        if len(series) > 1:
            raise DatasetError(f"{len(series)} DICOM series; send one series for each image")
        for name, header in headers:
            _check_size(header, len(headers), limits)
            try:
                slices += frames(header)
            except DatasetError as problem:
                raise DatasetError(f"{name}: {problem}") from None
        for slice_ in slices:
            check_finite((*slice_.position, *slice_.axes, *slice_.spacing), f"{slice_.path}: its place")
        ordered, geometry = stack(slices)
    except _MALFORMED:
        raise DatasetError("the DICOM headers hold values that cannot be used; export it again") from None
    check_finite((*geometry.spacing, *geometry.origin, *geometry.direction), "its place in space")
    limits.check_shape(geometry.shape, 4)
    return ordered, geometry


def _check_size(header: pydicom.Dataset, files: int, limits: IntakeLimits) -> None:
    """Before anything is made for each of its frames, of which a header may declare any number."""
    frame_count = int(header.get("NumberOfFrames") or 1)
    limits.check_shape((max(frame_count, files), int(header.Rows), int(header.Columns)), 4)


def _check_frames(slices: Sequence[Slice]) -> None:
    """Several files of several frames could take turns, and each would be decoded once a slice."""
    files = {slice_.path for slice_ in slices}
    if 1 < len(files) < len(slices):
        raise DatasetError("several multi-frame DICOM files; send one of them for each image")


def _voxels(slices: Sequence[Slice], named: Mapping[str, Path], geometry: Geometry) -> Iterator[np.ndarray]:
    """Slice by slice, rescaled."""
    name, decoded = "", np.empty((0, 0, 0))
    for slice_ in slices:
        if str(slice_.path) != name:
            name = str(slice_.path)
            decoded = _decode(name, named[name])
        if slice_.frame >= len(decoded) or decoded.shape[1:] != geometry.shape[1:]:
            raise DatasetError(f"{name}: its pixels decode to another shape than its header says")
        yield decoded[slice_.frame].ravel()


def _decode(name: str, path: Path) -> np.ndarray:
    """The frames (frame, y, x) of a file, rescaled, in the type that GDCM chooses for them."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        image = reader.Execute()
    except RuntimeError:
        raise DatasetError(f"{name}: its pixels cannot be decoded; check that it is complete") from None
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise DatasetError(f"{name}: a colour image; only images of one value a voxel are used")
    array: np.ndarray = sitk.GetArrayFromImage(image)
    return array.reshape(-1, *array.shape[-2:])
