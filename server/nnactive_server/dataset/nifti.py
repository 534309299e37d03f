"""Damage in NIfTI files that ITK's reader hides.

ITK reads a NIfTI file that was cut off as if zeros followed, and turns NaN and infinite voxels into
zeros, both without an error. The layout of the header is that of NIfTI-1 and NIfTI-2
(nifti1.h and nifti2.h, https://nifti.nimh.nih.gov).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from nnactive_server.core.errors import DatasetError

ENDINGS = (".nii.gz", ".nii")
_FLOATS = {16: "f4", 64: "f8"}  # datatype codes
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Header:
    """What a NIfTI header says about the voxels.

    Attributes:
        version: 1 or 2.
        order: `<` or `>`, of header and voxels.
        datatype: code of the stored type.
        bits: of one voxel.
        dim: number of axes, then their lengths (x, y, z, t, …); 8 numbers, as stored.
        offset: of the first voxel in the file, bytes.
        scale: slope and intercept of the stored values, as stored; a slope of 0 means none.
        single: whether header and voxels share one file.
    """

    version: int
    order: str
    datatype: int
    bits: int
    dim: tuple[int, ...]
    offset: int
    scale: tuple[float, float]
    single: bool

    @property
    def count(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.dim[1 : self.dim[0] + 1]) * self.bits // 8


def parse(raw: bytes) -> Header | None:
    """The header in the first 540 bytes of a file; None for the older formats that ITK also reads.

    Raises:
        EOFError: it places the voxels nowhere.
    """
    for order in "<>":
        if raw[:4] == struct.pack(f"{order}i", 348) and len(raw) >= 348:
            return _parse_1(raw, order)
        if raw[:4] == struct.pack(f"{order}i", 540) and len(raw) == 540:
            return _parse_2(raw, order)
    return None


def _parse_1(raw: bytes, order: str) -> Header:
    dim = struct.unpack_from(f"{order}8h", raw, 40)
    datatype, bits = struct.unpack_from(f"{order}2h", raw, 70)
    offset, slope, inter = struct.unpack_from(f"{order}3f", raw, 108)
    if not math.isfinite(offset):
        raise EOFError("its header does not say where the voxels begin")
    return Header(1, order, datatype, bits, dim, int(offset), (slope, inter), raw[344:348] == b"n+1\0")


def _parse_2(raw: bytes, order: str) -> Header:
    datatype, bits, *dim = struct.unpack_from(f"{order}2h8q", raw, 12)
    offset, slope, inter = struct.unpack_from(f"{order}q2d", raw, 168)
    return Header(2, order, datatype, bits, tuple(dim), offset, (slope, inter), raw[4:8] == b"n+2\0")


def require_sound(path: Path, array: np.ndarray) -> None:
    """Refuse a NIfTI file that is cut off, or whose float voxels are NaN or infinite.

    Args:
        path: any image file; only NIfTI files are looked at.
        array: what ITK read from it, any shape. Hidden voxels are zeros there, so without zeros the
            voxels need no second look.

    Raises:
        DatasetError: naming the file.
    """
    if not path.name.endswith(ENDINGS):
        return
    try:
        with _open(path) as file:
            header = parse(file.read(540))
        bad = 0 if header is None else _hidden(path, header, array)
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise DatasetError(f"{path}: not a readable image ({problem}); copy it again") from problem
    if bad:
        raise DatasetError(f"{path}: {bad} voxels are NaN or infinite; replace them before importing")


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.name.endswith(".gz") else path.open("rb")


def _hidden(path: Path, header: Header, array: np.ndarray) -> int:
    """Number of voxels that are no numbers.

    Raises:
        EOFError: the file is cut off.
    """
    if not _complete(path, header):
        raise EOFError("its end is missing")
    return 0 if header.datatype not in _FLOATS or array.all() else _count_bad(path, header)


def _complete(path: Path, header: Header) -> bool:
    """Whether all voxels are in the file."""
    needed = header.offset + header.count
    if not path.name.endswith(".gz"):
        return path.stat().st_size >= needed
    with path.open("rb") as file:
        file.seek(-4, 2)
        size = int.from_bytes(file.read(), "little")  # modulo 2^32, of the last member (RFC 1952)
    return size == needed % (1 << 32) or _unpacked_size(path) >= needed


def _unpacked_size(path: Path) -> int:
    """Bytes that can be unpacked: for files of several gzip members, or with more than the voxels."""
    size = 0
    with gzip.open(path) as file:
        try:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return size
    return size


def _count_bad(path: Path, header: Header) -> int:
    """Float voxels that are NaN or infinite."""
    bad = 0
    with _open(path) as file:
        file.seek(header.offset)
        for start in range(0, header.count, _CHUNK):
            chunk = file.read(min(_CHUNK, header.count - start))
            values = np.frombuffer(chunk, header.order + _FLOATS[header.datatype])
            bad += values.size - int(np.count_nonzero(np.isfinite(values)))
    return bad
