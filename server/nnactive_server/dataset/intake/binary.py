"""Uploaded NIfTI files: version 1 or 2, plain or gzip."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.dataset import nifti
from nnactive_server.dataset.intake.contents import Contents, IntakeLimits, check_finite, geometry_of
from nnactive_server.dataset.intake.streams import RawVoxels, inflated, plain

GZIP = b"\x1f\x8b"
_HEAD = 540
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_COLOURS = (128, 2304)
_FARTHEST = 64 << 20  # byte at which the voxels may begin, after extensions
_SIZE_1 = 352  # of a NIfTI-1 header with the four bytes that announce no extension
# Where a header says how its voxels lie: spacing, units, both codes, quaternion, offset and rows.
_PLACES = {
    1: (("8f", 76), ("B", 123), ("2h", 252), ("18f", 256)),
    2: (("8d", 104), ("i", 500), ("2i", 344), ("18d", 352)),
}
_UNITS = 0x07  # bits of the units that are about lengths
_FIRST = {1: 348, 2: 540}  # byte after the header


def is_nifti(head: bytes) -> bool:
    """Whether these first bytes of a file are those of a NIfTI header."""
    sizes = [struct.pack(f"{order}i", size) for order in "<>" for size in (348, 540)]
    return head[:4] in sizes


def open_nifti(path: Path, folder: Path, limits: IntakeLimits) -> Contents:
    """Look at a NIfTI file; see `run.take_in`."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    raw = next(inflated(path) if packed else plain(path), b"")[:_HEAD]
    try:
        header = nifti.parse(raw)
    except EOFError as problem:
        raise DatasetError(f"{problem}; check that the file is complete") from None
    if header is None:
        raise DatasetError("not a NIfTI file inside; send NIfTI, NRRD, MetaImage or a zip of DICOM slices")
    dtype = _stored_type(header)
    shape = limits.check_shape(_axes(header.dim)[::-1], dtype.itemsize)
    if not _FIRST[header.version] <= header.offset <= _FARTHEST:
        raise DatasetError("its header places the voxels nowhere; check that the file is complete")
    geometry = geometry_of(_stripped(raw, header), ".nii", shape, folder)
    voxels = RawVoxels(path, 0 if packed else None, header.offset, dtype, _scale(header.scale))
    return voxels.contents(geometry, limits)


def _stored_type(header: nifti.Header) -> np.dtype:
    if not header.single:
        raise DatasetError("its header belongs to a pair of files; save the image as one file (.nii)")
    if header.datatype in _COLOURS:
        raise DatasetError("a colour image; only images of one value a voxel are used")
    if header.datatype not in _TYPES:
        raise DatasetError("its voxels are of an unusual type; save it as 8, 16 or 32-bit numbers")
    dtype = np.dtype(header.order + _TYPES[header.datatype])
    if header.bits != 8 * dtype.itemsize:
        raise DatasetError("its header contradicts itself about the size of a voxel")
    return dtype


def _axes(dim: Sequence[int]) -> list[int]:
    """Lengths of the axes (x, y, z); further ones of length 1 do not count."""
    if not 1 <= dim[0] <= 7:
        raise DatasetError("its header gives no number of axes; check that the file is complete")
    axes = list(dim[1 : dim[0] + 1])
    while len(axes) > 3 and axes[-1] == 1:
        axes.pop()
    return axes


def _scale(scale: tuple[float, float]) -> tuple[float, float] | None:
    """Slope and intercept, None when they change nothing; slopes of 0 and NaN mean that too."""
    slope, intercept = scale
    intercept = intercept if math.isfinite(intercept) else 0.0
    plain_values = not math.isfinite(slope) or slope == 0 or (slope, intercept) == (1, 0)
    return None if plain_values else (slope, intercept)


def _stripped(raw: bytes, header: nifti.Header) -> bytes:
    """A NIfTI-1 header, which is the one that ITK reads, with nothing in it but what places the voxels."""
    spacing, units, codes, transforms = (
        struct.unpack_from(header.order + form, raw, place) for form, place in _PLACES[header.version]
    )
    check_finite((*spacing[:4], *transforms), "its place in space")
    kept = bytearray(_SIZE_1)
    struct.pack_into("<i", kept, 0, 348)
    struct.pack_into("<8h", kept, 40, 3, *header.dim[1:4], 1, 1, 1, 1)
    struct.pack_into("<2h", kept, 70, header.datatype, header.bits)
    kept[123] = units[0] & _UNITS
    try:
        struct.pack_into("<4f", kept, 76, *spacing[:4])
        struct.pack_into("<f", kept, 108, _SIZE_1)
        struct.pack_into("<2h", kept, 252, *codes)
        struct.pack_into("<18f", kept, 256, *transforms)
    except (struct.error, OverflowError):
        raise DatasetError("its place in space holds numbers without sense; correct the header") from None
    kept[344:348] = b"n+1\0"
    return bytes(kept)
