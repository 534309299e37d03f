"""Arrays on disk of which boxes can be read without the rest: chunked and compressed with Blosc2.

A file is one Blosc2 frame (`.b2nd`) with an n-dimensional array, readable by any Blosc2. Blosc2 itself has no
checksums: it decodes flipped bits to other voxels, or crashes when they are in its metadata. So the frame
holds a checksum of each chunk in its variable-length metadata, and four bytes behind it hold one of its head
and tail, which is looked at first. Whoever has opened a file can read it to the end, also when another
process replaces or removes it meanwhile.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.files import atomic_path

if TYPE_CHECKING:
    import blosc2

ENDING = ".b2nd"

# Over the last three axes. A box of 64 x 128 x 128 touches a dozen chunks, and a block fits a core's cache.
_CHUNK = (32, 128, 128)
_BLOCK = (8, 64, 64)
# Higher levels take twice as long for a few percent.
_LEVEL = 1
_SUMS = "crc32"
# Blosc2's metadata: the header at the beginning; chunk offsets and checksums at the end.
_EDGE = 1 << 17
_SEAL = 4
# What Blosc2, its metadata's decoder and numpy raise on damaged files.
_BROKEN = (RuntimeError, ValueError, TypeError, LookupError, SyntaxError, OSError)


class VoxelsError(NNActiveError):
    """A stored array cannot be read or written."""


class NotStored(VoxelsError):
    """There is no such file, or no more: other processes remove old ones."""


@dataclass(frozen=True, eq=False)
class VoxelFile:
    """A stored array; nothing of it is read yet. For one thread at a time.

    Attributes:
        path: of the file.
        shape: of the array, e.g. (z, y, x) or (class, z, y, x).
        dtype: of a voxel.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _array: blosc2.NDArray = field(repr=False)
    _sums: Sequence[int] = field(repr=False)

    def read(self, box: Sequence[slice]) -> np.ndarray:
        """Voxels of a box: one slice for each axis, with step 1, cut off at the array's borders.

        Raises:
            VoxelsError: the file is damaged where the box lies.
        """
        import blosc2

        bounds = [part.indices(length) for part, length in zip(box, self.shape, strict=True)]
        if any(step != 1 for _, _, step in bounds):
            raise ValueError(f"boxes have step 1, got {tuple(box)}")
        size = tuple(max(0, stop - start) for start, stop, _ in bounds)
        if 0 in size:
            return np.empty(size, self.dtype)
        part = tuple(slice(start, stop) for start, stop, _ in bounds)
        try:
            self._verify(blosc2.get_slice_nchunks(self._array, part))
            voxels: np.ndarray = self._array[part]
        except _BROKEN as problem:
            raise _damaged(self.path, problem) from problem
        return voxels

    def array(self) -> np.ndarray:
        """The whole array; raises VoxelsError when the file is damaged."""
        return self.read([slice(None)] * len(self.shape))

    def _verify(self, chunks: Sequence[int]) -> None:
        for number in map(int, chunks):
            if _sum(self._array, number) != self._sums[number]:
                raise ValueError(f"chunk {number} has another checksum")


def save_voxels(path: Path, array: np.ndarray) -> None:
    """Write an array of numbers with at least three axes, of which the last three are (z, y, x).

    Args:
        path: target, with the ending `.b2nd`; whole or absent.
        array: any order in memory.

    Raises:
        VoxelsError: the disk is full, or does not take the file for another reason.
        ValueError: an array without voxels.
    """
    import blosc2

    settings = _settings(path, array.shape, _CHUNK)
    with atomic_path(path) as temporary:
        with _on_disk(path):
            writer = VoxelWriter(path, blosc2.asarray(array, urlpath=str(temporary), **settings))
        writer.close(temporary)


class VoxelWriter:
    """An array on its way to disk, see `write_voxels`."""

    def __init__(self, path: Path, stored: blosc2.NDArray) -> None:
        self._path, self._stored = path, stored

    def write(self, box: Sequence[slice], voxels: np.ndarray) -> None:
        """Write the voxels of a slab.

        Args:
            box: of the slab, one slice for each axis.
            voxels: of the box's shape, any order in memory.

        Raises:
            VoxelsError: the disk is full, or does not take them for another reason.
        """
        with _on_disk(self._path):
            self._stored[tuple(box)] = np.ascontiguousarray(voxels)

    def close(self, temporary: Path) -> None:
        """Add the checksums; nothing can be written after that."""
        with _on_disk(self._path):
            stored = self._stored
            stored.schunk.vlmeta[_SUMS] = [_sum(stored, n) for n in range(stored.schunk.nchunks)]
            del stored, self._stored  # the file must be closed before the checksum is put behind it
            _add_seal(temporary)


@contextmanager
def write_voxels(
    path: Path, shape: Sequence[int], dtype: npt.DTypeLike, axis: int, thickness: int
) -> Iterator[VoxelWriter]:
    """Write an array in slabs, one after the other, without ever holding all of it.

    Chunks are no thicker than the slabs: each is compressed once, when its slab comes.

    Args:
        path: target, with the ending `.b2nd`; whole when the block ends well, otherwise absent.
        shape: of the whole array; the last three axes are (z, y, x).
        dtype: of a voxel.
        axis: which of (z, y, x) is cut, from 0.
        thickness: of a slab; each begins at a multiple of it. What no slab covers is 0.

    Raises:
        VoxelsError: the disk is full, or does not take the file for another reason.
        ValueError: an array without voxels.
    """
    import blosc2

    chunk = list(_CHUNK)
    chunk[axis] = min(chunk[axis], thickness)
    settings = _settings(path, shape, chunk)
    with atomic_path(path) as temporary:
        with _on_disk(path):
            writer = VoxelWriter(
                path, blosc2.zeros(tuple(shape), dtype=np.dtype(dtype), urlpath=str(temporary), **settings)
            )
        yield writer
        writer.close(temporary)


def open_voxels(path: Path) -> VoxelFile:
    """Open what `save_voxels` wrote.

    Raises:
        NotStored: there is no such file.
        VoxelsError: it is damaged, or something else.
    """
    import blosc2

    try:
        _check_seal(path)
        stored = blosc2.open(str(path), mode="r", dparams=blosc2.DParams(nthreads=1))
        if not isinstance(stored, blosc2.NDArray):
            raise ValueError("it holds no array")
        sums = list(stored.schunk.vlmeta[_SUMS])
        if len(sums) != stored.schunk.nchunks:
            raise ValueError(f"{len(sums)} checksums for {stored.schunk.nchunks} chunks")
        return VoxelFile(path, tuple(stored.shape), stored.dtype, stored, sums)
    except _BROKEN as problem:
        if path.exists():
            raise _damaged(path, problem) from problem
        raise NotStored(f"{path}: no such file, or removed meanwhile") from None


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as problem:
        raise VoxelsError(f"{path}: not written; is the disk full? ({problem})") from problem


def _settings(path: Path, shape: Sequence[int], chunk: Sequence[int]) -> dict[str, Any]:
    """How Blosc2 stores an array of this shape in chunks of this shape (z, y, x)."""
    import blosc2

    if len(shape) < 3 or 0 in shape:
        raise ValueError(f"{path}: an array of shape {tuple(shape)} has no voxels (z, y, x)")
    chunks = _fit(chunk, shape)
    block = [min(pair) for pair in zip(_BLOCK, chunks[-3:], strict=True)]
    parameters = blosc2.CParams(
        # One thread: several workers share a machine, and threads do not survive a fork.
        codec=blosc2.Codec.ZSTD, clevel=_LEVEL, filters=[blosc2.Filter.SHUFFLE], nthreads=1
    )  # fmt: skip
    return {
        "chunks": chunks,
        "blocks": _fit(block, shape),
        "mode": "w",
        "contiguous": True,
        "cparams": parameters,
    }


def _add_seal(path: Path) -> None:
    with path.open("r+b") as stream:
        seal = _seal(stream, stream.seek(0, 2))
        stream.seek(0, 2)
        stream.write(seal)


def _fit(wanted: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a chunk or block, no larger than the array; along axes before the last three single."""
    whole = (1,) * (len(shape) - 3) + tuple(wanted)
    return tuple(min(pair) for pair in zip(whole, shape, strict=True))


def _sum(array: blosc2.NDArray, number: int) -> int:
    """Checksum of a chunk as it is stored, and of how it belongs into the array."""
    place = repr((array.shape, array.dtype.str, array.chunks, array.blocks, number))
    return zlib.crc32(array.schunk.get_chunk(number), zlib.crc32(place.encode()))


def _check_seal(path: Path) -> None:
    with path.open("rb") as stream:
        length = stream.seek(0, 2) - _SEAL
        if length < 0 or _seal(stream, length) != stream.read(_SEAL):
            raise ValueError("another checksum, or incomplete")


def _seal(stream: BinaryIO, length: int) -> bytes:
    """Checksum of the first and last bytes of a frame of this length; leaves the stream at its end."""
    stream.seek(0)
    head = zlib.crc32(stream.read(min(_EDGE, length)))
    stream.seek(max(0, length - _EDGE))
    return zlib.crc32(stream.read(min(_EDGE, length)), head).to_bytes(_SEAL, "little")


def _damaged(path: Path, problem: Exception) -> VoxelsError:
    return VoxelsError(f"{path}: not readable ({type(problem).__name__}: {problem})")
