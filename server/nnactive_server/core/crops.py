"""Label crops and masks of a box as bytes: zlib-compressed uint8 voxels (z, y, x) in C order."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from nnactive_server.core.errors import NNActiveError

_LEVEL = 6


def pack_crop(values: np.ndarray) -> bytes:
    """A crop (z, y, x) of whole numbers from 0 to 255."""
    return zlib.compress(np.ascontiguousarray(values, np.uint8).tobytes(), _LEVEL)


def unpack_crop(
    packed: bytes, size: Sequence[int], what: str, error: Callable[[str], NNActiveError] = NNActiveError
) -> np.ndarray:
    """The voxels of a packed crop, uint8 (z, y, x), read-only.

    Args:
        packed: see `pack_crop`.
        size: extent of the box (z, y, x); never more is unpacked than fills it.
        what: name for error messages.
        error: what is raised.

    Raises:
        NNActiveError: (or the type given as `error`) not zlib, damaged, or more or fewer voxels than the box.
    """
    wanted = math.prod(size)
    unpacker = zlib.decompressobj()
    try:
        # One byte more than fits shows that there is too much, however large the rest would be.
        raw = unpacker.decompress(packed, wanted + 1)
    except zlib.error as problem:
        raise error(f"{what}: data is not zlib-compressed, or damaged ({problem})") from problem
    if len(raw) != wanted or not unpacker.eof or unpacker.unused_data:
        raise error(f"{what}: needs exactly {wanted} voxels of one byte")
    return np.frombuffer(raw, np.uint8).reshape(tuple(size))
