"""Write voxels as a plain NIfTI-1 file that says nothing but where they lie."""

from __future__ import annotations

import hashlib
import math
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset.intake.contents import Contents, geometry_of

_SIZE = 352  # of a NIfTI-1 header with the four bytes that announce no extension
_PIXELS = {
    "<u1": sitk.sitkUInt8,
    "<i2": sitk.sitkInt16,
    "<u2": sitk.sitkUInt16,
    "<i4": sitk.sitkInt32,
    "<f4": sitk.sitkFloat32,
}


@dataclass(frozen=True, slots=True)
class TakenIn:
    """An image as it was written.

    Attributes:
        geometry: its grid, read back from the file.
        dtype: of the voxels in the file: `<u1`, `<i2`, `<u2`, `<i4` or `<f4`.
        offset: byte of the file where they begin; they follow in C order of (z, y, x).
        sha256: of the file, hex.
    """

    geometry: Geometry
    dtype: str
    offset: int
    sha256: str


class _DoesNotFitError(Exception):
    """A value that the tried type does not hold."""


def write_nifti(target: Path, contents: Contents) -> TakenIn:
    """Write an image; nothing is left of it when that fails.

    Args:
        target: a new file.
        contents: the image.

    Raises:
        DatasetError: damaged, without any value but 0, NaN or infinite voxels, or values or a grid that the
            file cannot hold.
    """
    try:
        for kind in contents.targets:
            try:
                return _write(target, contents, kind)
            except _DoesNotFitError:
                continue
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    target.unlink(missing_ok=True)
    raise DatasetError("its values do not fit 32-bit whole numbers; rescale them")


def _write(target: Path, contents: Contents, kind: str) -> TakenIn:
    header = _header(contents.geometry, kind, target.parent)
    geometry = geometry_of(header, ".nii", contents.geometry.shape, target.parent)
    found = geometry.differences(contents.geometry)
    if found:
        raise DatasetError(f"its grid is too fine or too far from the origin to be kept: {'; '.join(found)}")
    digest, left, blank = hashlib.sha256(header), math.prod(geometry.shape), True
    with target.open("wb") as file:
        file.write(header)
        for block in contents.blocks():
            voxels = _convert(block, np.dtype(kind))
            blank = blank and not voxels.any()
            left -= voxels.size
            digest.update(voxels.data)
            file.write(voxels.data)
    if left:
        raise DatasetError("it holds another number of voxels than its header says")
    if blank:
        raise DatasetError("every voxel is 0: there is nothing to see or to learn in this image")
    return TakenIn(geometry, kind, len(header), digest.hexdigest())


def _header(geometry: Geometry, kind: str, folder: Path) -> bytes:
    """ITK's own header of an image of one voxel, with the real lengths of the axes."""
    image = sitk.Image([1, 1, 1], _PIXELS[kind])
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    path = folder / f"{secrets.token_hex(8)}.nii"
    try:
        image.SetDirection(geometry.direction)
        sitk.WriteImage(image, str(path), useCompression=False)
        header = bytearray(path.read_bytes()[:_SIZE])
    except RuntimeError:
        path.write_bytes(bytes(_SIZE))  # a full disk speaks up here; ITK's words do not tell
        raise DatasetError("its grid cannot be written as NIfTI; check its orientation") from None
    finally:
        path.unlink(missing_ok=True)
    struct.pack_into("<3h", header, 42, *geometry.shape[::-1])
    return bytes(header)


def _convert(block: np.ndarray, target: np.dtype) -> np.ndarray:
    """Flat voxels in another type, in which they are the same.

    Raises:
        DatasetError: NaN or infinite ones.
        _DoesNotFitError: the type does not hold them.
    """
    if target.kind == "f":
        return _as_floats(block, target)
    if block.dtype == target or not block.size:
        return block.astype(target, copy=False)
    allowed = np.iinfo(target)
    if not (allowed.min <= block.min() and block.max() <= allowed.max):  # NaN neither
        raise _DoesNotFitError
    voxels = block.astype(target)
    if block.dtype.kind == "f" and not np.array_equal(voxels, block):
        raise _DoesNotFitError
    return voxels


def _as_floats(block: np.ndarray, target: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        voxels = block.astype(target, copy=False)
    if not np.isfinite(voxels).all():
        bad = voxels.size - int(np.count_nonzero(np.isfinite(voxels)))
        raise DatasetError(f"at least {bad} voxels are NaN, infinite or too large; replace them")
    if block.dtype.kind in "iu" and not np.array_equal(voxels, block):
        raise _DoesNotFitError
    return voxels
