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
class _Layout:
    """Byte order (`<` or `>`), datatype code, first byte and number of bytes of the voxels."""

    order: str
    datatype: int
    offset: int
    count: int


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
            layout = _layout(file)
        bad = 0 if layout is None else _hidden(path, layout, array)
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise DatasetError(f"{path}: not a readable image ({problem}); copy it again") from problem
    if bad:
        raise DatasetError(f"{path}: {bad} voxels are NaN or infinite; replace them before importing")


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.name.endswith(".gz") else path.open("rb")


def _hidden(path: Path, layout: _Layout, array: np.ndarray) -> int:
    """Number of voxels that are no numbers.

    Raises:
        EOFError: the file is cut off.
    """
    if not _complete(path, layout):
        raise EOFError("its end is missing")
    return 0 if layout.datatype not in _FLOATS or array.all() else _count_bad(path, layout)


def _layout(file: BinaryIO) -> _Layout | None:
    """Where the voxels lie; None for the older formats that ITK also reads under this ending."""
    raw = file.read(540)
    for order in "<>":
        if raw[:4] == struct.pack(f"{order}i", 348) and len(raw) >= 348:
            datatype, bits, *dim = struct.unpack_from(f"{order}2h", raw, 70) + struct.unpack_from(
                f"{order}8h", raw, 40
            )
            offset = int(struct.unpack_from(f"{order}f", raw, 108)[0])
        elif raw[:4] == struct.pack(f"{order}i", 540) and len(raw) == 540:
            datatype, bits, *dim = struct.unpack_from(f"{order}2h8q", raw, 12)
            offset = struct.unpack_from(f"{order}q", raw, 168)[0]
        else:
            continue
        return _Layout(order, datatype, offset, math.prod(dim[1 : dim[0] + 1]) * bits // 8)
    return None


def _complete(path: Path, layout: _Layout) -> bool:
    """Whether all voxels are in the file."""
    needed = layout.offset + layout.count
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


def _count_bad(path: Path, layout: _Layout) -> int:
    """Float voxels that are NaN or infinite."""
    bad = 0
    with _open(path) as file:
        file.seek(layout.offset)
        for start in range(0, layout.count, _CHUNK):
            chunk = file.read(min(_CHUNK, layout.count - start))
            values = np.frombuffer(chunk, layout.order + _FLOATS[layout.datatype])
            bad += values.size - int(np.count_nonzero(np.isfinite(values)))
    return bad
