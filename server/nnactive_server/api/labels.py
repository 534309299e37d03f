"""Label crops on the wire and as stored files: base64 of zlib of the bytes (z, y, x) in C order."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_server.api.bodies import LabelsIn
from nnactive_server.api.replies import LabelsOut
from nnactive_server.core.crops import unpack_crop
from nnactive_server.core.errors import InvalidInput
from nnactive_server.core.patch import Index3, index3


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """Labels of a box.

    Attributes:
        values: uint8 (z, y, x).
        packed: the zlib-compressed bytes, as they are stored.
    """

    values: np.ndarray
    packed: bytes


def read_crop(given: LabelsIn, size: Sequence[int], highest: int, field: str) -> Crop:
    """Labels that a client sent for a box.

    Args:
        given: as it came.
        size: extent of the box (z, y, x); any other shape is refused before anything is unpacked.
        highest: the largest value allowed.
        field: name for error messages.

    Raises:
        InvalidInput: another shape, damaged data, more or fewer bytes than voxels, or a value over `highest`.
    """
    if tuple(given.shape) != tuple(size):
        raise InvalidInput(f"{field}: has shape {tuple(given.shape)}, the box has {tuple(size)} (z, y, x)")
    try:
        packed = base64.b64decode(given.data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{field}: data is not base64") from None
    values = unpack_crop(packed, size, field, InvalidInput)
    if values.max(initial=0) > highest:
        raise InvalidInput(f"{field}: holds value {values.max()}; the highest allowed is {highest}")
    return Crop(values, packed)


def show(packed: bytes, size: Sequence[int]) -> LabelsOut:
    """A stored crop as it is sent."""
    shape: Index3 = index3(size, "box size")
    return LabelsOut(encoding="zlib", dtype="uint8", shape=shape, data=base64.b64encode(packed).decode())
