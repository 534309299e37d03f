"""What an uploaded file holds, before its voxels are read, and how much of it is accepted."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Index3
from nnactive_server.dataset.volumes import read_geometry

KEPT = ("<u1", "<i2", "<u2", "<i4", "<f4")
"""Types that voxels are kept in."""
WHOLE = KEPT[:4]
_RIGHT_ANGLE = 1e-3  # largest cosine between two axes that are meant to be at right angles
LONGEST = 32767  # voxels along an axis of a NIfTI-1 file


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """What is refused before memory or disk is taken for it.

    Attributes:
        voxels: of one image.
        unpacked: bytes of one image's voxels, or of all files of an archive, once unpacked.
        slack: bytes that a file may hold more than its header says.
        members: files of an archive or a series.
        ratio: unpacked to packed size of an archive.
    """

    voxels: int = 1 << 31
    unpacked: int = 4 << 30
    slack: int = 1 << 20
    members: int = 4096
    ratio: int = 200

    def check_shape(self, shape: Sequence[int], itemsize: int) -> Index3:
        """A declared shape (z, y, x), once it is known to be acceptable.

        Raises:
            DatasetError: not 3D, an empty or too long axis, or too many voxels or bytes.
        """
        if len(shape) != 3:
            raise DatasetError(f"a {len(shape)}D image; only 3D volumes are used, one file a channel")
        if min(shape) < 1 or max(shape) > LONGEST:
            raise DatasetError(
                f"{_by(shape)} voxels (z, y, x); each axis needs 1 to {LONGEST}; is the file complete?"
            )
        voxels = math.prod(shape)
        if voxels > self.voxels or voxels * itemsize > self.unpacked:
            raise DatasetError(
                f"{_by(shape)} voxels (z, y, x) of {itemsize} bytes; at most {self.voxels} voxels and "
                f"{self.unpacked} bytes are taken in"
            )
        z, y, x = shape
        return z, y, x


@dataclass(frozen=True, slots=True)
class Contents:
    """One 3D image.

    Attributes:
        geometry: its grid, as its own header says.
        targets: types to try in turn for the voxels; the first that holds all values is taken.
        blocks: starts reading the voxels from the first on: flat arrays that follow each other in C order of
            (z, y, x); raises DatasetError when the file turns out to be damaged.
    """

    geometry: Geometry
    targets: tuple[str, ...]
    blocks: Callable[[], Iterator[np.ndarray]]


def targets_for(stored: np.dtype, scale: tuple[float, float] | None = None) -> tuple[str, ...]:
    """Types to try for voxels stored in one type, with a slope and an intercept to be applied, if any."""
    if stored.kind == "f" or not all(value.is_integer() for value in scale or ()):
        return ("<f4",)
    same = stored.newbyteorder("<")
    return WHOLE if scale else next(((kind,) for kind in KEPT if np.dtype(kind) == same), WHOLE)


def geometry_of(header: bytes, ending: str, shape: Index3, folder: Path) -> Geometry:
    """The grid that ITK reads from a header without voxels.

    Args:
        header: a whole file of the format but for its voxels, made of checked fields only.
        ending: of the format's file names, with the dot.
        shape: (z, y, x) that it must have.
        folder: for a temporary file.

    Raises:
        DatasetError: an impossible grid, in words that name no file.
    """
    path = folder / f"{secrets.token_hex(8)}{ending}"
    try:
        path.write_bytes(header)
        geometry = read_geometry(path)
    except DatasetError as problem:
        words = str(problem).removeprefix(f"{path}: ").replace(str(path), "the file")
        raise DatasetError(words) from None
    finally:
        path.unlink(missing_ok=True)
    check_finite((*geometry.spacing, *geometry.origin, *geometry.direction), "its place in space")
    axes = np.reshape(geometry.direction, (3, 3))
    if np.abs(axes.T @ axes - np.eye(3)).max() > _RIGHT_ANGLE:
        raise DatasetError("its axes are not at right angles; resample it onto a regular grid")
    if geometry.shape != shape:
        raise DatasetError(f"its header is ambiguous: {_by(shape)} or {_by(geometry.shape)} voxels (z, y, x)")
    return geometry


def check_finite(numbers: Sequence[float], what: str) -> None:
    """Refuse NaN and infinite numbers in a header; raises DatasetError."""
    if not all(math.isfinite(number) for number in numbers):
        raise DatasetError(f"{what} holds NaN or infinite numbers; correct the header")


def numbers_in(text: str, what: str) -> list[float]:
    """The numbers in a header field, whatever brackets and commas stand between them.

    Raises:
        DatasetError: anything but finite numbers; the text itself is not repeated.
    """
    try:
        numbers = [float(word) for word in re.findall(r"[^\s(),]+", text)]
    except ValueError:
        raise DatasetError(f"its field '{what}' holds something else than numbers") from None
    check_finite(numbers, f"its field '{what}'")
    return numbers


def whole_numbers_in(text: str, what: str) -> list[int]:
    """As `numbers_in`, whole ones only."""
    numbers = numbers_in(text, what)
    if not all(number.is_integer() for number in numbers):
        raise DatasetError(f"its field '{what}' needs whole numbers")
    return [int(number) for number in numbers]


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)
