"""Bytes of plain and compressed files, in pieces, never more of them than were announced."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset.intake.contents import Contents, IntakeLimits, targets_for

PIECE = 4 << 20
_PACKED_PIECE = 1 << 18
_EITHER = 47  # zlib.decompressobj: a gzip or a zlib stream, told apart by its first bytes


@dataclass(frozen=True, slots=True)
class RawVoxels:
    """Voxels that lie in a file one after the other.

    Attributes:
        path: the file.
        packed_from: where a compressed part of the file begins; None when nothing is compressed.
        skip: bytes before the voxels: of the file, or of the unpacked part.
        dtype: stored type with its byte order.
        scale: slope and intercept of the stored values; None when they are the values.
    """

    path: Path
    packed_from: int | None
    skip: int
    dtype: np.dtype
    scale: tuple[float, float] | None = None

    def contents(self, geometry: Geometry, limits: IntakeLimits) -> Contents:
        """Them as an image on a grid whose shape is checked."""
        z, y, x = geometry.shape

        def blocks() -> Iterator[np.ndarray]:
            count = z * y * x * self.dtype.itemsize
            for block in _whole_voxels(window(self._pieces(), self.skip, count, limits.slack), self.dtype):
                yield block if self.scale is None else _scaled(block, self.scale)

        return Contents(geometry, targets_for(self.dtype, self.scale), blocks)

    def _pieces(self) -> Iterator[bytes]:
        return plain(self.path) if self.packed_from is None else inflated(self.path, self.packed_from)


def plain(path: Path) -> Iterator[bytes]:
    """A file's bytes."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def inflated(path: Path, start: int = 0) -> Iterator[bytes]:
    """What a gzip (of any number of members) or zlib stream in a file unpacks to.

    Raises:
        DatasetError: damaged, or cut off.
    """
    with path.open("rb") as file:
        file.seek(start)
        unpacker, packed = zlib.decompressobj(_EITHER), b""
        while packed := packed or file.read(_PACKED_PIECE):
            if unpacker.eof:
                if not (packed := packed.lstrip(b"\0")):  # gzip allows zeros after the last member
                    continue
                unpacker = zlib.decompressobj(_EITHER)
            try:
                piece = unpacker.decompress(packed, PIECE)
            except zlib.error:
                raise DatasetError("its compressed part is damaged; save or copy it again") from None
            packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if piece:
                yield piece
        if not unpacker.eof:
            raise DatasetError("its end is missing; copy it again")


def window(pieces: Iterable[bytes], skip: int, count: int, slack: int) -> Iterator[bytes]:
    """The `count` bytes after the first `skip` ones; the rest is read too, for its checksums.

    Raises:
        DatasetError: fewer bytes than that, or more than `slack` behind them.
    """
    position, stop = 0, skip + count
    for piece in pieces:
        part = piece[max(0, skip - position) : max(0, stop - position)]
        position += len(piece)
        if position > stop + slack:
            raise DatasetError(f"it holds far more than the {count} bytes of voxels that its header declares")
        if part:
            yield part
    if position < stop:
        raise DatasetError(f"its end is missing: {stop - position} bytes of its voxels; copy it again")


def _whole_voxels(pieces: Iterable[bytes], dtype: np.dtype) -> Iterator[np.ndarray]:
    rest = b""
    for piece in pieces:
        data = rest + piece if rest else piece
        cut = len(data) - len(data) % dtype.itemsize
        rest = data[cut:]
        yield np.frombuffer(data, dtype, cut // dtype.itemsize)


def _scaled(block: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    slope, intercept = scale
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found where values are checked
        values: np.ndarray = block.astype(np.float64) * slope + intercept
    return values
